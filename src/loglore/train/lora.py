"""LoRA's linear layer with fewer passes over the activations: PEFT's layer, its arithmetic in one autograd function.

PEFT computes x W' + ((x A') B') s as separate operations: the frozen product, the adapter's, its scaling and the sum
are each written out over all tokens, and the backward pass reads and writes as many again. Here the adapter's products
are added into the frozen one's result (oneDNN and cuBLAS add while they write), and only the small side is scaled:

    forward    h = x A'          y = x W' + b,  y += s h B'
    backward   g = s dy B        dB = s dy' h    dA = g' x      dx = dy W,  dx += g A

Dropout, autocast, several adapters or none: PEFT's own code. Imports torch and PEFT: import it inside a function.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear


class LoraProduct(torch.autograd.Function):
    """`apply(x, weight, bias, down, up, scaling)`: x weight' + bias + scaling (x down') up'.

    x: [..., in]. weight: [out, in], frozen. bias: [out], frozen, or None. down: [rank, in]. up: [out, rank]. All of one
    dtype.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """[..., out]."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        small = rows @ down.t()
        output = torch.nn.functional.linear(rows, weight, bias).addmm_(small, up.t(), alpha=scaling)
        ctx.scaling, ctx.shape = scaling, inputs.shape
        ctx.save_for_backward(rows, weight, down, up, small)
        return output.view(*inputs.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of x, down and up."""
        rows, weight, down, up, small = ctx.saved_tensors
        above = gradient.reshape(-1, gradient.shape[-1])
        of_small = (above @ up).mul_(ctx.scaling)
        of_up = (above.t() @ small).mul_(ctx.scaling)
        of_inputs = None
        if ctx.needs_input_grad[0]:
            of_inputs = (above @ weight).addmm_(of_small, down).view(ctx.shape)
        return of_inputs, None, None, of_small.t() @ rows, of_up, None


class LoraLinear(Linear):  # type: ignore[misc]  # PEFT is not checked
    """PEFT's LoRA layer of a `torch.nn.Linear`; what is saved and merged is as PEFT has it."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The layer's output, [..., out]."""
        name = self._only_adapter(x) if not args and not kwargs else None
        if name is None:
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        base, down, up = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        found: torch.Tensor = LoraProduct.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, down, up, self.scaling[name]
        )
        return found

    def _only_adapter(self, x: torch.Tensor) -> str | None:
        """The adapter to apply where it is a plain one, alone; None where PEFT must see to it."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters or self.merged or len(names) != 1 or torch.is_autocast_enabled(x.device.type):
            return None
        (name,) = names
        drops = self.training and not isinstance(self.lora_dropout[name], torch.nn.Identity)
        same = x.dtype == self.base_layer.weight.dtype == self.lora_A[name].weight.dtype
        plain = name not in self.lora_variant and not self.base_layer.weight.requires_grad
        return name if plain and same and not drops else None
