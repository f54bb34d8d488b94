"""Fixtures shared with other rooms."""

from pathlib import Path

import pytest
from support_serving import scripted, tiny_gguf

__all__ = ["scripted", "tiny_gguf"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
