"""`loglore studio`: the API, a worker and the pages as three processes on loopback, started and stopped together.

Processes of their own, so that a page that works hard cannot delay the API, and so that none outlives this one: each
ends when its standard input does, and that pipe closes with this process, however it ends. The worker then lets running
jobs save a checkpoint; they go on at the next start. Each can also run alone: see `deploy/`; jobs of a worker that runs
alone outlive the studio.
"""

import contextlib
import importlib.util
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from loglore.errors import InputError, JobError
from loglore.settings import load

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PACKAGES = ("fastapi", "uvicorn", "multipart", "streamlit", "httpx2")
BAD_INPUT = 2  # exit status of a process that was started with a wrong argument
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0
SAVE_TIMEOUT_S = 150.0  # of the worker, whose jobs may take two minutes to save
POLL_S = 0.1

Process = subprocess.Popen[bytes]


def start(
    host: str = "127.0.0.1",
    port: int = 8501,
    runs: Path = Path("runs"),
    logs: Path = Path("examples/logs"),
    api_port: int | None = None,
    worker: bool = True,
    executor: str = "local",
    address: str | None = None,
    opens: str = "",
) -> None:
    """Serve the studio until Ctrl-C or SIGTERM; prints the URLs when all have started.

    Args:
        host: address of the pages. The API stays on loopback; when the pages can be reached from elsewhere it wants a
            key, and they ask their visitors for one.
        port: of the pages; 0 takes a free one.
        runs: folder of run folders; it may not exist yet.
        logs: folder of logs that may be asked about by path.
        api_port: of the API; None takes the one after `port`, or a free one when `port` is 0.
        worker: also start a worker, which runs the jobs.
        executor: where the worker runs them: `local`, or `ray` for the Ray cluster at `address`, on which sessions may
            then be started, too.
        address: URL of the cluster's job server; None for the default.
        opens: path and query of the page whose address is printed.

    Raises:
        InputError: a host or port that cannot be bound, or packages that are not installed.
        JobError: a process failed to start, or ended by itself.
    """
    _check_installed()
    page_port = _free_port(host, port)
    api_host = host if host in LOOPBACK else LOOPBACK[0]
    # Known beforehand, so that pages, API and worker start at the same time.
    wanted = _free_port(api_host, api_port if api_port is not None else port + 1 if port else 0)
    folder = load().home / "sessions"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    log_of = {name: folder / f"{stamp}-{name}.log" for name in ("api", "worker", "page")}
    api_url, page_url = (f"http://{_in_url(name)}:{number}" for name, number in ((api_host, wanted), (host, page_port)))
    with _terminate_as_interrupt(), contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        # Runs on Ctrl-C too, after all processes have been stopped.
        stack.callback(print, "stopped", file=sys.stderr)
        page = stack.enter_context(_child("loglore.studio.process", [host, str(page_port), api_url], log_of["page"]))
        there = ["--cluster", *([address] if address else [])] if executor == "ray" else []
        told = [*_api_arguments(host, wanted, runs, logs), *there]
        api = stack.enter_context(_child("loglore.api", told, log_of["api"]))
        children, works = {"API": (api, log_of["api"]), "page server": (page, log_of["page"])}, "no worker here"
        if worker:
            told = ["--until-eof", "--executor", executor, *(["--address", address] if address else [])]
            command = _child("loglore.jobs.work", told, log_of["worker"], SAVE_TIMEOUT_S)
            children["worker"] = (stack.enter_context(command), log_of["worker"])
        admin_key = _admin_key(api, log_of["api"])
        if worker:
            works = _first_line("worker", *children["worker"])
        _wait_for_page(page_url, page, log_of["page"])
        print(_greeting(f"{page_url}{opens}", api_url, works, admin_key, host not in LOOPBACK))
        print(f"  runs: {_shown(runs)}\n  logs: {logs}")
        print("Ctrl-C stops it; running jobs save and go on at the next start.", flush=True)
        _watch(children)


