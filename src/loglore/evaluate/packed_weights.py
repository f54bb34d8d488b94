"""Weight matrices reordered once for oneDNN, while a model answers on a CPU. Imports torch.

`torch.nn.functional.linear` reorders a bf16 matrix into oneDNN's blocks at every call, which for a few rows is much of
the work: a 576 x 1536 matrix takes 0.15 ms for 12 rows, 0.11 ms when it was reordered before; the 49,152 logits of
SmolLM2 5.0 and 2.7 ms. A step of 12 rows of 640 tokens: 63 and 51 ms. Prompts of many tokens gain nothing and are left
alone. The price: a second copy of the matrices in memory while the block lasts, and 0.2 s a batch for SmolLM2.
PyTorch's own compiler uses these operators when it freezes a model; they have no public name.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def packed_weights(model: Any) -> Iterator[None]:
    """Let the bf16 linear layers of a model on a CPU use reordered weights inside the block."""
    packed = []
    if model.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        packed = [
            module
            for module in model.modules()
            if type(module) is torch.nn.Linear and module.weight.dtype is torch.bfloat16
        ]
    try:
        for module in packed:
            vars(module)["forward"] = _forward(module)
        yield
    finally:
        for module in packed:
            vars(module).pop("forward", None)


def _forward(module: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach())

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, module.bias, "none", [], "")
        return found

    return forward
