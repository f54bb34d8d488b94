"""The hub of a test is its own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
