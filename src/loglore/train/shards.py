"""A weight that is divided among processes (`DTensor`), and a whole one, in one way. Imports torch."""

from typing import Any

import torch
from torch.distributed.tensor import DTensor


def local(value: Any) -> Any:
    """What of a tensor lies in this process; anything else as it is."""
    return value.to_local() if isinstance(value, DTensor) else value


def rows_before(weight: torch.Tensor) -> int:
    """How many rows of a weight stand before this process's part; FSDP2 divides them in equal parts, in order.

    Of 5 rows, two processes hold 3 and 2: the second one's part begins after 3.
    """
    if not isinstance(weight, DTensor):
        return 0
    part = -(-weight.shape[0] // weight.device_mesh.size())
    return min(weight.device_mesh.get_local_rank() * part, weight.shape[0])


def elements_before(weight: torch.Tensor) -> int:
    """How many elements of a weight stand before this process's part: of 5 rows of 3, the second of two begins at 9."""
    rows = rows_before(weight)
    return rows * (weight.numel() // weight.shape[0]) if rows else 0
