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
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from loglore.models.blocks import causal_attention

NAME = "loglore_answering"


@contextlib.contextmanager
def fast_attention(model: Any) -> Iterator[None]:
    """Let a model on a CPU attend by `attend` inside the block; elsewhere the fused kernels are the faster ones.

    Only for rows without padding, or with an additive mask of four dimensions: transformers builds no mask here.
    """
    before = model.config._attn_implementation
    if model.device.type != "cpu" or before != "sdpa":
        yield
        return
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of the newest tokens.

    Args:
        module: the attention layer (transformers' calling convention).
        query: [rows, heads, new tokens, size], of the last tokens of `key`.
        key: [rows, key-value heads, tokens, size].
        value: as `key`.
        attention_mask: additive, [rows, 1, 1, tokens], with one new token a row; None for one row without padding.
        scaling: of the scores; None for 1/sqrt(size).
        more: a cap of the scores, sinks or a bias send the call to the fused kernel, which honours or refuses them.

    Returns:
        [rows, new tokens, heads, size], and None for the weights.
    """
    if any(more.get(name) is not None for name in ("softcap", "s_aux", "position_bias")):
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **more)
        return output, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.shape[2] == 1:
        return _one_token(query * scale, key, value, attention_mask), None
    return causal_attention(query, key, value, scale).transpose(1, 2).contiguous(), None


def _one_token(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    rows, heads, _, size = query.shape
    shared = key.shape[1]
    grouped = query.view(rows, shared, heads // shared, size)
    scores = torch.matmul(key, grouped.transpose(2, 3)).transpose(2, 3).contiguous()
    if mask is not None:
        scores += mask
    weights = torch.softmax(scores, -1)
    return torch.matmul(weights, value).reshape(rows, 1, heads, size)