def _api_arguments(host: str, port: int, runs: Path, logs: Path) -> list[str]:
    """Of the API's process: on loopback always, with a key when the pages can be reached from elsewhere."""
    address = host if host in LOOPBACK else LOOPBACK[0]
    key = [] if host in LOOPBACK else ["--require-key"]
    return ["--host", address, "--port", str(port), "--runs", str(runs), "--logs", str(logs), "--until-eof", *key]


def _admin_key(api: Process, log: Path) -> str:
    """Wait until the API listens; its admin key, which is empty but for the first start ever."""
    _first_line("API", api, log)
    assert api.stdout is not None
    return api.stdout.readline().decode().strip()


def chat(logs: Sequence[Path], port: int = 0) -> None:
    """Serve the chat page about some logs until Ctrl-C; other logs below the folder they share may be chosen, too.

    Raises:
        InputError: a log that is not there; else as `start`.
    """
    found = []
    for each in logs:
        if not each.exists():
            raise InputError(f"{each}: no such file or folder")
        found.append(each.resolve())
    if not found:
        start(port=port, worker=False, opens="/chat")
        return
    folder = Path(os.path.commonpath([each if each.is_dir() else each.parent for each in found]))
    names = [("log", each.relative_to(folder).as_posix()) for each in found if each.is_file()]
    start(port=port, logs=folder, worker=False, opens=f"/chat?{urllib.parse.urlencode(names)}" if names else "/chat")


def _check_installed() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"the studio needs {', '.join(missing)}; run: pip install 'loglore[studio]'")


def _free_port(host: str, port: int) -> int:
    """The port, after a look that it is free; 0 becomes a free one."""
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}: expected 0 (a free one) to 65535")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as fault:
            raise InputError(f"{host}:{port} cannot be used: {fault.strerror}; choose another --port, or 0") from None
        return int(trial.getsockname()[1])


@contextlib.contextmanager
def _child(
    module: str, arguments: Sequence[str], log: Path, stop_timeout_s: float = STOP_TIMEOUT_S
) -> Iterator[Process]:
    """A process that ends with this one; its standard error goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            # Ctrl-C in a terminal goes to this process alone, which then stops the others in order.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process, stop_timeout_s)


def _stop(process: Process, timeout_s: float) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _first_line(name: str, process: Process, log: Path) -> str:
    """What a process says when it has started."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    line = process.stdout.readline().decode().strip() if ready else ""
    if not line:
        raise _failure(name, process, log)
    return line


def _wait_for_page(url: str, page: Process, log: Path) -> None:
    # Not through the proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and page.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            opener.open(f"{url}/_stcore/health", timeout=5).close()
            return
        time.sleep(POLL_S)
    raise _failure("page server", page, log)


def _failure(name: str, process: Process, log: Path) -> InputError | JobError:
    """What to raise for a process that did not start, or ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    if process.returncode == BAD_INPUT and lines:
        return InputError(lines[-1].removeprefix("loglore: "))
    state = "does not answer" if process.returncode is None else f"ended (status {process.returncode})"
    return JobError(f"the {name} {state}{': ' + lines[-1] if lines else ''}; see {log}")


def _greeting(page_url: str, api_url: str, works: str, admin_key: str, needs_key: bool) -> str:
    keys = "callers and visitors need a key" if needs_key else "no key on this machine"
    shown = f"\n  admin key, shown this once (scopes chat, manage): {admin_key}" if admin_key else ""
    return f"LogLore studio: {page_url}\n  API:  {api_url}/v1  (OpenAI-compatible, {keys}){shown}\n  jobs: {works}"


def _shown(runs: Path) -> str:
    return str(runs) if runs.is_dir() else f"{runs}  (none yet: make quickstart)"


def _watch(processes: dict[str, tuple[Process, Path]]) -> None:
    while True:
        for name, (process, log) in processes.items():
            if process.poll() is not None:
                raise _failure(name, process, log)
        time.sleep(POLL_S)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (systemd, docker stop) ends in the same clean-up as Ctrl-C."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
