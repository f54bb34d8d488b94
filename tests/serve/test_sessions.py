"""From a user's MODEL to a GGUF and a session; `serve` in the foreground."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from loglore.endpoint.client import Endpoint
from loglore.errors import InputError
from loglore.hub import models
from loglore.models.header import read_header
from loglore.serve import sessions


def test_a_folder_is_converted_once(tiny_model: Path, home: Path) -> None:
    first = sessions.as_gguf(str(tiny_model))
    assert first.is_relative_to(home)
    assert read_header(first)["general.file_type"] == 7  # q8_0
    stamp = first.stat().st_mtime_ns
    assert sessions.as_gguf(str(tiny_model)) == first
    assert first.stat().st_mtime_ns == stamp


def test_hub_names_and_files_are_served_as_they_are(tiny_gguf: Path) -> None:
    assert sessions.as_gguf(str(tiny_gguf)) == tiny_gguf
    version = models.add("tuned", tiny_gguf, {})
    assert sessions.as_gguf("tuned@1") == version.path / "tiny.gguf"
    assert sessions.as_gguf(str(version.path)) == version.path / "tiny.gguf"
    with sessions.session("tuned") as started:
        assert Endpoint(started.url).served.model_id == "tuned"
    with pytest.raises(InputError, match="not in the hub"):
        sessions.as_gguf("missing")


def test_model_ids(tiny_gguf: Path) -> None:
    assert sessions.model_id(str(tiny_gguf)) == "tiny"
    assert sessions.model_id("tuned@2") == "tuned@2"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_and_stops_cleanly(tiny_gguf: Path, ending: signal.Signals) -> None:
    code = "import sys; from loglore.serve.sessions import serve; serve(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", code, str(tiny_gguf)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline().split()
    assert first[:3] == ["tiny", "answers", "at"]
    url = first[3]
    assert Endpoint(url).models()[0].context == 1024
    (engine,) = psutil.Process(process.pid).children()
    process.send_signal(ending)
    assert process.wait(10) == 0
    process.stdout.close()
    assert not psutil.pid_exists(engine.pid)


def test_serve_ends_as_a_failed_job_when_its_engine_dies(tiny_gguf: Path) -> None:
    code = (
        "import sys\nfrom loglore.errors import JobError\nfrom loglore.serve.sessions import serve\n"
        "try: serve(sys.argv[1])\nexcept JobError as fault: sys.exit(f'job: {fault}')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tiny_gguf)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    (engine,) = psutil.Process(process.pid).children()
    os.kill(engine.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "job: the engine stopped (status -9)" in errors
