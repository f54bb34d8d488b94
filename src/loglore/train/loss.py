"""The loss of packed rows: cross entropy of counted tokens, in fp32, whatever computes the model.

Logits are computed for counted positions alone: in fine-tuning three of four positions are the prompt's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from loglore.data.packing import IGNORED, PackedRow

LOSS_POSITIONS = 256


def tensors(row: PackedRow) -> dict[str, torch.Tensor]:
    """A packed row as the model's arguments: [1, length] ids, positions and shifted labels, and segment bounds."""
    bounds = torch.from_numpy(row.segments)
    longest = int(np.diff(row.segments).max())
    return {
        "input_ids": torch.from_numpy(row.ids).long()[None],
        "position_ids": torch.from_numpy(row.positions).long()[None],
        "shift_labels": torch.from_numpy(row.targets).long()[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": torch.tensor(longest),
        "max_length_k": torch.tensor(longest),
    }


def summed_loss(model: torch.nn.Module, row: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum of cross entropies (nats) over the counted tokens of one packed row, in fp32.

    A row with nothing to count gives a zero that still reaches every weight: ranks must agree on what is reduced.
    """
    targets = row["shift_labels"][0]
    counted = torch.nonzero(targets != IGNORED)[:, 0]
    wanted = counted if len(counted) else torch.zeros(1, dtype=torch.long, device=targets.device)
    logits: torch.Tensor = model(
        input_ids=row["input_ids"],
        position_ids=row["position_ids"],
        cu_seq_lens_q=row["cu_seq_lens_q"],
        cu_seq_lens_k=row["cu_seq_lens_k"],
        max_length_q=int(row["max_length_q"]),
        max_length_k=int(row["max_length_k"]),
        logits_to_keep=wanted,
        use_cache=False,
    ).logits[0]
    if not len(counted):
        return logits.float().sum() * 0.0
    # In parts, or the fp32 copy of all logits (vocabulary x positions) leaves the cache.
    parts = zip(torch.split(logits, LOSS_POSITIONS), torch.split(targets[counted], LOSS_POSITIONS), strict=True)
    losses = [torch.nn.functional.cross_entropy(part.float(), wanted, reduction="sum") for part, wanted in parts]
    return torch.stack(losses).sum()


def evaluation_loss(
    model: torch.nn.Module, rows: Sequence[PackedRow], autocast: Callable[[], Any], device: torch.device
) -> float:
    """Mean cross entropy (nats a token) over all counted tokens of `rows`."""
    total, counted = summed_loss_of_rows(model, rows, autocast, device)
    return total / max(counted, 1)


def summed_loss_of_rows(
    model: torch.nn.Module, rows: Sequence[PackedRow], autocast: Callable[[], Any], device: torch.device
) -> tuple[float, int]:
    """Sum of cross entropies (nats) over the counted tokens of `rows`, and how many these are."""
    was_training = model.training
    model.eval()
    total = 0.0
    with torch.no_grad():
        for row in rows:
            batch = {name: value.to(device) for name, value in tensors(row).items()}
            with autocast():
                total += float(summed_loss(model, batch))
    model.train(was_training)
    return total, sum(int((row.targets != IGNORED).sum()) for row in rows)
