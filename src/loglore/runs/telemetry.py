"""System metrics while a job runs: CPU, memory and disk of this process and machine, sampled into `system.jsonl`."""

import contextlib
import datetime
import threading
from collections.abc import Iterator

import psutil

from loglore.runs import files
from loglore.runs.folder import RunFolder

INTERVAL_S = 5.0


@contextlib.contextmanager
def sampled(context: RunFolder, interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Append one row every `interval_s` seconds, the first at once and one at the end, in a background thread.

    Rows hold `time` (UTC), `cpu_percent` (of one core, this process and its children), `memory_bytes` (resident, the
    same), `machine_memory_percent` and `disk_free_bytes` (of the run folder's disk).
    """
    stopped = threading.Event()
    process = psutil.Process()
    process.cpu_percent()

    def sample_until_stopped() -> None:
        while True:
            files.append_jsonl(context.path / "system.jsonl", _sample(process, context))
            if stopped.wait(interval_s):
                break
        files.append_jsonl(context.path / "system.jsonl", _sample(process, context))

    thread = threading.Thread(target=sample_until_stopped, name="telemetry", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def peak_memory(context: RunFolder) -> int:
    """The largest resident memory in bytes that was sampled in this run folder; 0 when nothing was."""
    rows = files.read_jsonl_log(context.path / "system.jsonl")
    return max((int(row["memory_bytes"]) for row in rows), default=0)


def _sample(process: psutil.Process, context: RunFolder) -> dict[str, float | str]:
    memory = process.memory_info().rss
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            memory += child.memory_info().rss
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "cpu_percent": process.cpu_percent(),
        "memory_bytes": memory,
        "machine_memory_percent": psutil.virtual_memory().percent,
        "disk_free_bytes": psutil.disk_usage(str(context.path)).free,
    }
