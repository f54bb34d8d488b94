"""A small workflow on the tiny model: skipped when done, continued when interrupted, redone when inputs change."""

import fcntl
import json
from pathlib import Path

import pytest
from support_tiny import TEXTS

from loglore.errors import InputError, JobError
from loglore.jobs import recipes, runner
from loglore.runs import files, fingerprint

RECIPE = """
name: small
jobs:
  base: {kind: import, model: MODEL, dtype: float32, publish: tiny}
  corpus: {kind: prepare, rows: rows.jsonl}
  cpt:
    kind: train
    stage: cpt
    model: ${base.model}
    train: ${corpus.train}
    validation: ${corpus.validation}
    hyperparameters: h.json
    general_text: false
"""


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    files.write_jsonl(tmp_path / "rows.jsonl", [{"text": f"{text} {n}"} for n, text in enumerate(TEXTS)])
    (tmp_path / "h.json").write_text(json.dumps({"max_sequence_length": 256, "disable_gradient_checkpointing": True}))
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("MODEL", str(tiny_model)))
    return tmp_path


def run(folder: Path, only: str | None = None) -> tuple[dict, list[str]]:
    said: list[str] = []
    reports = runner.run(recipes.load(folder / "recipe.yaml"), folder / "run", said.append, only)
    return reports, said


def test_second_run_skips_everything(folder: Path) -> None:
    first, _ = run(folder)
    before = fingerprint.of_path(folder / "run")
    second, said = run(folder)
    assert first == second
    assert said == [f"[{n}/3] {name}: done before, skipped" for n, name in enumerate(("base", "corpus", "cpt"), 1)]
    assert fingerprint.of_path(folder / "run") == before
    assert first["base"]["job"]["published"] == "tiny@1"
    assert first["cpt"]["job"]["peak_memory"] > 0


def test_changed_input_reruns_what_depends_on_it(folder: Path) -> None:
    run(folder)
    (folder / "h.json").write_text(json.dumps({"max_sequence_length": 128, "disable_gradient_checkpointing": True}))
    _, said = run(folder)
    assert [line.split(": ")[1] for line in said][:3] == ["done before, skipped", "done before, skipped", "train …"]


def test_spoiled_output_is_made_again(folder: Path) -> None:
    first, _ = run(folder)
    model = folder / "run" / "cpt" / "model" / "model.safetensors"
    content = model.read_bytes()
    model.unlink()
    model.write_bytes(content[:-1])
    second, said = run(folder)
    assert said[2] == "[3/3] cpt: train …"
    assert model.read_bytes() == content
    assert first["cpt"]["job"]["outputs"] == second["cpt"]["job"]["outputs"]


def test_interrupted_job_keeps_its_folder_and_other_work_does_not(folder: Path) -> None:
    run(folder)
    report = folder / "run" / "corpus" / "report.json"
    report.unlink()
    kept = folder / "run" / "corpus" / "kept-by-an-interrupted-run"
    kept.touch()
    run(folder)
    assert kept.exists()
    report.unlink()
    files.write_jsonl(folder / "rows.jsonl", [{"text": f"{n} {text}"} for n, text in enumerate(TEXTS)])
    run(folder)
    assert not kept.exists()


def test_only_needs_what_it_refers_to(folder: Path) -> None:
    with pytest.raises(InputError, match="job cpt needs base, corpus to be done first"):
        run(folder, only="cpt")
    reports, _ = run(folder, only="corpus")
    assert list(reports) == ["corpus"]
    with pytest.raises(InputError, match="no job 'x'; jobs: base, corpus, cpt"):
        run(folder, only="x")


def test_folder_in_use_is_refused(folder: Path) -> None:
    (folder / "run").mkdir()
    with (folder / "run" / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(JobError, match="another run is working in this folder"):
            run(folder)


def test_missing_input_is_named_before_anything_is_written(folder: Path) -> None:
    (folder / "rows.jsonl").unlink()
    with pytest.raises(InputError, match=r"rows\.jsonl: no such file or folder"):
        run(folder)
    assert not (folder / "run" / "corpus").exists()


def test_one_job_from_a_spec_file(folder: Path) -> None:
    (folder / "prepare.yaml").write_text("rows: rows.jsonl\nvalidation_share: 0\n")
    report = runner.run_spec("prepare", folder / "prepare.yaml", folder / "one", lambda text: None)
    assert report["rows"] == {"train": len(TEXTS), "validation": 0}
    (folder / "prepare.yaml").write_text("rows: rows.jsonl\nvalidation_shar: 0\n")
    with pytest.raises(InputError, match="did you mean `validation_share`"):
        runner.run_spec("prepare", folder / "prepare.yaml", folder / "two", lambda text: None)
