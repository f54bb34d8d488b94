"""A LoRA adapter as GGUF: served beside its base, switched per request, and the same numbers as PEFT's."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx2
import pytest

from loglore.errors import InputError, JobError
from loglore.export import lora
from loglore.models.header import read_header
from loglore.serve.engine import Session, running

PROMPTS = ["Failed password for invalid user admin", "the disk was full and the database stopped", "x"]


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter whose effect on the tiny model is large."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.2)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def converted(adapter: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    return lora.convert(adapter, tiny_model, folder / "tuned.gguf", folder / "log")


def logprobs(model: Path, adapter: Path | None, text: str) -> dict[int, float]:
    """HF's log-probabilities of the token after `text`."""
    import torch

    from loglore.models.load import attach_adapter, load_model, load_tokenizer

    network = load_model(model, "float32")
    if adapter is not None:
        network = attach_adapter(network, adapter)
    ids = torch.tensor([load_tokenizer(model).encode(text)])
    with torch.inference_mode():
        found = network(ids).logits[0, -1].log_softmax(-1)
    return dict(enumerate(found.tolist()))


def asked(session: Session, model: str, text: str) -> list[dict[str, Any]]:
    """The engine's likeliest tokens after `text`, with ids and log-probabilities."""
    # Forced to a plain character: of a part of one llama.cpp reports nothing. What is reported is before the forcing.
    body = {"prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": 5, "logit_bias": {"20": 1e6}}
    body |= session.wish(model)
    reply = httpx2.post(f"{session.url}/completions", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return found


def test_the_header_says_what_it_is(converted: Path) -> None:
    header = read_header(converted)
    assert (header["general.type"], header["adapter.type"], header["adapter.lora.alpha"]) == ("adapter", "lora", 8.0)


def test_base_and_tuned_from_one_process_whatever_was_asked_before(
    converted: Path, adapter: Path, tiny_gguf: Path, tiny_model: Path
) -> None:
    """Keys and values of one adapter must never serve another: every order of asking gives HF's numbers."""
    truth = {
        (model, text): logprobs(tiny_model, folder, text)
        for model, folder in (("base", None), ("tuned", adapter))
        for text in PROMPTS
    }
    assert max(abs(truth["base", PROMPTS[0]][i] - truth["tuned", PROMPTS[0]][i]) for i in range(512)) > 0.5
    order = ["base", "tuned", "tuned", "base", "tuned", "base"]
    with running(tiny_gguf, model_id="base", adapters={"tuned": converted}, parallel=2) as session:
        for text in [*PROMPTS, *PROMPTS]:
            for model in order:
                for each in asked(session, model, text):
                    assert each["logprob"] == pytest.approx(truth[model, text][each["id"]], abs=0.02), (model, text)


def test_a_base_as_gguf_is_enough(adapter: Path, tiny_gguf: Path, converted: Path, tmp_path: Path) -> None:
    found = lora.convert(adapter, tiny_gguf, tmp_path / "tuned.gguf", tmp_path / "log")
    assert found.stat().st_size == pytest.approx(converted.stat().st_size, rel=0.05)
    assert read_header(found)["adapter.lora.alpha"] == 8.0


def test_what_cannot_be_an_adapter_is_one_line(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    def refused(match: str, **changes: Any) -> None:
        folder = tmp_path / match.replace(" ", "")[:20].replace("/", "")
        shutil.copytree(adapter, folder)
        config = json.loads((folder / lora.CONFIG).read_text())
        (folder / lora.CONFIG).write_text(json.dumps({**config, **changes}))
        with pytest.raises(InputError, match=match):
            lora.convert(folder, tiny_model, tmp_path / "out.gguf", tmp_path / "log")

    refused("use_dora", use_dora=True)
    refused("only LORA", peft_type="IA3")
    with pytest.raises(InputError, match=r"no adapter_config\.json"):
        lora.convert(tiny_model, tiny_model, tmp_path / "out.gguf", tmp_path / "log")
    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    (broken / "adapter_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(JobError, match="converter"):
        lora.convert(broken, tiny_model, tmp_path / "out.gguf", tmp_path / "log")
    assert not (tmp_path / "out.gguf").exists()


def test_an_adapter_of_another_model_does_not_start(converted: Path, tmp_path: Path) -> None:
    from loglore.models.job import embedded_gguf

    with (
        pytest.raises(JobError, match="could not start"),
        running(embedded_gguf(), adapters={"tuned": converted}, context=256, log=tmp_path / "log"),
    ):
        pass


def test_the_export_job_writes_both_and_checks_them(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    from loglore.export.job import ExportSpec, run
    from loglore.runs.folder import RunFolder

    values = {"model": tiny_model, "adapter": adapter, "to": ["adapter"], "gguf_type": "f32", "name": "tuned"}
    result = run(ExportSpec.parse(values, "test"), RunFolder(tmp_path, {}))
    assert {"base": "base.gguf", "adapter": "adapter.gguf", "card": "README.md"}.items() <= result["outputs"].items()
    assert result["adapter_parity"]["passed"]
    assert result["adapter_parity"]["perplexity_ratio"] == pytest.approx(1, abs=1e-3)
    card = (tmp_path / "README.md").read_text()
    assert f"{result['adapter_parity']['agreement']:.2%} of" in card
    assert "| chat prompts with the same token ids | 2 of 2 |" in card
    with pytest.raises(InputError, match="needs the key `adapter`"):
        run(ExportSpec.parse({"model": tiny_model, "to": ["adapter"]}, "test"), RunFolder(tmp_path / "no", {}))
