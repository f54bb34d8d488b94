"""The job `test` on endpoints: real servers on loopback, killed, dying, refusing, and off loopback redacted."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support_storm import Storm, StormServer
from typer.testing import CliRunner

from loglore.cli import app
from loglore.errors import InputError, JobError
from loglore.evaluate import metrics
from loglore.evaluate import test as job
from loglore.runs import files
from loglore.runs.folder import RunFolder

Serve = Callable[..., StormServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(**behaviour: Any) -> StormServer:
        servers.append(StormServer(Storm(**behaviour)))
        servers[-1].storm.reply = answer_of
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def answer_of(asked: dict[str, Any]) -> str:
    """An answer that depends on the last turn and on how many turns were shown."""
    messages = asked["messages"]
    return f" {len(messages)} turns: {messages[-1]['content'][:40]}\n"


def spec_of(server: StormServer, dataset: Path, **changes: Any) -> job.TestSpec:
    target = {"url": server.url, "model": "storm", "concurrency": 4, "timeout_s": 2.0, **changes.pop("target", {})}
    return job.TestSpec.parse({"endpoint": target, "dataset": str(dataset), "max_new_tokens": 48} | changes, "test")


def test_every_turn_is_asked_with_the_true_history_and_scored(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    server = serve()
    server.storm.keep_bodies = True
    result = job.run(spec_of(server, dataset), RunFolder(tmp_path, {}))
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert rows.height == result["rows"] == 14, "ten rows of one turn, two of two"
    assert (result["unanswered"], result["unfinished"]) == (0, False)
    for row in rows.iter_rows(named=True):
        messages = json.loads(row["messages"])
        assert row["output"] == f"{len(messages)} turns: {messages[-1]['content'][:40]}".strip()
        assert row["latency_s"] >= 0 and row["prompt_tokens"] > 0 and row["tokens"] > 0
    second = rows.filter((pl.col("row") == 12) & (pl.col("turn") == 2)).row(0, named=True)
    assert json.loads(second["messages"])[1] == {"role": "assistant", "content": 'Job 11 is "done" 0.'}
    scores = files.read_json(tmp_path / "scores.json")
    expected = metrics.score_rows(rows["output"].to_list(), rows["truth"].to_list())
    assert scores["scores"]["rougeL"]["value"] == pytest.approx(metrics.aggregate(expected)["rougeL"])
    last = rows.filter("last_turn")
    expected = metrics.score_rows(last["output"].to_list(), last["truth"].to_list())
    assert scores["last_turn"]["rows"] == 12
    assert scores["last_turn"]["scores"]["bleu"]["value"] == pytest.approx(metrics.aggregate(expected)["bleu"])
    assert server.storm.most_at_once <= 4


def test_replicas_share_the_rows_and_score_as_one(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    first, second = serve(latency=0.02), serve(latency=0.02)
    asked = {"target": {"concurrency": 1}, "replicas": [second.url]}
    shared = job.run(spec_of(first, dataset, **asked), RunFolder(tmp_path / "shared", {}))
    answers = [server.storm.stats()["answers"] for server in (first, second)]
    assert sum(answers) == 14 and min(answers) >= 3
    alone = job.run(spec_of(first, dataset), RunFolder(tmp_path / "alone", {}))
    assert shared["scores"] == alone["scores"]
    told = [pl.read_parquet(tmp_path / name / "rows.parquet").drop("latency_s") for name in ("shared", "alone")]
    assert told[0].equals(told[1]) and told[0].height == 14, "each row once, whoever answered it"


def test_the_verb_takes_replicas(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    first, second = serve(latency=0.02), serve(latency=0.02)
    command = [
        "test", "--endpoint", first.url, "--replica", second.url, "--model", "storm", "--dataset", str(dataset),
        "--concurrency", "1", "--max-tokens", "48", "--out", str(tmp_path / "run"), "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads(done.stdout)["unanswered"] == 0
    answers = [server.storm.stats()["answers"] for server in (first, second)]
    assert sum(answers) == 14 and min(answers) >= 3


def test_sampling_parameters_reach_the_endpoint_and_the_signature(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    server = serve()
    server.storm.keep_bodies = True
    asked = {"temperature": 0.7, "top_p": 0.9, "stop": ["\n\n"], "system": "Be brief.", "seed": 3, "turns": "last"}
    job.run(spec_of(server, dataset, **asked), RunFolder(tmp_path, {}))
    body = server.storm.bodies[0]
    sent = {name: body[name] for name in ("temperature", "top_p", "stop", "seed", "max_tokens")}
    assert sent == {"temperature": 0.7, "top_p": 0.9, "stop": ["\n\n"], "seed": 3, "max_tokens": 48}
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    signature = files.read_json(tmp_path / "scores.json")["signatures"]["bleu"]
    assert 'sampled|temperature:0.7|top_p:0.9|seed:3|max_new_tokens:48|stop:["\\n\\n"]' in signature
    assert "|system:" in signature


def test_a_cut_off_answer_is_scored_and_counted(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    server = serve()
    server.storm.fault = lambda question, turns, first: "truncated"  # type: ignore[method-assign]
    result = job.run(spec_of(server, dataset), RunFolder(tmp_path, {}))
    assert (result["truncated"], result["unanswered"]) == (14, 0)
    assert set(pl.read_parquet(tmp_path / "rows.parquet")["output"].str.len_chars()) <= set(range(10))


def test_refused_rows_have_no_score_instead_of_zero(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    server = serve()
    server.storm.fault = lambda q, turns, first: "refused" if "run 11" in q else ""  # type: ignore[method-assign]
    result = job.run(spec_of(server, dataset), RunFolder(tmp_path, {}))
    assert (result["unanswered"], result["unfinished"]) == (1, True)
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    failed = rows.filter(pl.col("output").is_null())
    assert (failed["row"].to_list(), failed["turn"].to_list()) == ([12], [2])
    nulls = failed.select(*metrics.NAMES, "chrf", "supported").row(0)
    assert nulls == (None,) * len(nulls)
    answered = rows.filter(pl.col("output").is_not_null())
    expected = metrics.aggregate(metrics.score_rows(answered["output"].to_list(), answered["truth"].to_list()))
    assert result["scores"]["fuzzy_match"]["value"] == pytest.approx(expected["fuzzy_match"])
    because = files.read_json(tmp_path / "scores.json")["unanswered_because"]
    assert because == [f"1 x refused: 400 this request is not acceptable (first: {dataset}: row 12, turn 2)"]
    assert "No answer: 1 x refused" in result["summary"]


def test_no_answer_at_all_is_a_failed_job(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    server = serve()
    server.storm.fault = lambda question, turns, first: "refused"  # type: ignore[method-assign]
    with pytest.raises(JobError, match=r"no row was answered: 14 x refused: 400"):
        job.run(spec_of(server, dataset), RunFolder(tmp_path, {}))
    assert not (tmp_path / "scores.json").exists()


def test_an_endpoint_that_dies_midway_keeps_what_it_answered(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    server = serve()
    limited = {"concurrency": 1}
    given = 0

    def reply(asked: dict[str, Any]) -> str:
        nonlocal given
        given += 1
        if given == 5:
            server.storm.refusal = (401, {"message": "key revoked"})
        return answer_of(asked)

    server.storm.reply = reply
    with pytest.raises(InputError, match="401"):
        job.run(spec_of(server, dataset, target=limited), RunFolder(tmp_path, {}))
    before = server.storm.stats()["answers"]
    assert 4 <= before < 14
    server.storm.refusal, server.storm.reply = None, answer_of
    assert job.run(spec_of(server, dataset, target=limited), RunFolder(tmp_path, {}))["unanswered"] == 0
    assert server.storm.stats()["answers"] == 14, "nothing is asked twice"


SCRIPT = """
import json, sys
from pathlib import Path
from loglore.evaluate import test as job
from loglore.runs.folder import RunFolder
job.run(job.TestSpec.parse(json.loads(sys.argv[1]), "test"), RunFolder(Path(sys.argv[2]), {}))
"""


def test_killed_and_continued_asks_only_what_was_in_flight(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    server = serve(latency=0.05)
    spec = spec_of(server, dataset, target={"concurrency": 2})
    command = [sys.executable, "-c", SCRIPT, spec.model_dump_json(exclude_unset=True), str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    server.storm.wait_for(5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "rows.parquet").exists()
    assert job.run(spec, RunFolder(tmp_path, {}))["unanswered"] == 0
    stats = server.storm.stats()
    assert stats["distinct"] == 14
    assert stats["repeated"] <= 2
    assert pl.read_parquet(tmp_path / "rows.parquet").height == 14


def test_equal_questions_are_rows_of_their_own(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.write_jsonl(path, [{"instruction": "same", "output": text} for text in ("one", "two")])
    assert job.run(spec_of(serve(), path), RunFolder(tmp_path / "run", {}))["rows"] == 2
    rows = pl.read_parquet(tmp_path / "run" / "rows.parquet")
    assert rows["truth"].to_list() == ["one", "two"]
    assert rows["output"].null_count() == 0


def test_what_leaves_is_redacted_and_answers_are_scored_restored(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.storm.keep_bodies = True
    server.storm.reply = lambda asked: asked["messages"][-1]["content"]
    path = tmp_path / "rows.jsonl"
    text = "10.7.7.7 fails for user zoe"
    files.write_jsonl(path, [{"instruction": text, "output": text}])
    result = job.run(spec_of(server, path, target={"redact": True}), RunFolder(tmp_path / "run", {}))
    assert "10.7.7.7" not in json.dumps(server.storm.bodies)
    assert result["measures"]["exact_match"]["value"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "m"}, "expected `model` .in this process. or `endpoint`"),
        ({"batch_size": 4}, "`batch_size` is for models in this process"),
        ({"general_text": True}, "`general_text` is for models in this process"),
        ({"top_p": 0.9}, "`top_p` below 1 changes nothing at `temperature` 0"),
        ({"stop": [""]}, "`stop` has an empty text"),
        ({"suite": "logs", "tasks": ["parsin"]}, "'parsin' is none of the log tasks: parsing"),
        ({"temperatur": 1}, "unknown key `temperatur`; did you mean `temperature`"),
        ({"temperature": -1}, "`temperature`: Input should be greater than or equal to 0"),
    ],
)
def test_options_are_honoured_or_refused(changes: dict[str, Any], message: str, dataset: Path) -> None:
    values = {"endpoint": {"url": "http://127.0.0.1:1/v1", "model": "m"}, "dataset": str(dataset)}
    with pytest.raises(InputError, match=message):
        job.TestSpec.parse(values | changes, "spec.yaml")


def test_replicas_need_an_endpoint_and_are_urls(dataset: Path) -> None:
    values = {"endpoint": {"url": "http://127.0.0.1:1/v1", "model": "m"}, "dataset": str(dataset)}
    with pytest.raises(InputError, match="`replicas`: 'host:8000' is no URL such as https"):
        job.TestSpec.parse({**values, "replicas": ["http://127.0.0.1:2/v1", "host:8000"]}, "spec.yaml")
    with pytest.raises(InputError, match="`replicas` are further URLs of an `endpoint`"):
        job.TestSpec.parse({"model": "m", "dataset": str(dataset), "replicas": ["http://127.0.0.1:1/v1"]}, "spec.yaml")


def test_a_wrong_endpoint_is_one_line(serve: Serve, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model 'other'; it offers storm"):
        job.run(spec_of(serve(), dataset, target={"model": "other"}), RunFolder(tmp_path, {}))


def test_a_suite_reports_each_tasks_measure(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    replies = {"Convert": "Failed <*>", "Classify": "abnormal", "Interpret": "The disk is full."}
    server.storm.reply = lambda asked: replies[asked["messages"][-1]["content"].split()[0]]
    path = tmp_path / "rows.jsonl"
    parsing = "Convert the following logs into standardized templates by marking variables with <*>."
    anomaly = "Classify the given log entries into normal and abnormal categories."
    rows = [
        {"instruction": parsing, "input": "Failed 7", "output": "Failed <*>"},
        {"instruction": parsing, "input": "Got 7", "output": "Got <*>"},
        {"instruction": anomaly, "input": "panic", "output": "abnormal"},
        {"instruction": anomaly, "input": "hello", "output": "normal"},
        {"instruction": "Interpret the log.", "input": "ENOSPC", "output": "The disk is full."},
    ]
    files.write_jsonl(path, rows)
    found = job.run(spec_of(server, path, suite="logs"), RunFolder(tmp_path / "run", {}))["measures"]
    assert (found["template_accuracy"]["value"], found["template_accuracy"]["rows"]) == (0.5, 2)
    assert found["anomaly_f1"]["value"] == pytest.approx(2 / 3)
    assert (found["anomaly_accuracy"]["value"], found["anomaly_accuracy"]["rows"]) == (0.5, 2)
    scores = files.read_json(tmp_path / "run" / "scores.json")
    assert "json_valid" not in found
    assert scores["not_fitting"]["json_valid"] == "no row fits: rows whose truth is a JSON object"
