"""The export job on a tiny model: outputs, parity, continuing, refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loglore.errors import InputError, JobError
from loglore.export import gguf, parity
from loglore.export.job import ExportSpec, run
from loglore.models.header import read_header
from loglore.runs.folder import RunFolder


def spec(**values: Any) -> ExportSpec:
    return ExportSpec.parse({"to": ["gguf"], **values}, "test")


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("export")
    wish = spec(model=tiny_model, to=["safetensors", "ollama"], gguf_type="f32", name="tiny")
    return folder, run(wish, RunFolder(folder, {}))


def test_outputs_are_there_and_the_header_names_the_model(exported: tuple[Path, dict[str, Any]]) -> None:
    folder, result = exported
    assert result["outputs"] == {
        "merged": "merged",
        "gguf": "model.gguf",
        "modelfile": "Modelfile",
        "card": "README.md",
    }
    header = read_header(folder / "model.gguf")
    assert header["general.name"] == "tiny"
    assert header["llama.context_length"] == 1024
    assert header["tokenizer.ggml.pre"] == "gpt-2"
    assert "Model successfully exported" in (folder / "converter.log").read_text()
    assert not list(folder.glob(".*partial*"))


def test_parity_of_an_exact_conversion(exported: tuple[Path, dict[str, Any]]) -> None:
    found = exported[1]["parity"]
    assert found["passed"]
    assert found["texts_with_other_ids"] == found["prompts_with_other_ids"] == 0
    assert found["positions"] > 400
    assert found["perplexity_ratio"] == pytest.approx(1, abs=1e-3)
    assert found["mean_difference_nats"] < 1e-2


def test_a_killed_job_goes_on_and_gives_the_same_bytes(
    exported: tuple[Path, dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    folder, result = exported
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    before = (again / "merged" / "model.safetensors").stat().st_ino
    (again / "model.gguf").unlink()
    (again / ".model.gguf.partial").write_bytes(b"half")
    (again / "parity.json").unlink()
    wish = spec(model=tiny_model, to=["safetensors", "ollama"], gguf_type="f32", name="tiny")
    assert run(wish, RunFolder(again, {})) == result
    assert (again / "model.gguf").read_bytes() == (folder / "model.gguf").read_bytes()
    assert (again / "merged" / "model.safetensors").stat().st_ino == before


def test_other_weights_do_not_pass_the_gate(exported: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder, _ = exported
    other = tmp_path / "other"
    shutil.copytree(folder / "merged", other)
    model = AutoModelForCausalLM.from_pretrained(other)
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.5)
    model.save_pretrained(other)
    found = parity.check(other, folder / "model.gguf", tmp_path / "log")
    assert "perplexity" in str(found.fault())
    with pytest.raises(JobError, match=r"model\.gguf does not match"):
        parity.require(found, folder / "model.gguf")


def test_another_pre_tokenizer_does_not_pass_the_gate(exported: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The trap that the converter's own check misses: the same vocabulary, digits split from each other or not."""
    folder, _ = exported
    other = tmp_path / "other"
    shutil.copytree(folder / "merged", other)
    definition = json.loads((other / "tokenizer.json").read_text())
    steps = [{"type": "Digits", "individual_digits": True}, definition["pre_tokenizer"]]
    definition["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    (other / "tokenizer.json").write_text(json.dumps(definition))
    found = parity.check(other, folder / "model.gguf", tmp_path / "log")
    assert "other token ids" in str(found.fault())


def test_an_unknown_pre_tokenizer_is_refused_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    definition = json.loads((other / "tokenizer.json").read_text())
    definition["pre_tokenizer"] = {"type": "Whitespace"}
    (other / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(JobError, match="pre-tokenizer was not recognized") as fault:
        gguf.convert(other, tmp_path / "out.gguf", "f16", "x", tmp_path / "converter.log")
    assert "\n" not in str(fault.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["converter.log", "other"]


def test_spec_errors_name_the_key(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="to"):
        spec(model=tiny_model, to=["onnx"])
    with pytest.raises(InputError, match="to"):
        spec(model=tiny_model, to=[])
    with pytest.raises(InputError, match=r"config\.json"):
        run(spec(model=tmp_path), RunFolder(tmp_path / "run", {}))
