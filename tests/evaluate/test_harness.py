"""LM Evaluation Harness tasks on a tiny model: where the extra is installed, against likelihoods computed here."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from loglore.errors import InputError
from loglore.evaluate import compare, harness, tables
from loglore.evaluate import test as job
from loglore.models.load import load_model, load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder

installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="the extra `harness` is not installed"
)
ROWS = [
    {"question": f"connect() number {n} failed because", "choices": ["refused", "full"], "answer": n % 2}
    for n in range(6)
]
TASK = """
task: loglore_tiny
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files.write_jsonl(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "tiny.yaml").write_text(TASK.replace("FILE", str(tmp_path / "rows.jsonl")))
    return tmp_path / "tasks"


def expected(model: Any, tokenizer: Any) -> float:
    """Share of rows whose true choice is the more likely continuation."""
    import torch

    right = 0
    for row in ROWS:
        start = tokenizer(row["question"], add_special_tokens=False)["input_ids"]
        likelihoods = []
        for choice in row["choices"]:
            ids = tokenizer(f"{row['question']} {choice}", add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                logs = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            likelihoods.append(sum(float(logs[place - 1, ids[place]]) for place in range(len(start), len(ids))))
        right += likelihoods.index(max(likelihoods)) == row["answer"]
    return right / len(ROWS)


@installed
def test_a_task_of_ones_own_is_scored_by_likelihood(tiny_model: Path, folder: Path) -> None:
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    asked = {"folder": folder, "limit": None, "batch_size": 2, "seed": 0}
    found = harness.measure(model, tokenizer, ["loglore_tiny"], **asked)
    assert found["loglore_tiny"]["samples"] == 6
    assert found["loglore_tiny"]["metrics"]["acc"]["value"] == pytest.approx(expected(model, tokenizer))
    assert found["loglore_tiny"]["metrics"]["acc"]["stderr"] is not None
    with pytest.raises(InputError, match=r"'nothing' is no task of the LM Evaluation Harness and none in"):
        harness.measure(model, tokenizer, ["nothing"], **asked)


@installed
def test_a_test_job_runs_tasks_beside_its_rows(tiny_model: Path, folder: Path, dataset: Path, tmp_path: Path) -> None:
    values = {"model": tiny_model, "dataset": dataset, "turns": "last", "max_new_tokens": 1, "general_text": False}
    spec = job.TestSpec.parse(values | {"harness": ["loglore_tiny"], "harness_tasks": folder, "harness_limit": 4}, "t")
    context = RunFolder(tmp_path / "run", {})
    context.finish(job.run(spec, context))
    assert files.read_json(context.path / "scores.json")["harness"]["loglore_tiny"]["samples"] == 4
    out = RunFolder(tmp_path / "out", {})
    compare.run(compare.CompareSpec(tests={"tiny": context.path}, resamples=100), out)
    assert "loglore_tiny: acc" in (out.path / "report.md").read_text()


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="the extra is installed")
def test_a_missing_extra_is_named() -> None:
    with pytest.raises(InputError, match=r"lm_eval is not installed; run: pip install 'loglore\[harness\]'"):
        harness.measure(None, None, ["arc_easy"], folder=None, limit=None, batch_size=1, seed=0)


def test_metrics_are_paired_with_their_errors_and_shown_with_them() -> None:
    values = {"alias": "x", "acc,none": 0.5, "acc_stderr,none": 0.1, "em,strict": 1, "em_stderr,strict": "N/A"}
    found = harness._metrics(values)
    assert found == {"acc": {"value": 0.5, "stderr": 0.1}, "em (strict)": {"value": 1.0, "stderr": None}}
    run = {"x": {"samples": 4, "metrics": found}}
    table = tables.harness_tasks({"harness": {"base": run, "tuned": json.loads(json.dumps(run))}})
    assert table.rows == [["x: acc", "0.500 ± 0.196", "0.500 ± 0.196"], ["x: em (strict)", "1.000", "1.000"]]


def test_options_without_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="`harness_tasks` and `harness_limit` need `harness`"):
        job.TestSpec.parse({"model": "m", "dataset": "d", "harness_limit": 3}, "spec.yaml")
