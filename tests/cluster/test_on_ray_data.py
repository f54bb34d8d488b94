"""Data and verbs on a real Ray cluster of two nodes: byte for byte what one machine says and writes."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
import support_teacher as teachers
from support_batches import batch_server
from support_cluster import SmallCluster, drivers, small_cluster
from support_logs import LOGS
from support_rows import Rows, write_all
from support_storm import Storm, StormServer
from support_workers import until

from loglore.cluster import asking, checking
from loglore.data import check
from loglore.data.faults import Fault
from loglore.data.render import Renderer
from loglore.data.too_long import Limit
from loglore.endpoint.target import Target
from loglore.models.load import load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.synth import chat, nlplog
from loglore.synth.chat import ChatSpec
from loglore.synth.nlplog import NlplogSpec

pytest.importorskip("ray")

HELD_OUT = ["test.jsonl", "corpus=many", "train.jsonl", "validation.json"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[SmallCluster]:
    with small_cluster(nodes=2) as started:
        yield started


def here(given: list[str], limit: Limit | None, near: bool = True) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Report and faulty rows of a check in this process."""
    faults: list[Fault] = []
    report = check.check([check.parse_input(text) for text in given], near, limit, faults.append)
    found = {"json": check.as_json(report), "lines": check.lines(report), "errors": report.errors}
    return json.loads(json.dumps(found)), [asdict(fault) for fault in faults]


def test_reports_are_those_of_one_machine_whatever_the_files(
    cluster: SmallCluster, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(tmp_path, seed=3)
    rows = Rows(5)
    (tmp_path / "large.jsonl").write_bytes(rows.lines(40) + b"".join(
        json.dumps({"text": f"{rows.words(12)} {number}"}).encode() + b"\n" for number in range(30_000)
    ))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    tokens = {"tokenizer": str(tiny_model), "max_sequence_length": 100}
    specs: list[dict[str, Any]] = [
        {"given": HELD_OUT},
        {"given": HELD_OUT, **tokens},
        {"given": ["rows.csv"], "near_duplicates": False, **tokens, "long_rows": "refuse"},
        {"given": ["bundle.zip", "test=cut.jsonl.gz"]},
        {"given": ["large.jsonl"], "part": 1 << 17},
    ]
    subprocess.run(
        [
            sys.executable, Path(__file__).with_name("support_checked.py"), tmp_path,
            json.dumps([{**spec, "beside": str(tmp_path)} for spec in specs]),
        ],
        check=True, env=os.environ | {"RAY_ADDRESS": cluster.address}, timeout=240,
    )  # fmt: skip
    renderer = Renderer(load_tokenizer(tiny_model))
    for number, spec in enumerate(specs):
        limit = Limit(renderer, 100, spec.get("long_rows", "shorten_log")) if "tokenizer" in spec else None
        report, faults = here(spec["given"], limit, spec.get("near_duplicates", True))
        assert files.read_json(tmp_path / str(number) / checking.REPORT) == report, spec
        assert json.dumps(files.read_json(tmp_path / str(number) / checking.REPORT)) == json.dumps(report)
        assert files.read_jsonl_log(tmp_path / str(number) / checking.FAULTS) == faults, spec
    kinds = {
        fault["kind"] for number in range(4) for fault in files.read_jsonl_log(tmp_path / f"{number}/faults.jsonl")
    }
    assert kinds >= {"bad-json", "duplicate-key", "empty", "turn-order", "wrong-type", "nan", "unreadable", "encoding"}
    # Some 12 MB of looks went through it, at most 8 at a time.
    assert 0 < files.read_json(tmp_path / "used.json") <= 16 << 20


def test_the_verbs_print_and_write_the_same_there(cluster: SmallCluster, tmp_path: Path, tiny_model: Path) -> None:
    write_all(tmp_path, seed=8)
    there = ["--executor", "ray", "--address", cluster.url]

    def said(*arguments: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "loglore", "data", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
        assert done.returncode == status, done.stderr
        return done.stdout

    checked = ["check", "train.jsonl", "--on-error", "skip", "--good"]
    alone = said(*checked, "alone.jsonl", "--skipped", "alone.txt")
    assert said(*checked, "good.jsonl", "--skipped", "skipped.txt", *there) == alone != ""
    for one, other in (("alone.jsonl", "good.jsonl"), ("alone.txt", "skipped.txt")):
        assert (tmp_path / one).read_bytes() == (tmp_path / other).read_bytes() != b""
    lines = b"".join(b'{"text": "%s"}\n' % Rows(number).words(30).encode() for number in range(50))
    (tmp_path / "rows.jsonl").write_bytes(lines)
    packed = ["pack", "rows.jsonl", "-t", str(tiny_model), "--max-sequence-length", "128", "--seed", "1", "-o"]
    assert said(*packed, "there", *there).replace("there", "here") == said(*packed, "here")
    assert hashes(tmp_path / "there") == hashes(tmp_path / "here") != {}
    assert not list(tmp_path.glob("**/.loglore-*"))


@pytest.fixture
def teacher() -> Iterator[StormServer]:
    server = StormServer(Storm(latency=0.01))
    server.storm.reply = teachers.mixed(teachers.good, teachers.repaired, teachers.inventive, teachers.broken)
    yield server
    server.close()


def asking_all(cluster: SmallCluster, kind: str, place: Path, spec: dict[str, Any]) -> "subprocess.Popen[str]":
    """A process that has all nodes ask about shards of five."""
    command = [sys.executable, Path(__file__).with_name("support_asked.py"), kind, place, json.dumps(spec), "5"]
    env = os.environ | {"RAY_ADDRESS": cluster.address}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    said, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    return dict(json.loads(said.splitlines()[-1]))


def test_a_teacher_is_asked_by_all_nodes_within_its_limits_and_the_budget(
    cluster: SmallCluster, teacher: StormServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    for name, text in LOGS.items():
        (tmp_path / "logs" / f"{name}.log").write_text(text, encoding="utf-8")
    values: dict[str, Any] = {
        "logs": [str(tmp_path / "logs")], "seed": 5, "smallest": 4, "largest": 6, "test_chunks": 2,
        "validation_chunks": 2, "test_rows": 6, "validation_rows": 6, "train_rows": 12, "max_answer_tokens": 800,
        "duplicates": 0.9,
        "teacher": {"url": teacher.url, "model": "storm", "price_in": 1, "price_out": 2, "concurrency": 3},
    }  # fmt: skip

    def by_all(place: Path, **changes: Any) -> dict[str, Any]:
        return result_of(asking_all(cluster, "synth", place, values | changes))

    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "there"))
    stopped = by_all(tmp_path / "run", budget_dollars=0.012)
    told = stopped["teaching"]
    assert stopped["unfinished"] and told["stopped"] == "budget" and 0 < told["cost"] <= 0.012
    assert told["accepted"] + told["rejected"] + told["unasked"] == 24 and told["unasked"] > 0
    bills = files.read_jsonl_log(tmp_path / "run" / "paid.jsonl")
    assert sum(bill["dollars"] for bill in bills) == pytest.approx(told["paid"])
    # What was used counts: the same budget buys little more. Without one the rest is asked, nothing twice.
    assert by_all(tmp_path / "run", budget_dollars=0.012)["teaching"]["cost"] <= 0.012
    finished = by_all(tmp_path / "run")
    assert not finished["unfinished"] and teacher.storm.stats()["repeated"] == 0
    assert 1 < teacher.storm.most_at_once <= 3
    asked = teacher.storm.stats()["answers"]
    # Another run finds the answers of this one, on whatever node they were given.
    again = by_all(tmp_path / "again")
    assert teacher.storm.stats()["answers"] == asked and again["teaching"]["paid"] == 0
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "here"))
    alone = chat.run(ChatSpec.parse(values, "test"), RunFolder(tmp_path / "alone", {}))
    assert teacher.storm.stats()["answers"] == 2 * asked
    ours = ("train.jsonl", "validation.jsonl", "test.jsonl", "chunks.jsonl", "removed.jsonl", "failures.jsonl")
    for name in ours:
        expected = (tmp_path / "alone" / name).read_bytes()
        assert [(tmp_path / run / name).read_bytes() for run in ("run", "again")] == [expected] * 2, name
    for key in ("accepted", "rejected", "repaired", "prompt_tokens", "completion_tokens", "cost"):
        assert finished["teaching"][key] == pytest.approx(alone["teaching"][key]), key
    assert finished["teaching"]["repaired"] > 0 and finished["removed"] == alone["removed"] != {}


