"""Sessions whose engines Ray places on nodes: asked through the gateway, with keys, replaced when a node is lost."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support_cluster import SmallCluster, small_cluster
from support_serving import tiny_gguf as tiny_gguf
from support_workers import until

from loglore.cluster import connection
from loglore.hub import models

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[SmallCluster]:
    with small_cluster(nodes=1) as started:
        yield started


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGLORE_THREADS", "1")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


class Served:
    """`loglore serve` with some options, as a process; `url` of its API."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "loglore", "serve", *arguments, "--port", "0", "--context", "512"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stderr is not None
        self.errors: list[str] = []
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr or ()), daemon=True).start()
        line = self.process.stdout.readline()
        found = re.search(r" answers at (http\S+)/v1", line)
        if not found:
            self.process.wait(60)
            raise AssertionError(f"{line}{''.join(self.errors)}")
        self.url = found[1]

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)

    def sessions(self) -> list[dict[str, Any]]:
        return list(httpx2.get(f"{self.url}/v1/studio/sessions").json()["data"])

    def ask(self, *turns: str, model: str = "tiny") -> dict[str, Any]:
        roles = ("user", "assistant")
        messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(turns)]
        body = {"model": model, "messages": messages, "max_tokens": 3, "temperature": 0}
        reply = httpx2.post(f"{self.url}/v1/chat/completions", json=body, timeout=60)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())


def engines(cluster: SmallCluster) -> dict[str, str]:
    """Ray jobs that are replicas, and their states."""
    jobs = connection.connect(cluster.url).list_jobs()
    found = {str(job.submission_id): str(job.status) for job in jobs}
    return {name: state for name, state in found.items() if name.startswith("loglore-replica-")}


def test_replicas_are_placed_asked_replaced_and_ended(
    cluster: SmallCluster, tmp_path: Path, tiny_gguf: Path, home: Path
) -> None:
    models.add("tiny", tiny_gguf, {})
    second = cluster.add()
    with Served("tiny", "--replicas", "2", "--executor", "ray", "--address", cluster.url) as served:
        assert sorted(engines(cluster).values()) == ["RUNNING", "RUNNING"]
        rows = served.sessions()
        assert [len(row["replicas"]) for row in rows] == [2, 2] and all(row["node"] for row in rows)
        # Follow-ups go to the engine that has their log; each engine has one.
        logs = ["disk full " * 20, "link down " * 20]
        answers = [served.ask(log)["choices"][0]["message"]["content"] for log in logs]
        told = [served.ask(log, said, "Why?")["usage"] for log, said in zip(logs, answers, strict=True)]
        assert all(usage["prompt_tokens_details"]["cached_tokens"] > 20 for usage in told)
        assert [row["interactions"] for row in served.sessions()] == [2, 2]
        # A third session, by the API, on a node that came later; what the API does not start is not accepted.
        cluster.add()
        wish = {"model": "tiny", "name": "more", "replicas": 1, "executor": "ray"}
        made = httpx2.post(f"{served.url}/v1/studio/sessions", json=wish, timeout=120)
        assert made.status_code == 201 and made.json()["replicas"] == [made.json()["id"]], made.text
        assert served.ask("x", model="more")["model"] == "more"
        gone = httpx2.delete(f"{served.url}/v1/studio/sessions/{made.json()['id']}", timeout=60).json()
        assert gone["state"] == "stopped"
        assert sorted(engines(cluster).values()) == ["RUNNING", "RUNNING", "STOPPED"]
        wrong = httpx2.post(f"{served.url}/v1/studio/sessions", json={**wish, "replicas": 0})
        assert wrong.status_code == 400 and "replicas" in wrong.text
        # A node is lost: its engine is started on another one; the other replica answers meanwhile.
        cluster.kill(second)
        for log in logs * 3:
            served.ask(log)
        until(lambda: sum(row["restarts"] for row in served.sessions()) == 1)
        assert [row["state"] for row in served.sessions()] == ["ready", "ready"]
        for log in logs:
            served.ask(log)
        # One of them is stopped by the command: the session ends, with both.
        subprocess.run(
            [sys.executable, "-m", "loglore", "sessions", "stop", served.sessions()[0]["id"]], check=True, timeout=60
        )
        assert served.process.wait(60) == 0
    assert "RUNNING" not in engines(cluster).values()
    assert not list(home.glob(".loglore-replica-*")), "what was handed over, with keys, is gone"


def test_an_engine_asks_for_its_key_and_ends_with_its_gateway(
    cluster: SmallCluster, tmp_path: Path, tiny_gguf: Path, home: Path
) -> None:
    models.add("tiny", tiny_gguf, {})
    before = set(engines(cluster))
    with Served("tiny", "--executor", "ray", "--address", cluster.url) as served:
        (wish,) = home.glob(".loglore-replica-*")
        assert not (wish / "wish.json").exists()
        engine = json.loads((wish / "ready.json").read_text())["url"]
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        assert httpx2.post(f"{engine}/chat/completions", json=body).status_code == 401
        assert (
            httpx2.post(f"{engine}/chat/completions", json=body, headers={"Authorization": "Bearer x"}).status_code
            == 401
        )
        assert served.ask("x")["model"] == "tiny"
        info = [job for job in connection.connect(cluster.url).list_jobs() if job.submission_id not in before]
        assert "key" not in str([(job.entrypoint, job.metadata, job.runtime_env) for job in info]).lower()
        served.process.kill()
        until(lambda: "RUNNING" not in engines(cluster).values())
        until(lambda: not _listens(engine))
        until(lambda: not wish.exists())


def _listens(url: str) -> bool:
    try:
        httpx2.get(f"{url}/models", timeout=5)
    except httpx2.HTTPError:
        return False
    return True


def test_bad_input_is_one_line(cluster: SmallCluster, tmp_path: Path, tiny_gguf: Path) -> None:
    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "loglore", "serve", *arguments, "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 2, done.stderr
        return done.stderr

    there = ["--executor", "ray", "--address", cluster.url]
    assert "--storage is of a cluster: add --executor ray" in said(str(tiny_gguf), "--storage", str(tmp_path))
    assert "nowhere: no such folder" in said(str(tiny_gguf), *there, "--storage", "nowhere")
    assert "on a cluster's nodes only llama.cpp is started" in said(str(tiny_gguf), *there, "--engine", "transformers")
    assert os.environ["LOGLORE_HOME"] == str(tmp_path / "home")
