"""Stochastic rounding: a neighbour on bf16's grid, right on average, the same bits for the same step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.train.rounding import PERIOD, Noise, round_into, rounded, start

NOISE = Noise(torch.device("cpu"))


def once(source: torch.Tensor, step: int) -> torch.Tensor:
    target = torch.empty_like(source, dtype=torch.bfloat16)
    round_into(target, source, NOISE, start(step))
    return target


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=20),
    st.integers(0, 10**9),
)
@settings(max_examples=100, deadline=None)
def test_gives_one_of_two_neighbours(values: list[float], step: int) -> None:
    source = torch.tensor(values)
    found = once(source, step).float()
    nearest = source.bfloat16()
    on_grid = nearest.float() == source
    assert torch.equal(found[on_grid], source[on_grid])
    # Toward and away from zero: the bits of the magnitude count up.
    bits = source.abs().view(torch.int32) >> 16 << 16
    low, high = bits.view(torch.float32), (bits + 0x10000).view(torch.float32)
    assert ((found.abs() == low) | (found.abs() == high)).all()
    assert (torch.sign(found) * torch.sign(source) >= 0).all()


@pytest.mark.parametrize("value", [1.0 + 1 / 1024, -0.3, 3e-5])
def test_is_right_on_average_over_weights_and_over_steps(value: float) -> None:
    many = torch.full((200_000,), value)
    spread = abs(value) / 128
    assert once(many, 3).double().mean().item() == pytest.approx(value, abs=spread / 200)
    one = torch.full((1,), value)
    steps = torch.stack([once(one, step) for step in range(4000)])
    assert steps.double().mean().item() == pytest.approx(value, abs=spread / 20)


def test_same_step_gives_the_same_bits_and_another_step_others() -> None:
    source = torch.randn(3, PERIOD // 2 + 5)  # past the end of the table
    assert torch.equal(once(source, 7), once(source, 7))
    assert not torch.equal(once(source, 7), once(source, 8))


def test_a_part_at_its_place_and_an_fp32_target_get_the_bits_of_the_whole() -> None:
    source = torch.randn(7, PERIOD // 4 + 3)
    whole = once(source, 7)
    wide = torch.empty_like(source)
    round_into(wide, source, NOISE, start(7))
    assert torch.equal(wide, whole.float())
    rest = torch.empty_like(whole[4:])
    round_into(rest, source[4:], NOISE, start(7) + source[:4].numel())
    assert torch.equal(rest, whole[4:])


def test_weights_of_a_model_are_rounded_each_with_other_noise() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(40, 40), torch.nn.Linear(40, 40))
    with torch.no_grad():
        for layer in model:
            layer.weight.fill_(0.3)
            layer.bias.fill_(0.5)
    rounded(model)
    first, second = model[0].weight, model[1].weight
    assert first.dtype == second.dtype == torch.bfloat16 and not torch.equal(first, second)
    assert first.double().mean().item() == pytest.approx(0.3, abs=1e-4)
    assert (model[0].bias == 0.5).all()


def test_many_periods_in_one_go_as_on_a_gpu_give_the_bits_of_one_at_a_time() -> None:
    source = torch.randn(5 * PERIOD + 77)
    found = torch.empty_like(source, dtype=torch.bfloat16)
    round_into(found, source, Noise(torch.device("cpu"), periods=3), start(7))
    assert torch.equal(found, once(source, 7))
