from pathlib import Path

from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.telemetry import peak_memory, sampled


def test_reopened_folder_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", {"kind": "train"})
    run.metric(1, loss=2.0)
    run.metric(2, loss=1.5)
    with (run.path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "lo')
    again = RunFolder(tmp_path / "run", {"kind": "train"})
    again.rewind_metrics(1)
    again.metric(2, loss=1.5)
    assert again.metrics() == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}]
    assert again.report() is None
    again.finish({"outputs": {}})
    assert again.report() == {"outputs": {}}


def test_progress_records_start_and_end(tmp_path: Path, capsys) -> None:
    run = RunFolder(tmp_path / "run", {})
    with run.progress("tokenize", 2, "rows") as tick:
        tick()
        tick()
    events = files.read_jsonl_log(run.path / "events.jsonl")
    assert [event["event"] for event in events] == ["started", "finished"]
    assert events[0]["total"] == 2


def test_system_metrics_hold_this_process_memory(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", {})
    with sampled(run, interval_s=60):
        block = bytearray(64 << 20)
    rows = files.read_jsonl_log(run.path / "system.jsonl")
    assert len(rows) == 2 and len(block) == 64 << 20
    assert peak_memory(run) >= 64 << 20
    assert {"time", "cpu_percent", "memory_bytes", "machine_memory_percent", "disk_free_bytes"} <= rows[0].keys()
