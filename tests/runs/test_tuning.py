"""What a process sets for itself before torch is imported."""

import os
import subprocess
import sys

import pytest

from loglore.runs import tuning


@pytest.mark.parametrize(
    ("load", "given", "expected"),
    [
        (0.1, {}, {"GOMP_SPINCOUNT": "10000"}),
        (64.0, {}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        (64.0, {"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        (0.1, {"OMP_WAIT_POLICY": "PASSIVE"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
    ],
)
def test_threads_sleep_on_busy_cores_and_spin_shortly_on_idle_ones(
    monkeypatch: pytest.MonkeyPatch, load: float, given: dict[str, str], expected: dict[str, str]
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tuning, "_running_now", lambda: load)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    tuning.tune()
    found = {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ}
    assert found == expected


@pytest.mark.parametrize(("patience", "expected"), [(0.0, "OMP_WAIT_POLICY"), (5.0, "GOMP_SPINCOUNT")])
def test_what_is_busy_with_a_start_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, patience: float, expected: str
) -> None:
    looks = iter([2.0, 2.0, 0.0])
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k not in tuning.WAITING})
    monkeypatch.setattr(tuning, "_running_now", lambda: next(looks))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    tuning.tune(patience)
    assert list(tuning.threads_wait()) == [expected]


@pytest.mark.skipif(not tuning.LOAD.exists(), reason="no /proc")
def test_busy_processes_are_seen_at_once() -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        # They need a moment to start; from then on they never sleep.
        assert any(tuning._running_now() >= len(busy) for _ in range(500))
    finally:
        for one in busy:
            one.kill()
            one.wait()
