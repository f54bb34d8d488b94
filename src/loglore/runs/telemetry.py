"""System metrics while a job runs, sampled into `system.jsonl`: processor, memory, disk, network, and every GPU (NVML).

A job never fails because telemetry does: what cannot be measured is left out of the row.
"""

import contextlib
import datetime
import threading
from collections.abc import Iterator
from typing import Any

import psutil

from loglore.runs import files
from loglore.runs.folder import RunFolder

INTERVAL_S = 5.0
MEBIBYTE = 1 << 20


@contextlib.contextmanager
def sampled(context: RunFolder, interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Append one row every `interval_s` seconds, the first at once and one at the end, in a background thread.

    Rows hold `time` (UTC), `cpu_percent` (of one core, this process and its children), `memory_bytes` (resident, the
    same), `machine_cpu_percent`, `machine_memory_percent`, `disk_free_bytes` (of the run folder's disk), bytes of the
    machine since it started: `disk_read_bytes`, `disk_written_bytes`, `network_sent_bytes`, `network_received_bytes`,
    and `gpus`, see `gpu_rows`.
    """
    stopped = threading.Event()
    processes: dict[int, psutil.Process] = {}
    nvml = _nvml()

    def sample() -> None:
        with contextlib.suppress(OSError, psutil.Error):
            files.append_jsonl(context.path / "system.jsonl", _sample(processes, context, nvml))

    def sample_until_stopped() -> None:
        while True:
            sample()
            if stopped.wait(interval_s):
                break
        sample()

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


def gpu_rows(nvml: Any) -> list[dict[str, float]]:
    """One row a GPU, from the module `pynvml`: utilisation, memory and power.

    Returns:
        `utilisation_percent`, `memory_mb` and `memory_percent`, `power_watts` and `power_percent` (of the limit that is
        enforced); a value that the driver does not give is left out.
    """
    rows = []
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        row: dict[str, float] = {"gpu": number}
        with contextlib.suppress(nvml.NVMLError):
            row["utilisation_percent"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        with contextlib.suppress(nvml.NVMLError):
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            row |= {"memory_mb": memory.used / MEBIBYTE, "memory_percent": 100 * memory.used / memory.total}
        with contextlib.suppress(nvml.NVMLError):
            row["power_watts"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
            limit = nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
            row["power_percent"] = 100 * row["power_watts"] / limit
        rows.append(row)
    return rows


def _nvml() -> Any:
    """The module `pynvml`, started; None without it, without a driver, or without a GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _sample(processes: dict[int, psutil.Process], context: RunFolder, nvml: Any) -> dict[str, Any]:
    """`processes`: kept between samples, for a process's CPU share is measured since it was last asked for."""
    own = psutil.Process()
    alive = {process.pid: process for process in (own, *own.children(recursive=True))}
    for pid in processes.keys() - alive.keys():
        del processes[pid]
    for pid, process in alive.items():
        processes.setdefault(pid, process)
    memory, share = 0, 0.0
    for process in processes.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            memory += process.memory_info().rss
            share += process.cpu_percent()
    row: dict[str, Any] = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "cpu_percent": share,
        "memory_bytes": memory,
        "machine_cpu_percent": psutil.cpu_percent(),
        "machine_memory_percent": psutil.virtual_memory().percent,
        "disk_free_bytes": psutil.disk_usage(str(context.path)).free,
    }
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    if disk:
        row |= {"disk_read_bytes": disk.read_bytes, "disk_written_bytes": disk.write_bytes}
    if network:
        row |= {"network_sent_bytes": network.bytes_sent, "network_received_bytes": network.bytes_recv}
    if nvml:
        with contextlib.suppress(nvml.NVMLError):
            row["gpus"] = gpu_rows(nvml)
    return row
