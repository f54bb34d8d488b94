"""Packed rows: no sample may see another, whatever computes the attention."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.data.packing import flatten
from loglore.data.render import Rendered
from loglore.errors import InputError
from loglore.models.attention import SEGMENTED, register, segmented_attention
from loglore.models.load import load_model
from loglore.train.loss import tensors


@pytest.mark.parametrize("attention", [SEGMENTED, "sdpa", "eager"])
def test_packed_row_gives_each_sample_the_logits_it_has_alone(tiny_model: Path, attention: str) -> None:
    register()
    model = load_model(tiny_model, attention=attention)
    rng = np.random.default_rng(3)
    samples = [
        Rendered(rng.integers(3, 500, length).astype(np.int32), np.ones(length, dtype=bool))
        for length in (7, 19, 4, 30)
    ]
    row = tensors(flatten(samples))
    names = ("input_ids", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k")
    with torch.no_grad():
        packed = model(**{name: row[name] for name in names}, use_cache=False).logits[0]
        alone = [model(input_ids=torch.from_numpy(s.ids).long()[None], use_cache=False).logits[0] for s in samples]
    assert torch.allclose(packed, torch.cat(alone), atol=2e-5)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    groups=st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    window=st.sampled_from([None, 1, 3]),
    listed=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_equals_attention_written_out(
    sizes: list[int], groups: tuple[int, int], window: int | None, listed: bool
) -> None:
    torch.manual_seed(sum(sizes))
    length = sum(sizes)
    query = torch.randn(1, groups[0], length, 8, dtype=torch.float64)
    key, value = (torch.randn(1, groups[1], length, 8, dtype=torch.float64) for _ in range(2))
    bounds = torch.tensor([0, *np.cumsum(sizes)], dtype=torch.int32)
    segments = {"segment_ends": bounds.tolist()} if listed else {"cu_seq_lens_q": bounds}
    out, _ = segmented_attention(
        torch.nn.Module(), query, key, value, None, scaling=0.3, sliding_window=window, **segments
    )
    segment = np.repeat(np.arange(len(sizes)), sizes)
    for head in range(groups[0]):
        shared = head // (groups[0] // groups[1])
        for place in range(length):
            seen = [
                other
                for other in range(place + 1)
                if segment[other] == segment[place] and (window is None or place - other < window)
            ]
            weights = torch.softmax(key[0, shared, seen] @ query[0, head, place] * 0.3, 0)
            assert torch.allclose(out[0, place, head], weights @ value[0, shared, seen], atol=1e-10)


def test_what_it_cannot_do_is_refused() -> None:
    one = torch.zeros(1, 1, 2, 4)
    with pytest.raises(InputError, match="caps attention scores"):
        segmented_attention(torch.nn.Module(), one, one, one, None, softcap=30.0)
    with pytest.raises(ValueError, match="one row and no mask"):
        segmented_attention(torch.nn.Module(), one, one, one, torch.ones(1, 1, 2, 2))
