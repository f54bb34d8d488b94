"""Lines of a run folder become events once, whatever happens to its files between two looks."""

import json
from pathlib import Path
from typing import Any

from loglore.endpoint.runner import PAID
from loglore.jobs import indexing
from loglore.runs import files
from loglore.runs.folder import RunFolder


class Reader:
    """Looks at a folder again and again, and keeps what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks: dict[str, Any] = {}

    def new(self) -> list[str]:
        found = indexing.look(self.folder, self.marks)
        self.marks = found.marks
        return [each.message for each in found.happenings]


def test_only_what_is_new_and_only_whole_lines(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "run")
    assert reader.new() == []
    context = RunFolder(tmp_path / "run", {})
    context.event("planned", steps=3, parts={"a": 1})
    context.metric(1, loss=2.5, learning_rate=1e-4)
    assert reader.new() == ["planned: steps 3", "step 1: loss 2.5, learning_rate 0.0001"]
    assert reader.new() == []
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert reader.new() == []
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write('ss": 2.0}\n')
    assert reader.new() == ["step 2: loss 2"]
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as stream:
        stream.write(b"\x00\x00\x00\n" + b'{"step": 3, "loss": 1.5}\n')
    assert reader.new() == ["step 3: loss 1.5"]


def test_bills_of_endpoints_are_added_up_once(tmp_path: Path) -> None:
    context = RunFolder(tmp_path / "run", {})
    context.event("job started")
    paid = context.path / PAID
    files.append_jsonl(paid, {"dollars": 0.5})
    files.append_jsonl(paid, {"dollars": 0.25})
    found = indexing.look(context.path, {})
    assert found.paid == 0.75
    with paid.open("a") as stream:
        stream.write('{"dollars": 4')
    assert indexing.look(context.path, found.marks).paid == 0
    # Who goes on after a kill cuts the torn line off.
    files.repair_jsonl_log(paid)
    files.append_jsonl(paid, {"dollars": 1.0})
    assert indexing.look(context.path, found.marks).paid == 1
    # A folder begun anew is read anew: what was added before stays where it was added.
    (context.path / "events.jsonl").unlink()
    context.event("job started", again=True)
    paid.unlink()
    files.append_jsonl(paid, {"dollars": 2.0})
    assert indexing.look(context.path, found.marks).paid == 2


def test_steps_that_a_resumed_job_repeats_are_told_once(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "run")
    context = RunFolder(tmp_path / "run", {})
    context.event("job started")
    for step in range(1, 6):
        context.metric(step, loss=float(step), seconds=0.1 * step)
    context.metric(5, eval_loss=1.0)
    assert len(reader.new()) == 7
    context.rewind_metrics(2)
    for step in range(3, 8):
        context.metric(step, loss=float(step), seconds=123.456)
        if step == 5:
            context.metric(step, eval_loss=1.0)
    assert reader.new() == ["step 6: loss 6", "step 7: loss 7"]


def test_a_folder_that_was_begun_anew_is_read_anew(tmp_path: Path) -> None:
    import shutil

    reader = Reader(tmp_path / "run")
    context = RunFolder(tmp_path / "run", {})
    files.append_jsonl(tmp_path / "run" / "events.jsonl", {"time": "2026-01-01T00:00:00+00:00", "event": "first"})
    context.metric(1, loss=1.0)
    assert reader.new() == ["first", "step 1: loss 1"]
    shutil.rmtree(tmp_path / "run")
    context = RunFolder(tmp_path / "run", {})
    files.append_jsonl(tmp_path / "run" / "events.jsonl", {"time": "2026-01-01T00:00:01+00:00", "event": "again"})
    context.metric(1, loss=1.0)
    assert reader.new() == ["again", "step 1: loss 1"]


def test_a_long_backlog_is_read_in_parts(tmp_path: Path) -> None:
    context = RunFolder(tmp_path / "run", {})
    context.event("job started")
    lines = [json.dumps({"step": step, "note": "x" * 1000}) for step in range(1, 2001)]
    (tmp_path / "run" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    marks: dict[str, Any] = {}
    seen = 0
    more = True
    while more:
        found = indexing.look(tmp_path / "run", marks)
        marks, more = found.marks, found.more
        seen += sum(each.type == "metrics" for each in found.happenings)
    assert seen == 2000
