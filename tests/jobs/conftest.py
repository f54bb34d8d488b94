"""A database and a home of the test's own, and a spec of a job that takes a fraction of a second."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loglore.runs import files
from loglore.store.database import Database, open_database


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LOGLORE_DATABASE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{home / 'loglore.db'}")
    yield opened
    opened.close()


@pytest.fixture
def short(tmp_path: Path) -> dict[str, Any]:
    """Values of a `prepare` job over two rows."""
    files.write_jsonl(tmp_path / "rows.jsonl", [{"text": "disk full"}, {"text": "link down"}])
    return {"rows": str(tmp_path / "rows.jsonl"), "validation_share": 0}
