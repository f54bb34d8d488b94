"""Attention while answering: PyTorch's own kernels in float32 are the oracle."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from loglore.evaluate.attention import NAME, Ragged, attend, fast_attention
from loglore.models.attention import BLOCK
from loglore.models.load import load_model

LAYER: Any = SimpleNamespace(num_key_value_groups=3, is_causal=True)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("before", "new"), [(0, 2), (0, BLOCK), (0, 2 * BLOCK + 5), (70, BLOCK + 1), (5, 3)])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_a_prompt_sees_itself_and_what_was_read_before_but_nothing_later(
    before: int, new: int, scaling: float | None
) -> None:
    query, key, value = drawn(1, 6, new, 16), drawn(1, 2, before + new, 16), drawn(1, 2, before + new, 16)
    seen = torch.ones(new, before + new, dtype=torch.bool).tril(before)
    truth = scaled_dot_product_attention(query, key, value, seen, scale=scaling, enable_gqa=True)
    found, weights = attend(LAYER, query, key, value, None, scaling=scaling)
    assert weights is None
    torch.testing.assert_close(found, truth.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_one_token_a_row_sees_neither_the_padding_nor_the_room() -> None:
    query, key, value = drawn(3, 6, 1, 16), drawn(3, 2, 40, 16), drawn(3, 2, 40, 16)
    mask = torch.zeros(3, 1, 1, 40)
    mask[1, ..., :7] = mask[..., 33:] = torch.finfo(torch.float32).min
    found, _ = attend(LAYER, query, key, value, mask)
    for row, first in ((0, 0), (1, 7), (2, 0)):
        parts = query[row : row + 1], key[row : row + 1, :, first:33], value[row : row + 1, :, first:33]
        truth = scaled_dot_product_attention(*parts, enable_gqa=True)
        torch.testing.assert_close(found[row : row + 1], truth.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_rows_with_different_numbers_of_new_tokens() -> None:
    sizes, end, width = [3, 1, 2], [30, 25, 28], 40
    key, value = drawn(3, 2, width, 16), drawn(3, 2, width, 16)
    query = drawn(1, 6, sum(sizes), 16)
    mask = torch.full((3, 1, 3, width), torch.finfo(torch.float32).min)
    for row, (size, last) in enumerate(zip(sizes, end, strict=True)):
        for ahead in range(size):
            mask[row, 0, ahead, 5 : last + ahead + 1] = 0
    ragged = Ragged(3, 3, torch.tensor([0, 1, 2, 3, 6, 7]))
    found, _ = attend(LAYER, query, key, value, mask, ragged=ragged)
    start = 0
    for row, (size, last) in enumerate(zip(sizes, end, strict=True)):
        seen = torch.ones(size, last + size - 5, dtype=torch.bool).tril(last - 5)
        parts = query[:, :, start : start + size], key[row : row + 1, :, 5 : last + size]
        truth = scaled_dot_product_attention(*parts, value[row : row + 1, :, 5 : last + size], seen, enable_gqa=True)
        torch.testing.assert_close(found[:, start : start + size], truth.transpose(1, 2), atol=1e-5, rtol=1e-5)
        start += size


def test_scores_with_a_cap_go_to_the_kernel_that_refuses_them() -> None:
    with pytest.raises(ValueError, match="softcap"):
        attend(LAYER, drawn(1, 6, 4, 16), drawn(1, 2, 4, 16), drawn(1, 2, 4, 16), None, softcap=30.0)


def test_the_model_has_its_own_attention_again_afterwards(tiny_model: Path) -> None:
    model = load_model(tiny_model, "float32")
    with pytest.raises(KeyError), fast_attention(model):
        assert model.config._attn_implementation == NAME
        raise KeyError
    assert model.config._attn_implementation == "sdpa"
    eager = load_model(tiny_model, "float32", attention="eager")
    with fast_attention(eager):
        assert eager.config._attn_implementation == "eager"


def test_a_batch_in_bf16_is_the_same_every_time(tiny_model: Path) -> None:
    from loglore.evaluate.decode import answer_batch

    model = load_model(tiny_model, "bfloat16")
    prompts = [[3 + (7 * place) % 500 for place in range(length)] for length in (200, 131, 9)]
    first = [answer.tokens for answer in answer_batch(model, prompts, 12, set())]
    assert [answer.tokens for answer in answer_batch(model, prompts, 12, set())] == first
    assert len({tuple(tokens) for tokens in first}) > 1


def test_reordered_weights_give_the_products_and_leave_with_the_block(tiny_model: Path) -> None:
    from loglore.evaluate.packed_weights import packed_weights

    model = load_model(tiny_model, "bfloat16")
    layer: Any = model.model.layers[0].mlp.down_proj
    inputs = drawn(5, 1, layer.in_features).bfloat16()
    truth = inputs.float() @ layer.weight.float().T
    with torch.inference_mode(), packed_weights(model):
        assert "forward" in vars(layer)
        torch.testing.assert_close(layer(inputs).float(), truth, atol=2e-2, rtol=1e-2)
    assert not any("forward" in vars(module) for module in model.modules())
    exact = load_model(tiny_model, "float32")
    with packed_weights(exact):
        assert not any("forward" in vars(module) for module in exact.modules())
