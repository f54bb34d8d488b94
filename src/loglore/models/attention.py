"""Attention over packed rows, one SDPA call a segment: no token sees another sample, and no mask is built.

transformers' own SDPA path is contamination-free on a packed row too (positions that restart, no attention mask, no
cache), but it computes the whole square of the row: on a CPU, 8 samples of 128 tokens cost 8 times the attention.
Here each segment is its own causal call; in bf16 on a CPU by plain matrix products (module `blocks`). On a GPU
FlashAttention's variable-length kernel does this; it reads the same `cu_seq_lens_q`, so the training loop passes one
set of arguments to both.
"""

import itertools
from typing import TYPE_CHECKING, Any

from loglore.errors import InputError

if TYPE_CHECKING:
    import torch

SEGMENTED = "loglore_segmented"
# Queries of one matrix product (module `blocks`).
BLOCK = 256
# Blocks keep probabilities for the backward pass, heads x length squared bytes a layer: past this, they are too many.
LONGEST_IN_BLOCKS = 2048


def register() -> str:
    """Make the implementation known to transformers; returns its name for `attn_implementation`."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(SEGMENTED, segmented_attention)
    AttentionMaskInterface.register(SEGMENTED, _no_mask)
    return SEGMENTED


def segmented_attention(
    module: "torch.nn.Module",
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: "torch.Tensor | None" = None,
    cu_seq_lens_q: "torch.Tensor | None" = None,
    segment_ends: list[int] | None = None,
    **_: Any,
) -> "tuple[torch.Tensor, None]":
    """Causal attention within each segment of a packed row.

    Args:
        module: the attention layer (transformers' calling convention).
        query: [batch, heads, length, head size]; batch is 1 when there are segments.
        key: [batch, key-value heads, length, head size].
        value: as `key`.
        attention_mask: must be None; packed rows have none.
        scaling: of the scores; None for 1/sqrt(head size).
        dropout: of the attention weights, 0 to 1.
        sliding_window: tokens a query may look back, itself included; None for all.
        softcap: of the scores, which SDPA cannot do; must be None.
        s_aux: attention sinks, likewise.
        cu_seq_lens_q: int32 [segments + 1], where each segment starts, and the end; None for one segment.
        segment_ends: the same numbers as a list, which on a GPU need not be waited for.

    Returns:
        [batch, length, heads, head size], and None for the weights.
    """
    import torch

    if attention_mask is not None or (cu_seq_lens_q is not None and query.shape[0] != 1):
        raise ValueError(f"packed attention takes one row and no mask, got a batch of {query.shape[0]}")
    if softcap is not None or s_aux is not None:
        raise InputError(
            "this model caps attention scores or has attention sinks: train it on a GPU with flash attention"
        )
    length = query.shape[2]
    ends = segment_ends or ([0, length] if cu_seq_lens_q is None else cu_seq_lens_q.tolist())
    sizes = [end - start for start, end in itertools.pairwise(ends)]
    outputs = []
    for q, k, v in zip(
        torch.split(query, sizes, 2), torch.split(key, sizes, 2), torch.split(value, sizes, 2), strict=True
    ):
        outputs.append(_attention(q, k, v, scaling, dropout, sliding_window))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _attention(
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> "torch.Tensor":
    """Causal attention of one segment."""
    import torch

    from loglore.models.blocks import BlockedAttention

    band = _band(query, window)
    on_cpu = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if on_cpu and query.shape[2] <= LONGEST_IN_BLOCKS and band is None and not dropout:
        scale = scaling or query.shape[3] ** -0.5
        output: torch.Tensor = BlockedAttention.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
        return output
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, band, dropout, is_causal=band is None, scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


def _band(query: "torch.Tensor", window: int | None) -> "torch.Tensor | None":
    import torch

    length = query.shape[2]
    if window is None or length <= window:
        return None
    ones = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return ones.tril() & ~ones.tril(-window)


def _no_mask(*_: Any, **__: Any) -> None:
    return None
