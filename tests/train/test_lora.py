"""The LoRA layer's own arithmetic against PEFT's layer and its autograd, and where it leaves the work to PEFT."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from loglore.train import lora
from loglore.train.lora import LoraLinear


class Two(torch.nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(24, 40, bias), torch.nn.Linear(40, 16, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.nn.functional.silu(self.first(x)))


def both(dtype: torch.dtype, bias: bool = True, dropout: float = 0.0) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same model with PEFT's layers and with ours; adapters that are not zero."""
    torch.manual_seed(0)
    base, found = Two(bias), []
    for own in (False, True):
        config = LoraConfig(r=4, lora_alpha=12, target_modules=["first", "second"], lora_dropout=dropout)
        if own:
            config._register_custom_module({torch.nn.Linear: LoraLinear})
        found.append(get_peft_model(copy.deepcopy(base), config))
    for index, (name, weight) in enumerate(found[0].named_parameters()):
        if weight.requires_grad:
            torch.manual_seed(index)
            weight.data = torch.randn_like(weight) / 4
            found[1].get_parameter(name).data = weight.data.clone()
    assert isinstance(found[1].base_model.model.first, LoraLinear)
    assert not isinstance(found[0].base_model.model.first, LoraLinear)
    return found[0].to(dtype), found[1].to(dtype)


def results(model: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output and every gradient, in fp64."""
    x = x.detach().clone().requires_grad_()
    output = model(x)
    torch.manual_seed(5)
    model.zero_grad()
    output.backward(torch.randn_like(output))
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return {name: value.double() for name, value in {"output": output, "input": x.grad, **gradients}.items()}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The scaling of every product that our own code computes."""
    seen: list[float] = []
    apply = lora.LoraProduct.apply
    monkeypatch.setattr(lora.LoraProduct, "apply", lambda *given: (seen.append(given[-1]), apply(*given))[1])
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 7, 24), (5, 24)])
def test_gives_the_output_and_gradients_of_peft(bias: bool, shape: tuple[int, ...], calls: list[float]) -> None:
    theirs, ours = both(torch.float64, bias)
    x = torch.randn(*shape, dtype=torch.float64)
    expected, found = results(theirs, x), results(ours, x)
    assert calls == [3.0, 3.0]
    assert expected.keys() == found.keys() and len(found) == 6
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-10, atol=1e-12), name


def test_in_bf16_it_is_no_further_from_fp64_than_peft_is() -> None:
    theirs, ours = both(torch.bfloat16)
    x = torch.randn(300, 24).bfloat16()
    truth = results(copy.deepcopy(theirs).double(), x.double())

    def apart(model: torch.nn.Module) -> dict[str, float]:
        return {
            name: float(((value - truth[name]).norm() / truth[name].norm()).detach())
            for name, value in results(model, x).items()
        }

    for name, error in apart(ours).items():
        assert error < max(0.005, 1.1 * apart(theirs)[name]), name


def test_inputs_without_gradients_get_none() -> None:
    theirs, ours = both(torch.float64)
    x = torch.randn(3, 24, dtype=torch.float64)
    grads = []
    for model in (theirs, ours):
        model(x).square().sum().backward()
        grads.append([weight.grad for weight in model.parameters() if weight.requires_grad])
    assert x.grad is None
    assert all(torch.allclose(one, other, rtol=1e-10) for one, other in zip(*grads, strict=True))


def second_adapter(model: torch.nn.Module) -> None:
    model.add_adapter("more", LoraConfig(r=2, target_modules=["first", "second"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "more"])


@pytest.mark.parametrize(
    "change",
    [lambda model: model.base_model.disable_adapter_layers(), lambda model: model.merge_adapter()],
    ids=["disabled", "merged"],
)
def test_what_is_not_one_plain_adapter_is_left_to_peft(
    change: Callable[[torch.nn.Module], None], calls: list[float]
) -> None:
    theirs, ours = both(torch.float64)
    change(theirs), change(ours)
    x = torch.randn(3, 24, dtype=torch.float64)
    assert torch.equal(ours(x), theirs(x))
    assert not calls


def test_several_adapters_dropout_autocast_and_other_dtypes_are_left_to_peft(calls: list[float]) -> None:
    _, ours = both(torch.float32)
    x = torch.randn(3, 24)
    with torch.autocast("cpu", torch.bfloat16):
        ours(x)
    for weight in ours.base_model.model.first.lora_A.parameters():
        weight.data = weight.data.double()
    assert not ours.base_model.model.first._only_adapter(x)
    _, ours = both(torch.float32)
    second_adapter(ours)
    ours(x)
    theirs, ours = both(torch.float32, dropout=0.5)
    ours.train()(x)
    assert not calls
    torch.manual_seed(1)
    dropped = theirs.train()(x)
    torch.manual_seed(1)
    assert torch.equal(ours.train()(x), dropped)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-6)
    assert len(calls) == 2


def test_the_saved_adapter_is_an_ordinary_one(tmp_path: Path) -> None:
    theirs, ours = both(torch.float32)
    theirs.save_pretrained(tmp_path / "theirs"), ours.save_pretrained(tmp_path / "ours")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
