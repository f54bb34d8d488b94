"""A weight that is divided among processes (`DTensor`), and a whole one, in one way. Imports torch."""

from typing import Any

import torch
from torch.distributed.tensor import DTensor


def local(value: Any) -> Any:
    """What of a tensor lies in this process; anything else as it is."""
    return value.to_local() if isinstance(value, DTensor) else value


def elements_before(weight: torch.Tensor) -> int:
    """How many elements of a weight stand before this process's part; FSDP2 divides the rows in equal parts, in order.

    Of 5 rows of 3, two processes hold 3 and 2: the second one's part begins after 9 elements.
    """
    if not isinstance(weight, DTensor):
        return 0
    rows, mesh = weight.shape[0], weight.device_mesh
    part = -(-rows // mesh.size())
    return min(mesh.get_local_rank() * part, rows) * (weight.numel() // rows)
