"""The hub of a test is its own: its database once of each kind, its storage a folder unless the test says otherwise."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    for name in ("LOGLORE_DATABASE", "LOGLORE_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def either_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Functions that open the settings' database open one of the test's own, once of each kind."""
    monkeypatch.setenv("LOGLORE_DATABASE", database_url)
    return database_url


@pytest.fixture(params=["folder", "s3"])
def either_storage(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage of the test's own, once of each kind; its URL."""
    url = str(home / "storage")
    if request.param == "s3":
        url = f"s3://{request.getfixturevalue('s3_bucket')}/hub"
    monkeypatch.setenv("LOGLORE_STORAGE", url)
    return url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a model folder."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    return made


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes corpus rows to a new file and returns it."""

    def write(*texts: str, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        return partial.replace(path)

    return write
