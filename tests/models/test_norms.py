"""Norms in few passes against transformers' own modules and their autograd."""

import copy
from pathlib import Path

import pytest
import torch
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from loglore.models.load import load_model
from loglore.models.norms import KINDS, has_quick_norms, quicken_norms

QUICK = [LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm]


def results(norm: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradient of the input and, where it is trained, of the weight."""
    x = x.clone().requires_grad_()
    norm.weight.grad = None
    output = norm(x)
    torch.manual_seed(2)
    output.backward(torch.randn_like(output))
    return [each.detach() for each in (output, x.grad, norm.weight.grad) if each is not None]


def pair(kind: type[torch.nn.Module], dtype: torch.dtype, trained: bool) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(1)
    theirs = kind(48, 1e-5)
    theirs.weight.data = 1 + torch.randn(48) / 4
    theirs = theirs.to(dtype).requires_grad_(trained)
    ours = copy.deepcopy(theirs)
    quicken_norms(ours)
    assert ("forward" in vars(ours)) == (kind in QUICK)
    return theirs, ours


@pytest.mark.parametrize("kind", QUICK)
@pytest.mark.parametrize("trained", [True, False])
def test_gives_the_output_and_gradients_of_transformers(kind: type[torch.nn.Module], trained: bool) -> None:
    theirs, ours = pair(kind, torch.float32, trained)
    x = 3 * torch.randn(2, 7, 48)
    expected, found = results(theirs, x), results(ours, x)
    assert len(expected) == len(found) == 2 + trained
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in zip(expected, found, strict=True))
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_in_bf16_it_is_no_further_from_fp32_than_transformers_is() -> None:
    theirs, ours = pair(LlamaRMSNorm, torch.bfloat16, trained=True)
    x = torch.randn(400, 48).bfloat16()
    truth = results(copy.deepcopy(theirs).float(), x.float())
    errors = [
        [float((one.float() - other).norm() / other.norm()) for one, other in zip(results(norm, x), truth, strict=True)]
        for norm in (theirs, ours)
    ]
    assert all(own <= 1.05 * other for other, own in zip(*errors, strict=True))
    assert torch.equal(results(ours, x)[0], results(theirs, x)[0])


@pytest.mark.parametrize("kind", [Gemma3RMSNorm, Olmo2RMSNorm])
def test_norms_of_another_formula_are_left_alone(kind: type[torch.nn.Module]) -> None:
    theirs, ours = pair(kind, torch.float32, trained=False)
    x = torch.randn(3, 48)
    assert torch.equal(theirs(x), ours(x))
    assert not has_quick_norms(ours)


def test_the_names_are_of_classes_that_there_are(tiny_model: Path) -> None:
    assert {kind.__name__ for kind in QUICK} == KINDS
    model = load_model(tiny_model)
    assert has_quick_norms(model)
    ids = torch.arange(3, 40)[None]
    expected = model(ids).logits
    quicken_norms(model)
    assert torch.allclose(model(ids).logits, expected, atol=1e-5)
