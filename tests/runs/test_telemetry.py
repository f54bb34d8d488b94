"""System metrics: what a row holds, GPUs as NVML reports them, and that a broken source breaks no job."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from loglore.runs import files, telemetry
from loglore.runs.folder import RunFolder


class FakeNvml:
    """The part of `pynvml` that is used, for two cards: the second one does not report its power."""

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=97 - handle)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=60 << 30, total=80 << 30)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle:
            raise self.NVMLError
        return 350_000

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:  # noqa: N802
        return 700_000


def test_gpu_rows_have_utilisation_memory_and_power_in_their_units() -> None:
    first, second = telemetry.gpu_rows(FakeNvml())
    assert first == {
        "gpu": 0, "utilisation_percent": 97, "memory_mb": 61440, "memory_percent": 75, "power_watts": 350,
        "power_percent": 50,
    }  # fmt: skip
    assert second["utilisation_percent"] == 96 and "power_watts" not in second


def test_rows_are_sampled_at_the_start_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_nvml", FakeNvml)
    context = RunFolder(tmp_path, {})
    with telemetry.sampled(context, interval_s=600):
        pass
    rows = files.read_jsonl_log(tmp_path / "system.jsonl")
    assert len(rows) == 2
    for row in rows:
        assert {"cpu_percent", "machine_cpu_percent", "memory_bytes", "disk_free_bytes", "gpus"} <= row.keys()
        assert row["network_received_bytes"] >= 0 and row["memory_bytes"] > 1e6
    assert telemetry.peak_memory(context) == max(row["memory_bytes"] for row in rows)


def test_share_of_the_processor_is_that_since_the_last_row(tmp_path: Path) -> None:
    context = RunFolder(tmp_path, {})
    with telemetry.sampled(context, interval_s=600):
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    first, last = files.read_jsonl_log(tmp_path / "system.jsonl")
    assert first["cpu_percent"] == 0 and last["cpu_percent"] > 5


def test_a_job_does_not_fail_because_telemetry_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> dict:
        raise OSError("disk gone")

    monkeypatch.setattr(telemetry, "_sample", broken)
    with telemetry.sampled(RunFolder(tmp_path, {}), interval_s=600):
        done = True
    assert done and not (tmp_path / "system.jsonl").exists()
