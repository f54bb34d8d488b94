"""`loglore export` and `loglore train` as a user types them, with models by their name in the hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support_serving import tiny_gguf
from support_tiny import TEXTS

from loglore.models.header import read_header

__all__ = ["tiny_gguf"]

HYPERPARAMETERS = {"epochs": 1, "max_sequence_length": 256, "mixed_precision": "none", "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def home(tiny_model: Path, tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose hub has the tiny model as `tiny` and its GGUF as `packed`."""
    folder = tmp_path_factory.mktemp("stages")
    assert run("models", "add", "tiny", str(tiny_model), cwd=folder).stdout == "tiny@1\n"
    assert run("models", "add", "packed", str(tiny_gguf), cwd=folder).stdout == "packed@1\n"
    return folder


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loglore", *arguments],
        cwd=cwd,
        env={**os.environ, "LOGLORE_HOME": str(cwd / "home"), "PYTHONPATH": ":".join(sys.path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_hub_version_becomes_an_ollama_model(home: Path) -> None:
    done = run("export", "tiny@1", "--to", "ollama", "--quantization", "f16", "--out", "ollama", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "ollama/model.gguf" in done.stdout and "ollama/Modelfile" in done.stdout
    assert "next token agrees at" in done.stdout
    header = read_header(home / "ollama" / "model.gguf")
    assert header["general.name"] == "tiny-1"
    assert header["general.file_type"] == 1  # mostly f16 in llama.cpp's numbering; q8_0 is 7
    assert (home / "ollama" / "Modelfile").read_text().startswith("FROM ./model.gguf\n")
    again = run("export", "tiny@1", "--to", "ollama", "--quantization", "f16", "--out", "ollama", "--json", cwd=home)
    assert "done before, skipped" in again.stderr
    assert json.loads(again.stdout)["parity"]["passed"]


def test_a_gguf_of_the_hub_becomes_safetensors_in_the_default_folder(home: Path) -> None:
    from loglore.models.load import load_model

    done = run("export", "packed", "--to", "safetensors", cwd=home)
    assert done.returncode == 0, done.stderr
    assert load_model(home / "runs" / "export-packed" / "merged").config.hidden_size == 64


def test_a_spec_file_is_still_taken(home: Path, tiny_model: Path) -> None:
    (home / "spec.yaml").write_text(f"model: {tiny_model}\nto: [safetensors]\n")
    done = run("export", "spec.yaml", "--out", "specced", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"] == {"merged": "merged", "card": "README.md"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "tiny"), "expected --to safetensors, gguf, ollama or adapter"),
        (("export", "nowhere", "--to", "gguf"), "model 'nowhere': not in the hub (packed, tiny), and no such path"),
        (("export", "tiny@7", "--to", "gguf"), "tiny has versions 1 to 1"),
        (
            ("export", "tiny", "--to", "safetensors", "--quantization", "f16"),
            "it changes nothing with --to safetensors",
        ),
        (("export", "tiny", "--to", "adapter"), "`adapter` needs the key `adapter`"),
        (("export", "spec.yaml", "--to", "gguf"), "give a spec file or options, not both (to)"),
        (("train", "--model", "tiny"), "missing: --stage, --train, --hyperparameters"),
        (("train", "spec.yaml", "--model", "tiny"), "give a spec file or options, not both (model)"),
    ],
)
def test_what_cannot_be_done_is_one_line(home: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments, cwd=home)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_training_starts_from_a_hub_version_and_publishes_the_next(home: Path) -> None:
    (home / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:8]))
    (home / "h.json").write_text(json.dumps(HYPERPARAMETERS))
    options = ["--stage", "cpt", "--train", "rows.jsonl", "--hyperparameters", "h.json", "--out", "cpt"]
    done = run("train", "--model", "tiny@1", *options, "--publish", "tiny", cwd=home)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["stage"] == "cpt" and report["job"]["published"] == "tiny@2"
    listed = {(row["name"], row["version"]) for row in json.loads(run("models", "list", "--json", cwd=home).stdout)}
    assert listed == {("tiny", 1), ("tiny", 2), ("packed", 1)}