def test_an_endpoint_that_cannot_work_is_one_line_and_a_budget_is_shared(cluster: SmallCluster, tmp_path: Path) -> None:
    target = Target(url="http://127.0.0.1:1/v1", model="m", concurrency=7, requests_per_minute=90)
    assert asking.share(target, 3).concurrency * 3 <= 7 and asking.share(target, 3).requests_per_minute == 30
    (tmp_path / "app.log").write_text("2026-01-01 00:00:00 error: link down\n" * 60)
    values = {
        "logs": [str(tmp_path / "app.log")], "test_chunks": 0, "validation_chunks": 0, "test_rows": 0,
        "validation_rows": 0, "train_rows": 4, "teacher": {"url": target.url, "model": "m"},
    }  # fmt: skip
    _, told = asking_all(cluster, "synth", tmp_path / "run", values).communicate(timeout=200)
    assert f"InputError: {target.url}: cannot connect" in told.strip().splitlines()[-1]


def test_events_are_asked_about_by_all_nodes_and_a_killed_run_goes_on(
    cluster: SmallCluster, teacher: StormServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in LOGS.items():
        (tmp_path / f"{name}.log").write_text(text, encoding="utf-8")
    values: dict[str, Any] = {
        "logs": [str(tmp_path / "*.log")], "validation_share": 0.2,
        "teacher": {"url": teacher.url, "model": "storm", "price_in": 1, "price_out": 2, "concurrency": 3},
    }  # fmt: skip
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "there"))
    killed = asking_all(cluster, "nlplog", tmp_path / "run", values)
    teacher.storm.wait_for(12)
    killed.kill()
    killed.communicate()
    until(lambda: not askers())
    in_flight = 3
    stopped = result_of(asking_all(cluster, "nlplog", tmp_path / "run", {**values, "budget_dollars": 0.012}))
    assert stopped["unfinished"] and stopped["teaching"]["cost"] <= 0.012
    finished = result_of(asking_all(cluster, "nlplog", tmp_path / "run", values))
    assert not finished["unfinished"] and teacher.storm.stats()["repeated"] <= in_flight
    assert 1 < teacher.storm.most_at_once <= 3
    asked = teacher.storm.stats()["distinct"]
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "here"))
    alone = nlplog.run(NlplogSpec.parse(values, "test"), RunFolder(tmp_path / "alone", {}))
    assert teacher.storm.stats()["distinct"] == asked > alone["events"] > 40
    for name in ("nlplog_train.jsonl", "nlplog_validation.jsonl", "removed.jsonl", "failures.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
    assert finished["rows"] == alone["rows"] > 0 and finished["removed"] == alone["removed"] != {}
    for key in ("accepted", "rejected", "repaired", "prompt_tokens", "completion_tokens", "cost"):
        assert finished["teaching"][key] == pytest.approx(alone["teaching"][key]), key


def askers() -> list[int]:
    """Processes of the cluster that ask."""
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if "_Asker" in " ".join(each.info["cmdline"] or [])]


