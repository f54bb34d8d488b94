"""Attention by blocks against attention in fp64, forward and backward."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.models import attention
from loglore.models.attention import BLOCK, segmented_attention
from loglore.models.blocks import BlockedAttention

Heads = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def heads(batch: int, queries: int, keys: int, length: int, dtype: torch.dtype) -> Heads:
    """Queries, keys and values as a model's layer hands them over: a transposed view."""
    generator = torch.Generator().manual_seed(length)

    def drawn(number: int) -> torch.Tensor:
        values = torch.randn(batch, length, number, 16, generator=generator, dtype=torch.float64)
        return values.to(dtype).transpose(1, 2).requires_grad_()

    return drawn(queries), drawn(keys), drawn(keys)


def gradients(output: torch.Tensor, inputs: Heads) -> list[torch.Tensor]:
    """Of a sum in which every element has a weight of its own."""
    weights = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).reshape(output.shape).to(output.dtype)
    return list(torch.autograd.grad((output * weights).sum(), inputs))


def reference(inputs: Heads) -> list[torch.Tensor]:
    """Output and gradients in fp64 by torch's own attention."""
    exact: Heads = tuple(each.detach().double().requires_grad_() for each in inputs)  # type: ignore[assignment]
    output = torch.nn.functional.scaled_dot_product_attention(*exact, is_causal=True, scale=0.25, enable_gqa=True)
    return [output, *gradients(output, exact)]


@given(
    length=st.sampled_from([1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 88]),
    batch=st.integers(1, 2),
    groups=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
)
@settings(max_examples=12, deadline=None)
def test_equals_torch_in_fp64(length: int, batch: int, groups: tuple[int, int]) -> None:
    inputs = heads(batch, *groups, length, torch.float64)
    output = BlockedAttention.apply(*inputs, 0.25)
    for found, expected in zip([output, *gradients(output, inputs)], reference(inputs), strict=True):
        # dK and dV are added up in fp32.
        assert torch.allclose(found, expected, rtol=0, atol=1e-5)


def test_bf16_is_as_near_to_the_truth_as_the_fused_kernel() -> None:
    inputs = heads(1, 6, 2, 700, torch.bfloat16)
    truth = reference(inputs)

    def errors(output: torch.Tensor) -> np.ndarray:
        found = [output, *gradients(output, inputs)]
        return np.array(
            [float(((a.double() - b).norm() / b.norm()).detach()) for a, b in zip(found, truth, strict=True)]
        )

    blocked = errors(BlockedAttention.apply(*inputs, 0.25))
    fused = errors(
        torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True, scale=0.25, enable_gqa=True)
    )
    assert blocked.max() < 0.01
    assert (blocked < 2 * fused).all()


def test_bf16_rows_on_a_cpu_take_blocks_and_segments_stay_apart() -> None:
    query, key, value = heads(1, 4, 2, 300, torch.bfloat16)
    bounds = torch.tensor([0, 20, 300], dtype=torch.int32)

    def attended(value: torch.Tensor) -> torch.Tensor:
        output, _ = segmented_attention(torch.nn.Module(), query, key, value, None, cu_seq_lens_q=bounds)
        return output

    output = attended(value)
    names = {type(each).__name__ for each, _ in output.grad_fn.next_functions[0][0].next_functions[0][0].next_functions}
    assert names == {"BlockedAttentionBackward"}
    changed = value.detach().clone()
    changed[:, :, :20] += 1
    assert torch.equal(attended(changed)[:, 20:], output[:, 20:])
    assert not torch.equal(attended(changed)[:, :20], output[:, :20])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_long_segments_and_dropout_stay_with_torch(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "LONGEST_IN_BLOCKS", 50 if dropout == 0 else 4096)
    query, key, value = heads(1, 4, 2, 60, torch.bfloat16)
    output, _ = segmented_attention(torch.nn.Module(), query, key, value, None, dropout=dropout)
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [each for each, _ in node.next_functions]
    assert not any("BlockedAttention" in type(node).__name__ for node in seen)
