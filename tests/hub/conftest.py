"""The hub of a test is its own; its storage is a folder unless the test says otherwise."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    for name in ("LOGLORE_DATABASE", "LOGLORE_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"
