"""Shared helpers of the capture scripts: processes, bounded waits, log files and the record of injected faults."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

SEED = 20240607
ROOT = Path("/srv/shop")
OUT = Path("/mnt/out")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# The services see a bare environment, so that nothing of the caller's can reach a log.
ENV = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": str(ROOT), "TERM": "dumb"}


class CaptureError(RuntimeError):
    """A service did not do what the capture expected of it within its time."""


def rng(service: str) -> random.Random:
    """Return the seeded random generator of one service."""
    return random.Random(f"{SEED}-{service}")


def postgres_bin() -> str:
    """Return the folder with the newest installed PostgreSQL server programs, or an empty string."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return str(folders[-1]) if folders else ""


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
    """Poll ``condition`` until it holds; raise CaptureError naming ``what`` when the time is over."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise CaptureError(f"timed out after {timeout:.0f} s waiting for {what}")
        time.sleep(0.05)


def port_open(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something accepts TCP connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def wait_port(port: int, host: str = "127.0.0.1", timeout: float = 20.0) -> None:
    """Wait until the port accepts connections."""
    wait_until(lambda: port_open(port, host), f"port {port}", timeout)


def make_dir(path: Path, owner: str = "root", mode: int = 0o755) -> Path:
    """Create a folder owned by ``owner`` and return it."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    shutil.chown(path, owner)
    return path


def write_file(path: Path, text: str, owner: str = "root", mode: int = 0o644) -> Path:
    """Write a configuration file owned by ``owner`` and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    shutil.chown(path, owner)
    return path


def work_folder() -> Path:
    """Return the folder that commands run in; some services log it."""
    return ROOT if ROOT.is_dir() else Path("/")


def wrap(argv: Sequence[str], host: str | None, user: str | None) -> list[str]:
    """Prefix a command so that it runs under a made-up host name and as another user."""
    command = [str(word) for word in argv]
    if user:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]
    if host:
        command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
    return command


def run(
    argv: Sequence[str],
    *,
    stdin: str | bytes | None = None,
    host: str | None = None,
    user: str | None = None,
    timeout: float = 30.0,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a client command to its end; its failure is often the point, so the caller judges the result."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        wrap(argv, host, user),
        input=data if data is not None else b"",
        capture_output=True,
        timeout=timeout,
        env=ENV | (env or {}),
        cwd=work_folder(),
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    return subprocess.CompletedProcess(done.args, done.returncode, *output)


def must(done: subprocess.CompletedProcess[str]) -> str:
    """Return the standard output of a command that had to succeed."""
    if done.returncode != 0:
        raise CaptureError(f"{' '.join(map(str, done.args))}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


_started: list[subprocess.Popen[bytes]] = []
_started_lock = threading.Lock()


def spawn(
    argv: Sequence[str],
    *,
    host: str | None = None,
    user: str | None = None,
    log: Path | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a background process; its standard output and error are appended to ``log``, or dropped."""
    with Path(log or os.devnull).open("ab") as sink:
        process = subprocess.Popen(
            wrap(argv, host, user),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=ENV | (env or {}),
            cwd=work_folder(),
            start_new_session=True,
        )
    with _started_lock:
        _started.append(process)
    return process


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
    """Signal a process started by ``spawn`` and wait for its end; kill it when it does not end in time."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(timeout)


def stop_all() -> None:
    """End every process that ``spawn`` started and that still runs."""
    with _started_lock:
        processes = list(_started)
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait(10)


@contextmanager
def small_disk(path: Path, size: str, owner: str = "root") -> Iterator[Path]:
    """Mount a tmpfs of ``size`` on ``path``, as a disk that is easy to fill."""
    path.mkdir(parents=True, exist_ok=True)
    must(run(["mount", "-t", "tmpfs", "-o", f"size={size}", "shopdisk", path]))
    shutil.chown(path, owner)
    try:
        yield path
    finally:
        run(["umount", "-l", path])


def send_bytes(port: int, data: bytes, host: str = "127.0.0.1", linger: float = 0.2) -> bytes:
    """Send raw bytes to a port, wait a moment for an answer and return it."""
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(data)
        connection.settimeout(linger)
        try:
            return connection.recv(65536)
        except (TimeoutError, ConnectionResetError):
            return b""


def certificate(folder: Path, name: str, days: int = 365, owner: str = "root") -> tuple[Path, Path]:
    """Make a self-signed certificate and key (``days=-1``: one that expired yesterday)."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    must(run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]))
    request = must(run(["openssl", "req", "-new", "-key", key, "-subj", f"/O=Shop Example/CN={name}"]))
    # "openssl req -x509" refuses a negative lifetime; "openssl x509" accepts that of minus one day.
    must(run(["openssl", "x509", "-req", "-signkey", key, "-days", str(days), "-out", cert], stdin=request))
    for path in (key, cert):
        path.chmod(0o600)
        shutil.chown(path, owner)
    return cert, key


@dataclass(frozen=True)
class Incident:
    """One injected fault and the lines that the service wrote about it."""

    id: str
    service: str
    file: str
    lines: list[int]
    injected: str
    root_cause: str
    evidence: str

    def to_json(self) -> str:
        """Return the incident as one JSON line."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass
class Recorder:
    """Watches one log file while faults are injected and notes the lines each of them caused."""

    service: str
    name: str
    path: Path
    incidents: list[Incident] = field(default_factory=list)
    mark: int = 0

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def data(self) -> bytes:
        """Return the log as it stands."""
        return self.path.read_bytes() if self.path.exists() else b""

    def settle(self, quiet: float = 0.3, timeout: float = 6.0) -> int:
        """Wait until the log has not grown for ``quiet`` seconds; return its number of lines."""
        end, size, since = time.monotonic() + timeout, -1, time.monotonic()
        while time.monotonic() < end and time.monotonic() - since < quiet:
            now = self.path.stat().st_size if self.path.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(0.05)
        return self.data().count(b"\n")

    def wait_text(self, text: str, after_line: int | None = None, timeout: float = 20.0) -> None:
        """Wait until ``text`` stands in the log after the given line, by default the start of the latest fault."""
        start = self.mark if after_line is None else after_line

        def found() -> bool:
            return text.encode() in b"\n".join(self.data().split(b"\n")[start:])

        wait_until(found, f"{text!r} in {self.name}.log", timeout)

    @contextmanager
    def fault(
        self, slug: str, *, injected: str, root_cause: str, evidence: str, timeout: float = 20.0
    ) -> Iterator[None]:
        """Count the lines around the body and record them as one incident; ``evidence`` must be among them."""
        before = self.mark = self.settle()
        yield
        self.wait_text(evidence, before, timeout)
        after = self.settle()
        self.incidents.append(
            Incident(
                id=f"{self.service}-{slug}",
                service=self.service,
                file=f"logs/{self.name}.log",
                lines=[before + 1, after],
                injected=injected,
                root_cause=root_cause,
                evidence=evidence,
            )
        )

    def save(self) -> None:
        """Copy the raw log and the incidents to the output folder."""
        self.settle()
        (OUT / f"{self.name}.log").write_bytes(self.data())
        rows = "".join(incident.to_json() + "\n" for incident in self.incidents)
        (OUT / f"{self.name}.jsonl").write_text(rows, encoding="utf-8")
