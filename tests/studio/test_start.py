"""`start` as a user meets it: one process tree, two URLs, and nothing left behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import psutil
import pytest
from support_gate import Gate
from support_started import Started, started
from support_workers import until_state

from loglore.errors import InputError
from loglore.jobs import queue
from loglore.store import jobs
from loglore.store.database import open_database
from loglore.studio import start as starter


def studio(home: Path, *options: str) -> contextlib.AbstractContextManager[Started]:
    return started(home, "studio", "--port", "0", *options, LOGLORE_HOME=str(home), CUDA_VISIBLE_DEVICES="")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_answer_and_all_end(tmp_path: Path, ending: signal.Signals) -> None:
    with studio(tmp_path) as found:
        process, lines = found.process, found.greeting
        assert httpx2.get(found.api.removesuffix("/v1") + "/health").json()["status"] == "ok"
        assert httpx2.get(found.page, follow_redirects=True).status_code == 200
        assert lines[2].startswith("admin key, shown this once (scopes chat, manage): ll-")
        assert lines[3].startswith("jobs: worker ") and "1 at once" in lines[3]
        assert "none yet: make quickstart" in lines[4]
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 3
        process.send_signal(ending)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
        status = process.wait(5)
        if ending != signal.SIGKILL:
            assert status == 0
            assert process.stderr is not None
            assert process.stderr.read() == "stopped\n"


def test_a_chat_in_the_browser_opens_on_its_log(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("a b.log", "c.log"):
        (tmp_path / "logs" / name).write_text("2026-01-01 00:00:00 ERROR link down\n")
    with started(tmp_path, "chat", "--web", "logs/a b.log", "logs/c.log", LOGLORE_HOME=str(tmp_path / "home")) as found:
        assert found.page.endswith("/chat?log=a+b.log&log=c.log")
        listed = httpx2.get(f"{found.api}/studio/logs").json()
        assert [each["path"] for each in listed["data"]] == ["a b.log", "c.log"]
        assert httpx2.get(found.page).status_code == 200
        found.process.send_signal(signal.SIGTERM)
        assert found.process.wait(20) == 0
    environment = {**os.environ, "LOGLORE_HOME": str(tmp_path / "home")}
    for options in (["--web", "missing.log"], ["--web", "logs/c.log", "--ask", "why?"], ["logs/c.log", "--json"]):
        refused = subprocess.run(
            [sys.executable, "-m", "loglore", "chat", *options], cwd=tmp_path, env=environment, capture_output=True,
            check=False,
        )  # fmt: skip
        assert refused.returncode == 2


def test_a_child_that_dies_ends_the_studio_with_a_reason(tmp_path: Path) -> None:
    with studio(tmp_path) as found:
        process = found.process
        children = psutil.Process(process.pid).children()
        next(child for child in children if "loglore.api" in child.cmdline()).kill()
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert "the API ended (status -9)" in process.stderr.read()
        time.sleep(0.1)
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_a_taken_port_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port} cannot be used"):
            starter.start(port=port)
        with pytest.raises(InputError, match=f"127.0.0.1:{port} cannot be used"):
            starter.start(port=0, api_port=port)


def test_off_loopback_the_api_stays_here_and_wants_a_key(tmp_path: Path) -> None:
    with studio(tmp_path, "--host", "0.0.0.0") as found:
        api, lines = found.api, found.greeting
        assert httpx2.get(found.page.replace("0.0.0.0", "127.0.0.1"), follow_redirects=True).status_code == 200
        assert api.startswith("http://127.0.0.1:")
        assert httpx2.get(f"{api}/studio/logs").status_code == 401
        key = next(line for line in lines if "admin key" in line).split()[-1]
        assert httpx2.get(f"{api}/studio/logs", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 65536)])
def test_other_hosts_and_ports_are_refused(host: str, port: int) -> None:
    with pytest.raises(InputError):
        starter.start(host=host, port=port)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "PACKAGES", ("fastapi", "no_such_package"))
    with pytest.raises(InputError, match=r"no_such_package; run: pip install 'loglore\[studio\]'"):
        starter.start(port=0)


def test_a_running_job_is_interrupted_and_goes_on_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path))
    (tmp_path / "app.log").write_text("2026-01-01 00:00:00 error: link down\n" * 2)
    gate = Gate()
    with contextlib.closing(gate), contextlib.closing(open_database()) as database:
        values = {"logs": [str(tmp_path / "app.log")], "teacher": {"url": gate.url, "model": "gate"}, "variants": 1}
        with studio(tmp_path) as found:
            job = queue.submit(database, "nlplog", values)
            gate.wait_until_asked()
            found.process.send_signal(signal.SIGINT)
            assert found.process.wait(60) == 0
        assert (jobs.find(database, job.id).state, jobs.find(database, job.id).note) == ("queued", "interrupted")
        gate.open()
        with studio(tmp_path):
            until_state(database, job, "succeeded", "failed")
    assert jobs.find(database, job.id).state == "succeeded"
