"""The verbs of the hub, as a user types them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loglore.cli import app
from loglore.errors import InputError


@pytest.fixture
def loglore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*words: str, given: str | None = None) -> str:
        return CliRunner().invoke(app, words, input=given, catch_exceptions=False, standalone_mode=False).stdout

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_models_from_adding_to_importing(loglore: Callable[..., str], model: Path, tmp_path: Path) -> None:
    assert loglore("models", "add", "base", str(model), "--licence", "MIT").strip() == "base@1"
    (model / "adapter_config.json").write_text("{}")
    assert loglore("models", "add", "tuned", str(model), "--parent", "model:base").strip() == "tuned@1"
    assert loglore("models", "tag", "tuned", "production").strip() == "tuned@1: production"
    listed = json.loads(loglore("models", "list", "--json"))
    assert [(each["name"], each["version"], each["tags"]) for each in listed] == [
        ("base", 1, ""),
        ("tuned", 1, "production"),
    ]
    shown = json.loads(loglore("models", "show", "base"))
    assert (shown["licence"], shown["children"][0]["version"]) == ("MIT", "tuned@1")
    assert [each["path"] for each in shown["files"]] == ["config.json"]
    with pytest.raises(InputError, match="model tuned@1 depends on it"):
        loglore("models", "delete", "base")
    assert loglore("models", "export", "tuned@production", "out").strip() == "out: tuned@1"
    assert loglore("models", "import", "out", "--name", "copy").strip() == "copy@1"
    assert Path(loglore("models", "download", "copy").strip()).joinpath("config.json").read_text() == "{}"
    assert loglore("models", "tag", "tuned", "production", "--remove").strip() == "tuned@1: no tags"
    assert loglore("models", "delete", "tuned").strip() == "removed tuned@1"
    assert loglore("hub", "check").strip() == "1 objects are whole", "all the files have the same content"


def test_datasets_from_adding_to_collecting(loglore: Callable[..., str], tmp_path: Path) -> None:
    Path("rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    assert loglore("data", "add", "logs", "rows.jsonl", "--format", "corpus").strip() == "logs@1"
    (listed,) = json.loads(loglore("data", "list", "--json"))
    assert (listed["name"], listed["format"], listed["rows"]) == ("logs", "corpus", 2)
    assert "logs" in loglore("data", "list")
    assert json.loads(loglore("data", "show", "logs@1"))["files"][0]["path"] == "rows.jsonl"
    with pytest.raises(InputError, match="expected one of"):
        loglore("data", "add", "logs", "rows.jsonl", "--format", "xml")
    assert loglore("data", "delete", "logs").strip() == "removed logs@1"
    (collected,) = json.loads(loglore("hub", "collect", "--json"))
    assert (collected["objects"], collected["bytes"]) == (1, 28)


def test_connections_ask_for_their_secret_and_never_show_it(
    loglore: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("hub", "connections", "add", "lake", "--bucket", "logs", "--key-id", "AKIA")
    said = loglore(*words, given="hidden-one\n")
    monkeypatch.setenv("LOGLORE_CONNECTION_SECRET", "hidden-two")
    said += loglore(*words[:3], "pond", *words[4:], "--endpoint", "https://s3.example.org")
    said += loglore("hub", "connections", "list") + loglore("hub", "connections", "list", "--json")
    assert "lake" in said and "https://s3.example.org" in said
    assert "hidden" not in said
    assert loglore("hub", "connections", "delete", "lake").strip() == "removed lake"


def test_a_database_that_is_down_is_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "LOGLORE_DATABASE": "postgresql://me:hidden@127.0.0.1:9/loglore"}
    command = [sys.executable, "-m", "loglore", "models", "list"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("loglore: database postgresql") and "127.0.0.1" in line and "hidden" not in line
