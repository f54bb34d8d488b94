"""GPU engines without a GPU: which is chosen, what is run, and that it ends with its session."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from loglore.errors import InputError, JobError
from loglore.serve import external

# Stands for `vllm`: says /health, and has a child of its own, as a real one has.
FAKE = """#!{python}
import http.server, json, subprocess, sys
if "--fail" in sys.argv: sys.exit("error: no GPU here")
child = subprocess.Popen(["sleep", "300"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps([child.pid, sys.argv[1:]]).encode())
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `vllm` command in an environment of its own."""
    command = tmp_path / "vllm"
    command.write_text(FAKE.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setenv("LOGLORE_VLLM", str(command))
    return command


@pytest.fixture
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_VLLM", "no-such-vllm")


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 15
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.usefixtures("vllm")
def test_the_choice_with_vllm(tiny_model: Path, tiny_gguf: Path) -> None:
    assert external.choose(tiny_model, has_gpu=True) == "vllm"
    assert external.choose(tiny_model, has_gpu=False) == "llama.cpp"
    assert external.choose(tiny_gguf, has_gpu=True) == "llama.cpp"
    assert external.choose(tiny_model, "llama.cpp", has_gpu=True) == "llama.cpp"
    with pytest.raises(InputError, match="is a GGUF file"):
        external.choose(tiny_gguf, "vllm")


@pytest.mark.usefixtures("no_vllm")
def test_the_choice_without_vllm(tiny_model: Path) -> None:
    assert external.choose(tiny_model, has_gpu=True) == "transformers"
    assert external.choose(tiny_model, has_gpu=False) == "llama.cpp"
    with pytest.raises(InputError, match="set LOGLORE_VLLM"):
        external.choose(tiny_model, "vllm")


def test_what_vllm_is_told(vllm: Path, tiny_model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 20}))
    told = external.arguments("vllm", tiny_model, "org/m", 1234, 512, 8, {"tuned": adapter})
    assert told[:3] == [str(vllm), "serve", str(tiny_model)]
    options = dict(zip(told[3::2], told[4::2], strict=False))
    assert options["--host"] == "127.0.0.1"
    assert options["--served-model-name"] == "org/m"
    assert options["--max-model-len"] == "512"
    assert told[told.index("--max-lora-rank") + 1] == "32"
    assert told[told.index("--lora-modules") + 1] == f"tuned={adapter}"
    with pytest.raises(InputError, match="cannot switch adapters"):
        external.arguments("transformers", tiny_model, "m", 1, 512, 8, {"tuned": adapter})


@pytest.mark.usefixtures("vllm", "home")
def test_a_command_is_served_and_ends_with_all_its_children(tiny_model: Path) -> None:
    with external.running("vllm", tiny_model, "org/m", context=256) as session:
        assert (session.context, session.kind, session.adapters) == (256, "vllm", ())
        assert session.wish("org/m") == {"model": "org/m"}
        parts = urlsplit(session.url)
        connection = http.client.HTTPConnection(parts.netloc)
        connection.request("GET", "/health")
        child, told = json.loads(connection.getresponse().read())
        assert "256" in told
    assert not session.is_running()
    assert gone(child)


@pytest.mark.usefixtures("vllm", "home")
def test_a_command_that_fails_is_one_line(tiny_model: Path) -> None:
    with (
        pytest.raises(JobError, match=r"could not start: error: no GPU here; see"),
        external.running("vllm", tiny_model, "m", extra=["--fail"]),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"context 4096: .* was trained for 1 to 1024 tokens"),
        external.running("vllm", tiny_model, "m", context=4096),
    ):
        pass
    with (
        pytest.raises(InputError, match="takes no --context"),
        external.running("transformers", tiny_model, "m", context=256),
    ):
        pass


PARENT = """
import sys, time
from pathlib import Path
from loglore.serve import external
with external.running("vllm", Path(sys.argv[1]), "m") as session:
    print(session.url, flush=True)
    time.sleep(60)
"""


@pytest.mark.usefixtures("vllm", "home")
@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_command_outlives_its_parent(tiny_model: Path, number: signal.Signals, whole_group: bool) -> None:
    """Nor when the keeper is hit as well, as by Ctrl-C in a terminal and by `timeout`."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tiny_model)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    (keeper,) = psutil.Process(parent.pid).children()
    (server,) = keeper.children()
    (child,) = server.children()
    assert url
    if whole_group:
        os.killpg(parent.pid, number)
    else:
        parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    assert gone(server.pid)
    # A keeper that is killed cannot end what the server started; the kernel ends the server alone.
    with contextlib.suppress(psutil.NoSuchProcess):
        child.kill()
