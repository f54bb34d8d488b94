"""RMS norm (Zhang and Sennrich 2019) in few passes over the activations, for training on a CPU.

transformers' modules are six operations that each write a tensor, most of them in fp32, and autograd adds ten on the
way back: for 800 tokens of width 576 in bf16 2.2 ms forward and backward, twice a layer; here 0.6 ms (docs/LOG.md).
The values are rounded to bf16 where transformers' are. Imports torch: import it inside a function.

    forward    r = 1 / sqrt(mean(x²) + eps)    y = w * bf16(x r)                kept: x, r
    backward   h = w dy    dx = r h - x r³ mean(h x)    dw = sum of dy bf16(x r)
"""

from functools import partial
from typing import Any

import torch

# Modules that compute `weight * (x * rsqrt(mean(x²) + variance_epsilon)).to(x.dtype)`; others (Gemma's adds one to the
# weight, OLMo's rounds after the product) are left alone.
KINDS = frozenset({"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"})


class RmsNorm(torch.autograd.Function):
    """`apply(x, weight, eps)`: x [..., width] over its root mean square, times weight [width]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """[..., width], in the dtype of x."""
        wide = x.float()
        squares = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        inverse = squares.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        # In place, unless x is fp32 itself.
        scaled = wide * inverse if wide is x else wide.mul_(inverse)
        return scaled.to(x.dtype).mul_(weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Gradients of x and weight."""
        x, weight, inverse = ctx.saved_tensors
        wide, above = x.float(), (gradient * weight).float()
        of_weight = None
        if ctx.needs_input_grad[1]:
            normalized = (wide * inverse).to(x.dtype)
            of_weight = (gradient * normalized).flatten(0, -2).sum(0)
        along = torch.linalg.vecdot(above, wide).unsqueeze(-1).mul_(inverse**3).div_(-x.shape[-1])
        return above.mul_(inverse).addcmul_(wide, along).to(x.dtype), of_weight, None


def has_quick_norms(model: torch.nn.Module) -> bool:
    """Whether `quicken_norms` would change anything."""
    return any(type(module).__name__ in KINDS for module in model.modules())


def quicken_norms(model: torch.nn.Module) -> None:
    """Let the norms of a model on a CPU compute by `RmsNorm`; weights and names stay as they are."""
    for module in model.modules():
        if type(module).__name__ in KINDS:
            vars(module)["forward"] = partial(_forward, module)


def _forward(module: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = RmsNorm.apply(  # type: ignore[no-untyped-call]
        hidden_states, module.weight, module.variance_epsilon
    )
    return found
