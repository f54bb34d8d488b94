"""Jobs on a real Ray cluster of two nodes on this machine: run, refused, paused, ended by others; a lost node."""

import hashlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_cluster import SmallCluster, drivers, free_port, small_cluster
from support_gate import Gate
from support_steps import alone, at_a_checkpoint, same, spec
from support_steps import events as events_of
from support_workers import until_state

from loglore.cluster import check, connection, order
from loglore.cluster.submission import RUN, OnRay
from loglore.errors import InputError
from loglore.jobs import recipes, runner
from loglore.jobs.executor import STOPPED
from loglore.jobs.queue import submit
from loglore.models.load import load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.store import events, requests
from loglore.store.database import open_database
from loglore.synth import chat
from loglore.synth.chat import ChatSpec
from loglore.synth.nlplog import NlplogSpec
from loglore.train import hyperparameters, plan

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(600)  # on a busy machine every process takes long to start

WAITING = """
import json, sys
from pathlib import Path
from loglore.cluster.submission import OnRay
from loglore.jobs import runner
from loglore.runs.folder import RunFolder
from loglore.synth.nlplog import NlplogSpec
spec = NlplogSpec.parse(json.loads(sys.argv[3]), "test")
context = RunFolder(Path(sys.argv[2]), spec.model_dump(mode="json"))
runner.result_of("nlplog", spec, context, OnRay(sys.argv[1], lease_s=6))
"""
WORKER = """
import sys
from loglore.jobs.work import work
from loglore.jobs.worker import Patience
times = dict(look_s=0.05, beat_s=0.2, retry_s=0.1)
work(until_idle=sys.argv[2] == "until-idle", patience=Patience(**times), executor="ray", address=sys.argv[1])
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    with small_cluster(tmp_path_factory.mktemp("seen-by-one")) as started:
        yield started


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def gate() -> Iterator[Gate]:
    started = Gate()
    yield started
    started.close()


def recipe(folder: Path, text: str) -> recipes.Recipe:
    files.write_jsonl(folder / "rows.jsonl", [{"text": "disk full"}, {"text": "link down"}])
    (folder / "recipe.yaml").write_text(text)
    return recipes.load(folder / "recipe.yaml")


def loglore(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loglore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_recipe_is_run_there_and_is_then_done_here_too(cluster: SmallCluster, tmp_path: Path) -> None:
    steps = "name: two\njobs:\n  a: {kind: prepare, rows: rows.jsonl, validation_share: 0}\n"
    recipe(tmp_path, steps + "  b: {kind: prepare, rows: '${a.train}', validation_share: 0, seed: 1}\n")
    where = ["--executor", "ray", "--address", cluster.url]
    out = tmp_path / "out"
    done = loglore("run", str(tmp_path / "recipe.yaml"), "--out", str(out), *where)
    assert done.returncode == 0, done.stderr
    told = [row["event"] for row in files.read_jsonl_log(out / "b" / "events.jsonl")]
    assert told == ["job started", "submitted", "prepared", "job finished"]
    # The same command without a cluster finds the same work done: a cluster is no other job.
    again = loglore("run", str(tmp_path / "recipe.yaml"), "--out", str(out))
    assert again.stderr.count("done before, skipped") == 2
    here = runner.run(recipes.load(tmp_path / "recipe.yaml"), tmp_path / "here", lambda _: None)
    assert here["b"]["job"]["outputs"] == files.read_json(out / "b" / "report.json")["job"]["outputs"]


def test_bad_input_is_one_line(cluster: SmallCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    done = loglore("cluster", "check", "--address", nowhere)
    assert done.returncode == 1
    assert re.fullmatch(rf"loglore: no Ray cluster answers at {nowhere}: .+\n", done.stderr)
    assert "--address is of a cluster: add --executor ray" in loglore("worker", "--address", nowhere).stderr
    assert loglore("worker", "--executor", "ray", "--address", nowhere).stderr == done.stderr
    damaged = recipe(tmp_path, "name: one\njobs:\n  a: {kind: prepare, rows: bad.jsonl, validation_share: 0}\n")
    (tmp_path / "bad.jsonl").write_text('{"text": \n')
    with pytest.raises(InputError, match=r"bad\.jsonl"):
        runner.run(damaged, tmp_path / "bad", lambda _: None, None, OnRay(cluster.url))
    whole = recipe(tmp_path, "name: one\njobs:\n  a: {kind: prepare, rows: rows.jsonl, validation_share: 0}\n")
    theirs = order.versions() | {"LogLore": "0.0.1"}
    with monkeypatch.context() as patch:
        patch.setattr(order, "versions", lambda: theirs)
        with pytest.raises(InputError, match=r"^LogLore 0\.0\.1 on the submitting side, .+ here: install the same"):
            runner.run(whole, tmp_path / "version", lambda _: None, None, OnRay(cluster.url))
        patch.setattr(order, "versions", lambda: theirs | {"Ray": "1.0"})
        with pytest.raises(InputError, match=r"^Ray [\d.]+ on the cluster at .+, 1\.0 here"):
            connection.connect(cluster.url)


def test_a_cluster_that_asks_for_a_token_is_one_line() -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"Unauthorized: Missing authentication token"
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(InputError, match=rf"^{url}: Authentication required: .+; set RAY_AUTH_MODE=token and give"):
            connection.connect(url)
        server.shutdown()


def test_the_cluster_tells_what_it_has(cluster: SmallCluster, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "spec.yaml").write_text(spec(tmp_path, tiny_model, 2).model_dump_json())
    found = check.check(cluster.url, tmp_path, tmp_path / "spec.yaml", 2, None)
    assert [node.head for node in found.nodes] == [True, False]
    assert found.lines[0].startswith("2 nodes, 2 CPUs, 0 GPUs; Python ") and f"all see {tmp_path}" in found.lines[0]
    assert re.fullmatch(r"train fits: 2 workers, 0\.\d GiB of \d+\.\d each", found.lines[1])
    assert {row["fault"] for row in found.rows()} == {""}
    with pytest.raises(InputError, match=r"3 x 1 CPUs are wanted, and the cluster has"):
        check.check(cluster.url, tmp_path, tmp_path / "spec.yaml", 3, None)


def test_queued_jobs_are_cancelled_paused_resumed_and_go_on_when_somebody_ends_them(
    cluster: SmallCluster, home: Path, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_DATABASE", f"sqlite:///{home / 'loglore.db'}")
    (tmp_path / "app.log").write_text("2026-01-01 00:00:00 error: link down\n" * 2)
    values = {"logs": [str(tmp_path / "app.log")], "teacher": {"url": gate.url, "model": "gate"}, "variants": 1}
    with open_database() as database:
        unwanted = submit(database, "nlplog", values)
        with working(cluster, tmp_path):
            gate.wait_until_asked()
            assert loglore("jobs", "cancel", unwanted.id).returncode == 0
            until_state(database, unwanted, "cancelled")
            assert running(cluster, unwanted) == [] == drivers(Path(unwanted.folder))
            job = submit(database, "nlplog", values)
            gate.wait_until_asked()
            requests.pause(database, job.id)
            until_state(database, job, "paused")
            assert running(cluster, job) == []
            requests.resume(database, job.id)
            gate.wait_until_asked()
            (left,) = running(cluster, job)
            # Somebody ends it on the cluster: it is queued again, and goes on.
            connection.connect(cluster.url).stop_job(left)
            gate.wait_until_asked()
            gate.open()
            done = until_state(database, job, "succeeded", "failed")
        assert done.state == "succeeded", done.error
        told = [event.message for event in events.events(database, job.id, limit=1000)]
        assert sum(line.startswith("submitted: ") for line in told) == 3
        assert done.report is not None and done.report["teaching"]["accepted"] == 1


def running(cluster: SmallCluster, job: Any) -> list[str]:
    """Ray jobs of a job's run folder that have not ended."""
    found = connection.connect(cluster.url).list_jobs()
    mine = [each for each in found if (each.metadata or {}).get(RUN) == job.folder]
    return [str(each.submission_id) for each in mine if not each.status.is_terminal()]


