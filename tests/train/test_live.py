"""The view of a training run in a terminal, drawn into a real pseudo-terminal, and its parts."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from loglore.runs import files
from loglore.train.live import panel

ROW = {
    "tokens": 1000, "learning_rate": 4.2e-5, "grad_norm": 0.9134, "tokens_per_second": 1203.4, "mfu": 0.41,
    "fill": 0.973, "memory_bytes": 6_210_000_000,
}  # fmt: skip


def drawn(rows: list[dict[str, Any]], left: float | None) -> list[str]:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(panel("train sft", rows, 4000, 1000 * len(rows), left))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_numbers_of_the_last_step_stand_under_the_bar() -> None:
    rows = [{"step": step, "loss": 3.0 - step, **ROW} for step in (1, 2)]
    lines = drawn([{"step": 0, "eval_loss": 2.5}, *rows], 3723)
    assert re.fullmatch(r"train sft \S+ +3,000/4,000 tokens, 1:02:03 left", lines[0])
    assert lines[1] == "step 2  loss 1.0000 █▁  evaluation 2.5000"
    assert lines[2] == (
        "learning rate 4.2e-05  gradient norm 0.913  1,203 tokens/s  MFU 41.0%  fill 97.3%  memory 6.21 GB"
    )


def test_before_the_first_step_there_is_a_bar_alone() -> None:
    (line,) = drawn([], None)
    assert line.endswith("0/4,000 tokens")


SCRIPT = """
import sys
from pathlib import Path
from loglore.runs.folder import RunFolder
from loglore.train.live import watched
context = RunFolder(Path(sys.argv[1]), {})
with watched(context, "train cpt", 4000, 1000) as tick:
    for step in (2, 3, 4):
        context.metric(step, loss=4.0 - step / 2, learning_rate=1e-4, grad_norm=1.5, tokens_per_second=88.0)
        tick(1000, note="not shown in a terminal")
"""


def test_a_terminal_gets_the_panel_and_a_file_plain_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "COLUMNS": "120", "TERM": "xterm-256color"}
    ours, theirs = pty.openpty()
    with subprocess.Popen([*command, str(tmp_path / "a")], stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 1 << 16):
                shown += data
        except OSError:  # how Linux says that the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    for expected in ("4,000/4,000 tokens, 0:00 left", "step 4  loss 2.0000 █▅▁", "gradient norm 1.500  88 tokens/s"):
        assert expected in text
    assert "not shown" not in text
    plain = subprocess.run([*command, str(tmp_path / "b")], env=environment, capture_output=True, text=True, check=True)
    assert "\x1b" not in plain.stderr
    for folder in ("a", "b"):
        events = [row["event"] for row in files.read_jsonl_log(tmp_path / folder / "events.jsonl")]
        assert events == ["started", "finished"]