def test_a_batch_is_waited_for_by_one_process_and_found_again_after_a_kill(
    cluster: SmallCluster, tmp_path: Path
) -> None:
    (tmp_path / "app.log").write_text(LOGS["sshd"], encoding="utf-8")
    with batch_server() as server:
        server.reply = teachers.mixed(teachers.good, teachers.repaired, teachers.broken)
        server.slow = 10**9
        teacher = f"{{url: {server.url!r}, model: m, price_out: 1}}"
        (tmp_path / "spec.yaml").write_text(f"logs: [app.log]\nteacher: {teacher}\nbatches: true\n")

        def command(out: str, *there: str) -> list[str]:
            return [sys.executable, "-m", "loglore", "synth", "nlplog", "spec.yaml", "--out", out, *there]

        there = command("run", "--executor", "ray", "--address", cluster.url)
        waiting = subprocess.Popen(there, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        until(lambda: server.polls)
        (driver,) = drivers(tmp_path / "run")
        driver.kill()
        _, told = waiting.communicate(timeout=120)
        assert waiting.returncode == 1 and "ended without a result" in told
        # Nobody waits meanwhile, and it is done; whoever goes on is on another machine, which has no cache of answers.
        server.slow = 0
        for number, again in enumerate((there, command("alone"))):
            env = os.environ | {"LOGLORE_HOME": str(tmp_path / f"home-{number}")}
            done = subprocess.run(
                again, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, done.stderr
        assert [batch["status"] for batch in server.batches.values()] == ["completed"] * 2
    for name in ("nlplog.jsonl", "removed.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes() != b"", name
    bills = files.read_jsonl_log(tmp_path / "run" / "paid.jsonl")
    report = files.read_json(tmp_path / "run" / "report.json")
    assert sum(bill["dollars"] for bill in bills) == pytest.approx(report["teaching"]["cost"]) != 0


def test_one_flag_sends_a_verb_there(
    cluster: SmallCluster, teacher: StormServer, tmp_path: Path, tiny_model: Path
) -> None:
    there = ["--executor", "ray", "--address", cluster.url]
    teacher.storm.reply = lambda asked: "a"
    files.write_jsonl(tmp_path / "rows.jsonl", [{"instruction": f"q{n}", "output": "a"} for n in range(4)])
    (tmp_path / "app.log").write_text("2026-01-01 00:00:00 error: link down\n" * 2)
    (tmp_path / "nlplog.yaml").write_text("logs: [app.log]\nvariants: 1\n")
    hyperparameters = {"epochs": 1, "max_sequence_length": 64, "mixed_precision": "none", "training_type": "full"}
    files.write_json(tmp_path / "h.json", hyperparameters)
    asked = {
        "train": ["--stage", "sft", "--model", str(tiny_model), "--train", "rows.jsonl", "--hyperparameters", "h.json"],
        "test": ["--endpoint", teacher.url, "--model", "storm", "--dataset", "rows.jsonl", "--json"],
        "synth": ["nlplog", "nlplog.yaml"],
    }
    for verb, arguments in asked.items():
        command = [sys.executable, "-m", "loglore", verb, *arguments, "--out", f"run-{verb}", *there]
        if verb == "train":
            command += ["--nodes", "1", "--gpus-per-node", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert files.read_json(tmp_path / f"run-{verb}" / "report.json")["outputs"]
        told = [row["event"] for row in files.read_jsonl_log(tmp_path / f"run-{verb}" / "events.jsonl")]
        assert told.count("submitted") == 1
    # Without the other flag that is refused, not ignored.
    command = [sys.executable, "-m", "loglore", "train", *asked["train"], "--nodes", "1"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (2, "loglore: --nodes is of a cluster: add --executor ray\n")


def hashes(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