class working:  # noqa: N801  # reads as a statement
    """A worker of the queue that has the cluster do its jobs."""

    def __init__(self, cluster: SmallCluster, folder: Path) -> None:
        self.command = [sys.executable, "-c", WORKER, cluster.url, "until-told"]
        self.log = folder / "worker.log"

    def __enter__(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(self.command, stdout=stream, stderr=stream)
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)


def test_ctrl_c_ends_the_job_there_and_the_same_command_goes_on(
    cluster: SmallCluster, gate: Gate, tmp_path: Path
) -> None:
    (tmp_path / "app.log").write_text("2026-01-01 00:00:00 error: link down\n" * 2)
    teacher = f"{{url: {gate.url!r}, model: gate}}"
    recipe(tmp_path, f"name: one\njobs:\n  a: {{kind: nlplog, logs: [app.log], teacher: {teacher}, variants: 1}}\n")
    out = tmp_path / "out"
    arguments = ["run", str(tmp_path / "recipe.yaml"), "--out", str(out), "--executor", "ray", "--address", cluster.url]
    waiting = subprocess.Popen([sys.executable, "-m", "loglore", *arguments], stderr=subprocess.PIPE)
    gate.wait_until_asked()
    (driver,) = drivers(out / "a")
    waiting.send_signal(signal.SIGINT)
    said(waiting)
    assert waiting.returncode == 130 and not driver.is_running()
    assert files.read_json(out / "a" / order.FOLDER / order.OUTCOME)["status"] == STOPPED
    gate.open()
    done = loglore(*arguments)
    assert done.returncode == 0, done.stderr
    assert files.read_json(out / "a" / "report.json")["teaching"]["accepted"] == 1


