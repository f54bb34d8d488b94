"""A database and a home of the test's own, and a spec of a job that takes a fraction of a second."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_gate import Gate
from support_serving import tiny_gguf

from loglore.runs import files
from loglore.store.database import Database, open_database

__all__ = ["tiny_gguf"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def database(home: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database that processes of the test open, too."""
    monkeypatch.setenv("LOGLORE_DATABASE", database_url)
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def short(tmp_path: Path) -> dict[str, Any]:
    """Values of a `prepare` job over two rows."""
    files.write_jsonl(tmp_path / "rows.jsonl", [{"text": "disk full"}, {"text": "link down"}])
    return {"rows": str(tmp_path / "rows.jsonl"), "validation_share": 0}


@pytest.fixture
def gate() -> Iterator[Gate]:
    started = Gate()
    yield started
    started.close()


@pytest.fixture
def held_up(tmp_path: Path, gate: Gate) -> dict[str, Any]:
    """Values of an `nlplog` job with one event, which waits at the gate."""
    (tmp_path / "app.log").write_text("2026-01-01 00:00:00 error: link down\n" * 2)
    teacher = {"url": gate.url, "model": "gate"}
    return {"logs": [str(tmp_path / "app.log")], "teacher": teacher, "variants": 1}
