"""Attention for answering on a CPU, by batched matrix products instead of PyTorch's fused kernel. Imports torch.

In bf16 the fused kernel reaches a fifth of what matrix products do on two AVX512-BF16 cores. SmolLM2 reads a prompt of
650 tokens at 1,030 tokens/s with it and at 1,200 here (module `models.blocks`); a step of 12 rows of 640 tokens takes
72 and 63 ms. For a step, two things make the difference: the query heads that share a key head are one matrix, and a
single query is the *right* factor of `keys @ query` (`query @ keys^T` would reorder all keys first, and takes four
times as long).

Scores are rounded to the model's dtype before the softmax, as transformers' `eager` does; the fused kernel keeps them
in float32. Against a float32 model, on six prompts, log-probabilities are off by 0.0960 (fused) and 0.0964 nats (here).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from loglore.models.blocks import causal_attention

NAME = "loglore_answering"


@dataclass(frozen=True)
class Ragged:
    """Rows with different numbers of new tokens, one row's after the other's; `place`: of each among rows x widest."""

    rows: int
    widest: int
    place: torch.Tensor


@dataclass
class Attending:
    """What a model calls for attention; `ragged` (see `attend`) is set before each pass that wants it."""

    ragged: Ragged | None = None

    def __call__(self, module: torch.nn.Module, *args: Any, **more: Any) -> tuple[torch.Tensor, None]:
        """`attend`, with `ragged`."""
        return attend(module, *args, **{**more, "ragged": self.ragged})


@contextlib.contextmanager
def fast_attention(model: Any) -> Iterator[Attending | None]:
    """Let a model on a CPU attend by `attend` inside the block; elsewhere the fused kernels are the faster ones: None.

    Only for rows without padding, or with an additive mask of four dimensions: transformers builds no mask here.
    """
    before = model.config._attn_implementation
    if model.device.type != "cpu" or before != "sdpa":
        yield None
        return
    attending = Attending()
    AttentionInterface.register(NAME, attending)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    model.set_attn_implementation(NAME)
    try:
        yield attending
    finally:
        model.set_attn_implementation(before)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    ragged: Ragged | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of the newest tokens.

    Args:
        module: the attention layer (transformers' calling convention).
        query: [rows, heads, new tokens, size], of the last tokens of `key`; with `ragged` [1, heads, tokens, size].
        key: [rows, key-value heads, tokens, size].
        value: as `key`.
        attention_mask: additive, [rows, 1, new tokens, tokens]; None for one row without padding.
        scaling: of the scores; None for 1/sqrt(size).
        ragged: how the tokens of `query` belong to the rows, when they have different numbers of them.
        more: a cap of the scores, sinks or a bias send the call to the fused kernel, which honours or refuses them.

    Returns:
        [rows, new tokens, heads, size], and None for the weights.
    """
    if ragged is not None:
        padded = query.new_zeros(ragged.rows * ragged.widest, query.shape[1], query.shape[3])
        padded.index_copy_(0, ragged.place, query[0].transpose(0, 1))
        padded = padded.view(ragged.rows, ragged.widest, *padded.shape[1:]).transpose(1, 2)
        found, _ = attend(module, padded, key, value, attention_mask, scaling, **more)
        return found.flatten(0, 1).index_select(0, ragged.place)[None], None
    if any(more.get(name) is not None for name in ("softcap", "s_aux", "position_bias")):
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **more)
        return output, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.shape[2] == 1 or attention_mask is not None:
        return _few_tokens(query * scale, key, value, attention_mask), None
    return causal_attention(query, key, value, scale).transpose(1, 2).contiguous(), None


def _few_tokens(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """[rows, new tokens, heads, size] of query [rows, heads, new tokens, size], mask [rows, 1, new tokens, tokens]."""
    rows, heads, new, size = query.shape
    shared = key.shape[1]
    grouped = query.reshape(rows, shared, heads // shared * new, size)
    scores = torch.matmul(key, grouped.transpose(2, 3)).transpose(2, 3).contiguous()
    if mask is not None:
        scores.view(rows, shared, heads // shared, new, -1).add_(mask[:, :, None])
    weights = torch.softmax(scores, -1)
    return torch.matmul(weights, value).view(rows, heads, new, size).transpose(1, 2)