def test_whoever_dies_the_same_command_goes_on(cluster: SmallCluster, gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("2026-01-01 00:00:00 error: link down\n" * 2)
    asked = NlplogSpec(logs=[tmp_path / "app.log"], teacher=[{"url": gate.url, "model": "gate"}], variants=1)
    place = tmp_path / "run"
    command = [sys.executable, "-c", WAITING, cluster.url, str(place), asked.model_dump_json()]
    waiting = subprocess.Popen(command, stderr=subprocess.PIPE)
    gate.wait_until_asked()
    (driver,) = drivers(place)
    waiting.kill()
    waiting.communicate()
    driver.wait(60)  # nobody waits for it any more
    again = subprocess.Popen(command, stderr=subprocess.PIPE)
    gate.wait_until_asked()
    (driver,) = drivers(place)
    driver.kill()
    assert re.search(r"JobError: Ray job loglore-\w+-\w+ ended without a result: .+; the same command", said(again))
    # A third attempt begins while the second runs: that one is ended first.
    second = subprocess.Popen(command, stderr=subprocess.PIPE)
    gate.wait_until_asked()
    (older,) = drivers(place)
    third = subprocess.Popen(command, stderr=subprocess.PIPE)
    older.wait(60)
    assert "StoppedError" in said(second)
    gate.wait_until_asked()
    gate.open()
    assert said(third).strip() == ""
    assert files.read_json(place / "result.json")["teaching"]["accepted"] == 1


def said(process: "subprocess.Popen[bytes]") -> str:
    """The last line that a process wrote to standard error before it ended."""
    _, text = process.communicate(timeout=120)
    return (text.decode().strip().splitlines() or [""])[-1]


def test_storage_or_a_model_that_a_node_does_not_see_is_refused_before_the_start(
    cluster: SmallCluster, tmp_path: Path, tiny_model: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (place := cluster.hidden) is None:
        pytest.skip("mounting is not permitted here")
    run = place / "run"
    asked = spec(tmp_path, tiny_model, 2)
    with pytest.raises(InputError, match=r"^storage is not shared: node .+ does not see .+/run; use a path"):
        OnRay(cluster.url)("train", asked, RunFolder(run, asked.model_dump(mode="json")))
    with pytest.raises(InputError, match=rf"^storage is not shared: node .+ does not see {place}"):
        check.check(cluster.url, place, None, None, None)
    # A bucket that leads nowhere from there: nodes have no credentials.
    with pytest.raises(InputError, match=rf"^s3://{s3_bucket}/x/\S+: .*credentials"):
        check.check(cluster.url, f"s3://{s3_bucket}/x", None, None, None)
    with monkeypatch.context() as patch:
        patch.setenv("LOGLORE_CLUSTER_STORAGE", f"s3://{s3_bucket}")
        with pytest.raises(InputError, match=rf"^s3://{s3_bucket}/runs/\w+: .*credentials"):
            OnRay(cluster.url)("train", asked, RunFolder(tmp_path / "run", asked.model_dump(mode="json")))
    # The run folder is seen by all, the model is not.
    shutil.copytree(tiny_model, place / "model")
    asked = asked.model_copy(update={"model": place / "model"})
    with pytest.raises(InputError, match=r"^.+/model is not on node .+: put it where all nodes see it"):
        OnRay(cluster.url)("train", asked, RunFolder(tmp_path / "run", asked.model_dump(mode="json")))


def test_shards_on_all_nodes_make_the_files_of_one_machine(
    cluster: SmallCluster, tmp_path: Path, tiny_model: Path, repository: Path
) -> None:
    asked = spec(tmp_path, tiny_model, None)
    logs = [repository / "examples" / "logs" / name for name in ("redis.log", "nginx-error.log")]
    values = {
        "logs": logs, "test_chunks": 4, "validation_chunks": 4, "test_rows": 20, "validation_rows": 10,
        "train_rows": 40, "duplicates": 0.9, "evidence_share": 0.3, "language": "mix",
    }  # fmt: skip
    chats = ChatSpec.parse(values, "test")
    subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("support_sharded.py"),
            tmp_path,
            asked.model_dump_json(),
            chats.model_dump_json(),
        ],
        check=True,
        env=os.environ | {"RAY_ADDRESS": cluster.address},
        timeout=200,
    )
    here = RunFolder(tmp_path / "packed-here", {})
    tokenizer = load_tokenizer(tiny_model)
    requested = hyperparameters.load(asked.hyperparameters)
    plan.build("cpt", asked.train, None, tokenizer, requested, cache=here.path / "packed")
    chat.run(chats, written := RunFolder(tmp_path / "written-here", {}))
    assert hashes(tmp_path / "packed-by-all" / "packed") == hashes(here.path / "packed") != {}
    assert hashes(tmp_path / "written-by-all") == hashes(written.path)
    assert "train.jsonl" in hashes(written.path) and not (tmp_path / "packed-by-all" / "cluster" / "shards").exists()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run leaves; logs and specs, which hold times and places, are left out."""
    logs = ("events.jsonl", "metrics.jsonl", "spec.json")
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in logs and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_training_is_stopped_and_resumed_and_a_lost_node_costs_the_steps_since_the_last_checkpoint(
    cluster: SmallCluster, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_CHECKPOINT_SECONDS", "0.5")
    third = cluster.add()
    place = tmp_path / "run"
    asked = spec(tmp_path, tiny_model, 3)

    def train() -> dict[str, Any]:
        return OnRay(cluster.url)("train", asked, RunFolder(place, asked.model_dump(mode="json")))

    # Ctrl-C while it waits: all workers save one checkpoint and end.
    with pytest.raises(KeyboardInterrupt), at_a_checkpoint(place, lambda: os.kill(os.getpid(), signal.SIGINT)):
        train()
    outcome = files.read_json(place / order.FOLDER / order.OUTCOME)
    assert outcome["status"] == STOPPED and "with a checkpoint" in outcome["message"]
    stopped = max(row["step"] for row in events_of(place, "checkpoint"))
    with at_a_checkpoint(place, lambda: cluster.kill(third)):
        report = train()
    assert events_of(place, "started")[1]["done"] > 0 and 0 < stopped < report["steps"]
    (loss,) = report["cluster"]["losses"]
    assert report["cluster"]["starts"] == [3, 2] and report["processes"] == 2
    assert stopped < loss["from_step"] <= loss["after_step"] <= report["steps"]
    same(place, alone(tmp_path, tiny_model))
