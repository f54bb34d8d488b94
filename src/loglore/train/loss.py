"""The loss of packed rows: cross entropy of counted tokens, in fp32, whatever computes the model.

Logits are computed for counted positions alone: in fine-tuning three of four positions are the prompt's.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from loglore.data.packing import IGNORED, PackedRow

# A part in fp32 must stay in a CPU's cache (32 x 49,152 are 6 MB); a GPU wants few calls.
CPU_POSITIONS, GPU_POSITIONS = 32, 1024


def tensors(row: PackedRow) -> dict[str, torch.Tensor]:
    """A packed row as the model's arguments: [1, length] ids, positions and shifted labels, and segment bounds."""
    bounds = torch.from_numpy(row.segments)
    return {
        "input_ids": torch.from_numpy(row.ids).long()[None],
        "position_ids": torch.from_numpy(row.positions).long()[None],
        "shift_labels": torch.from_numpy(row.targets).long()[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
    }


def summed_loss(model: torch.nn.Module, row: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum of cross entropies (nats) over the counted tokens of one packed row, in fp32.

    A row with nothing to count gives a zero that still reaches every weight: ranks must agree on what is reduced.
    """
    targets = row["shift_labels"][0]
    counted = torch.nonzero(targets != IGNORED)[:, 0]
    wanted = counted if len(counted) else torch.zeros(1, dtype=torch.long, device=targets.device)
    # Asked for once: every layer would wait for the GPU to read them there.
    ends: list[int] = row["cu_seq_lens_q"].tolist()
    longest = max(end - start for start, end in itertools.pairwise(ends))
    logits: torch.Tensor = model(
        input_ids=row["input_ids"],
        position_ids=row["position_ids"],
        cu_seq_lens_q=row["cu_seq_lens_q"],
        cu_seq_lens_k=row["cu_seq_lens_k"],
        max_length_q=longest,
        max_length_k=longest,
        segment_ends=ends,
        logits_to_keep=wanted,
        use_cache=False,
    ).logits.squeeze(0)
    if not len(counted):
        return logits.float().sum() * 0.0
    loss: torch.Tensor = SummedCrossEntropy.apply(logits, targets[counted])  # type: ignore[no-untyped-call]
    return loss


class SummedCrossEntropy(torch.autograd.Function):
    """`apply(logits, targets)`: sum of cross entropies of logits [positions, vocabulary] against targets [positions].

    Each part's gradient (softmax minus one at the target) is written over its logits while they are in the cache, so
    the pass over the vocabulary happens once and no log-probabilities wait for the backward pass; as Liger does it
    (Hsu et al., "Liger Kernel", 2024). Nobody may read the logits afterwards.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss in fp32 (fp64 for fp64), and the gradient in the logits' place when one is wanted."""
        losses, size = [], CPU_POSITIONS if logits.device.type == "cpu" else GPU_POSITIONS
        for part, wanted in zip(torch.split(logits, size), torch.split(targets, size), strict=True):
            # All in this one tensor, while it is in the cache: logits, then exponentials, then slopes.
            wide = part.to(torch.promote_types(part.dtype, torch.float32), copy=True)
            top, reached = wide.amax(1, keepdim=True), wide.gather(1, wanted[:, None])
            total = wide.sub_(top).exp_().sum(1, keepdim=True)
            losses.append((total.log() + top - reached).sum())
            if ctx.needs_input_grad[0]:
                slope = wide.div_(total)
                slope[torch.arange(len(wanted), device=wanted.device), wanted] -= 1.0
                part.copy_(slope)
        ctx.save_for_backward(logits)
        return torch.stack(losses).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The kept gradient, scaled where it lies: the way back can be gone once."""
        (slopes,) = ctx.saved_tensors
        return slopes.mul_(gradient), None


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
