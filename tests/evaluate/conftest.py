"""Chat rows about small logs, written as the synthesis does."""

from pathlib import Path

import pytest

from loglore.data.frame import student_prompt
from loglore.runs import files

LINES = ["10:00:01 db[812]: ERROR disk full", "10:00:02 db[812]: FATAL cannot write", "10:00:03 web[7]: INFO retry"]


def row(number: int, task: str = "summary", turns: int = 1) -> dict[str, object]:
    """A row about a log of its own; rows 2k and 2k + 1 share a chunk."""
    log = "\n".join([*LINES[: 1 + number % 3], f"10:01:{number:02d} job[{number}]: INFO done"])
    conversation = []
    for turn in range(turns):
        question = f"What happened in run {number}?" if turn else student_prompt("What happened?", log)
        conversation += [
            {"from": "human", "value": question},
            {"from": "gpt", "value": f'Job {number} is "done" {turn}.'},
        ]
    return {"conversations": conversation, "meta": {"chunk": f"db.log:{number // 2}", "task": task, "source": "db.log"}}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows from six chunks, two of them conversations of two turns."""
    path = tmp_path_factory.mktemp("rows") / "test.jsonl"
    rows = [
        row(number, ("summary", "root_cause", "conversation")[number % 3], 1 + number // 10) for number in range(12)
    ]
    files.write_jsonl(path, rows)
    return path
