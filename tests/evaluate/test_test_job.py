"""The job `test` end to end on a tiny model: rows and scores, bad rows, and `kill -9` in the middle."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loglore.errors import InputError
from loglore.evaluate import measures, metrics, questions
from loglore.evaluate import test as job
from loglore.runs import files
from loglore.runs.folder import RunFolder

TIMED = ["latency_s"]
SCRIPT = """
import sys
from pathlib import Path
from loglore.evaluate import test as job
from loglore.runs.folder import RunFolder
spec = job.TestSpec.parse(__import__("json").loads(sys.argv[1]), "test")
context = RunFolder(Path(sys.argv[2]), {})
context.finish(job.run(spec, context))
"""


def spec_of(model: Path, dataset: Path, **changes: Any) -> job.TestSpec:
    values = {"model": model, "dataset": dataset, "turns": "last"} | {
        "max_new_tokens": 48,
        "batch_size": 2,
        "general_text": False,
    }
    return job.TestSpec.parse(values | changes, "test")


def test_rows_and_scores(tiny_model: Path, dataset: Path, tmp_path: Path) -> None:
    context = RunFolder(tmp_path / "run", {})
    result = job.run(spec_of(tiny_model, dataset), context)
    rows = pl.read_parquet(context.path / result["outputs"]["rows"])
    scores = files.read_json(context.path / result["outputs"]["scores"])
    assert rows.height == result["rows"] == 12
    assert scores["chunks"] == 6
    conversation = rows.row(11, named=True)
    assert conversation["input"] == "What happened in run 11?", "the last human turn"
    assert [message["role"] for message in json.loads(conversation["messages"])] == ["user", "assistant", "user"]
    assert conversation["truth"] == 'Job 11 is "done" 1.'
    expected = metrics.score_rows(rows["output"].to_list(), rows["truth"].to_list())
    for name in metrics.NAMES:
        assert rows[name].to_list() == expected[name].tolist()
        found = scores["scores"][name]
        assert found["low"] <= found["high"]
        assert found["value"] == pytest.approx(metrics.aggregate(expected)[name])
    assert rows["tokens"].max() == 48 or (rows["finish"] == "stop").all()
    assert set(scores["signatures"]) == {*metrics.NAMES, *measures.BY_NAME}
    assert scores["truncated"] == (rows["finish"] == "length").sum()
    assert result["tokens_per_second"] > 0


def test_killed_and_continued_ends_in_the_same_rows(tiny_model: Path, dataset: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_model, dataset, batch_size=1, max_new_tokens=200)
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", SCRIPT, spec.model_dump_json(), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    outputs = folder / "outputs.jsonl"
    while process.poll() is None and len(files.read_jsonl_log(outputs)) < 4:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    kept = len(files.read_jsonl_log(outputs)) - 1
    assert 0 < kept < 12
    assert not (folder / "rows.parquet").exists()
    with outputs.open("a") as stream:
        stream.write('{"row": 3, "te')  # what a kill within a write leaves

    context = RunFolder(folder, {})
    job.run(spec, context)
    started = [row for row in map(json.loads, (folder / "events.jsonl").open()) if row["event"] == "started"]
    assert started[-1]["done"] == kept, "finished rows are not answered again"
    whole = RunFolder(tmp_path / "whole", {})
    job.run(spec, whole)
    continued, straight = (pl.read_parquet(path / "rows.parquet").drop(TIMED) for path in (folder, whole.path))
    assert continued.equals(straight)


def test_an_adapter_changes_the_answers(tiny_model: Path, dataset: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from loglore.models.load import load_model

    torch.manual_seed(1)
    tuned = get_peft_model(load_model(tiny_model), LoraConfig(target_modules="all-linear", init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter")
    answers = []
    for name, adapter in (("plain", None), ("tuned", tmp_path / "adapter")):
        context = RunFolder(tmp_path / name, {})
        job.run(spec_of(tiny_model, dataset, adapter=adapter, max_new_tokens=8), context)
        answers.append(pl.read_parquet(context.path / "rows.parquet")["output"].to_list())
    assert answers[0] != answers[1]


def test_general_text_is_measured_when_asked(tiny_model: Path, dataset: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_model, dataset, max_new_tokens=1, general_text=True)
    assert job.run(spec, RunFolder(tmp_path / "run", {}))["general_text"]["perplexity"] > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows to test on"),
        ('{"conversations": [{"from": "human", "value": "?"}]}', "row 1: turns are user; expected"),
        ('\n{"text": "corpus"}', "row 2: corpus rows have no chat messages"),
        ('{"conversations": 1', "row 1: not JSON"),
    ],
)
def test_bad_rows_are_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as fault:
        questions.read_questions(path)
    assert "bad.jsonl" in str(fault.value)


def test_rows_that_do_not_fit_the_model_are_refused_before_any_work(
    tiny_model: Path, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"test\.jsonl: row 1 .* exceeds the model's context of 1024"):
        job.run(spec_of(tiny_model, dataset, max_new_tokens=1000), RunFolder(tmp_path / "run", {}))
    assert not (tmp_path / "run" / "outputs.jsonl").exists()
