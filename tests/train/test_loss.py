"""Packed and padded training are the same training: loss of every token and gradient of every weight, in fp32."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.data.packing import best_fit_decreasing, flatten
from loglore.data.render import Rendered
from loglore.models.attention import SEGMENTED, register
from loglore.models.load import load_model
from loglore.train.loss import SummedCrossEntropy, summed_loss
from loglore.train.trainer import collate


def random_samples(lengths: list[int], seed: int) -> list[Rendered]:
    rng = np.random.default_rng(seed)
    return [Rendered(rng.integers(3, 500, length).astype(np.int32), rng.random(length) < 0.5) for length in lengths]


def padded_losses(model: torch.nn.Module, samples: list[Rendered]) -> torch.Tensor:
    """Loss of every counted token, sample by sample, from one right-padded batch and transformers' own attention."""
    longest = max(len(sample.ids) for sample in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.long)
    mask = torch.zeros(len(samples), longest, dtype=torch.long)
    labels = torch.full((len(samples), longest), -100)
    for number, sample in enumerate(samples):
        length = len(sample.ids)
        ids[number, :length] = torch.from_numpy(sample.ids)
        mask[number, :length] = 1
        counted = torch.from_numpy(sample.mask)
        labels[number, :length][counted] = ids[number, :length][counted]
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none")
    return losses[labels[:, 1:] != -100]


def packed_losses(model: torch.nn.Module, samples: list[Rendered], capacity: int) -> torch.Tensor:
    """The same, from packed rows and segmented attention."""
    found: dict[int, torch.Tensor] = {}
    for members in best_fit_decreasing([len(sample.ids) for sample in samples], capacity):
        row = collate([flatten([samples[number] for number in members])])
        names = ("input_ids", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k")
        logits = model(**{name: row[name] for name in names}, use_cache=False).logits[0]
        losses = torch.nn.functional.cross_entropy(logits, row["labels"][0], reduction="none")
        bounds = row["cu_seq_lens_q"].tolist()
        for number, start, end in zip(members.tolist(), bounds[:-1], bounds[1:], strict=True):
            found[number] = losses[start:end][row["labels"][0, start:end] != -100]
    return torch.cat([found[number] for number in range(len(samples))])


def gradient(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.fixture(scope="module")
def models(tiny_model: Path) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same weights with transformers' attention and with ours, in fp32."""
    return load_model(tiny_model, attention="eager"), load_model(tiny_model, attention=register())


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_packed_and_padded_give_the_same_loss_a_token_and_the_same_gradient(models, lengths, seed) -> None:
    padded, packed = models
    assert packed.config._attn_implementation == SEGMENTED
    samples = random_samples(lengths, seed)
    reference = padded_losses(padded, samples)
    found = packed_losses(packed, samples, 48)
    assert found.shape == reference.shape
    if not len(reference):
        return
    assert torch.allclose(found, reference, rtol=0, atol=1e-5)
    # What the trainer does: the sum of each row, divided by the counted tokens of the step.
    rows = best_fit_decreasing(lengths, 48)
    total = sum(summed_loss(packed, collate([flatten([samples[one] for one in row])])) for row in rows)
    assert abs(total.item() / len(reference) - reference.mean().item()) <= 1e-5
    expected = gradient(padded, reference.mean())
    for name, values in gradient(packed, total / len(reference)).items():
        assert torch.allclose(values, expected[name], rtol=0, atol=1e-5), name


def test_a_leak_between_samples_would_be_seen(models) -> None:
    padded, packed = models
    first, second = random_samples([20, 30], 1)
    leaky = Rendered(np.concatenate([first.ids, second.ids]), np.concatenate([first.mask, second.mask]))
    reference = padded_losses(padded, [first, second])
    whole = packed_losses(packed, [leaky], 64)
    # One segment instead of two: the first token of the second sample is predicted, and its others see the first.
    assert abs((whole[-len(reference) // 3 :].mean() - reference[-len(reference) // 3 :].mean()).item()) > 1e-3


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 4e-3)]
)
def test_cross_entropy_and_its_gradient_equal_torchs(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (5 * torch.randn(100, 700, generator=generator, dtype=torch.float64)).to(dtype)
    targets = torch.randint(0, 700, (100,), generator=generator)
    plain = logits.detach().clone().double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(plain, targets, reduction="sum") / 7
    expected.backward()
    leaf = logits.clone().requires_grad_()
    found = SummedCrossEntropy.apply(leaf * 1, targets) / 7  # the logits of a model are no leaf either
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(leaf.grad.double(), plain.grad, rtol=0, atol=tolerance / 7)


def test_logits_stay_as_they_are_when_no_gradient_is_wanted() -> None:
    logits = torch.randn(40, 30)
    kept = logits.clone()
    with torch.no_grad():
        SummedCrossEntropy.apply(logits, torch.zeros(40, dtype=torch.long))
    assert torch.equal(logits, kept)
