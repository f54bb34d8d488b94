"""Causal attention by plain matrix products over blocks of queries: what a CPU computes fastest in bf16.

The CPU's fused kernel multiplies tile by tile in one thread a head and reaches a fifth of what one large product does:
on two AVX512-BF16 cores, forward and backward of 773 tokens (9 heads over 3 of keys, size 64) take 28.5 ms there and
13.6 ms here, of 185 tokens 4.5 and 1.7 ms (docs/LOG.md). A block of queries sees the keys up to its own end, so little
more than the triangle is computed, and the scores of a block stay in the cache.

    for each block of 256 queries:   S = Q K'   P = softmax(S + causal)   O = P V         P is kept for the way back
    backward:   dV += P' dO   dP = dO V'   dS = P * (dP - rowsum(dP * P))   dQ = dS K   dK += dS' Q

Query heads that share a key head are rows of one product. Scores are rounded to bf16, as in transformers' eager path;
dK and dV are added up in fp32. Imports torch: import it inside a function.
"""

from typing import Any

import torch

from loglore.models.attention import BLOCK


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    kept: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Causal attention block by block, without gradients.

    Args:
        query: [batch, heads, length, size], of the last tokens of `key`.
        key: [batch, key heads, tokens, size]; heads is a multiple of key heads.
        value: as `key`.
        scaling: of the scores.
        kept: gets each block's weights, [batch x key heads, (heads / key heads) x block, keys up to its end].

    Returns:
        [batch, heads, length, size].
    """
    length, before = query.shape[2], key.shape[2] - query.shape[2]
    keys, values = _rows(key, key.shape[1]), _rows(value, key.shape[1])
    future = torch.full((BLOCK, BLOCK), float("-inf"), dtype=query.dtype, device=query.device).triu(1)
    output = torch.empty_like(query)
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        seen = before + end
        rows = _rows(query[:, :, start:end] * scaling, key.shape[1])
        scores = torch.bmm(rows, keys[:, :seen].transpose(1, 2))
        last = scores.view(len(keys), -1, end - start, seen)[..., before + start :]
        last.add_(future[: end - start, : end - start])
        weights = torch.softmax(scores, -1)
        output[:, :, start:end] = _heads(torch.bmm(weights, values[:, :seen]), output, end - start)
        if kept is not None:
            kept.append(weights)
    return output


class BlockedAttention(torch.autograd.Function):
    """`apply(query, key, value, scaling)`: `causal_attention` with gradients, as many keys as queries."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention block by block."""
        kept: list[torch.Tensor] = []
        output = causal_attention(query, key, value, scaling, kept)
        ctx.scaling = scaling
        ctx.save_for_backward(query, _rows(key, key.shape[1]), _rows(value, key.shape[1]), *kept)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """Gradients of query, key and value."""
        query, keys, values, *kept = ctx.saved_tensors
        key_heads = len(keys) // len(query)
        of_query = torch.empty_like(query)
        of_keys, of_values = (torch.zeros(each.shape, dtype=torch.float32) for each in (keys, values))
        for number, weights in enumerate(kept):
            start, end = number * BLOCK, weights.shape[2]
            rows, above = (_rows(each[:, :, start:end], key_heads) for each in (query, gradient))
            of_values[:, :end] += torch.bmm(weights.transpose(1, 2), above)
            of_weights = torch.bmm(above, values[:, :end].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(ctx.scaling)
            of_query[:, :, start:end] = _heads(torch.bmm(of_scores, keys[:, :end]), query, end - start)
            of_keys[:, :end] += torch.bmm(of_scores.transpose(1, 2), rows)
        shape = (len(query), key_heads, *keys.shape[1:])
        return of_query, of_keys.to(query.dtype).view(shape), of_values.to(query.dtype).view(shape), None


def _rows(heads: torch.Tensor, key_heads: int) -> torch.Tensor:
    """[batch, heads, length, size] as [batch x key heads, (heads / key heads) x length, size]."""
    batch, _, _, size = heads.shape
    return heads.reshape(batch * key_heads, -1, size)


def _heads(rows: torch.Tensor, like: torch.Tensor, length: int) -> torch.Tensor:
    return rows.view(like.shape[0], like.shape[1], length, like.shape[3])
