"""From a user's MODEL to a GGUF and a session."""

from pathlib import Path

import pytest

from loglore.endpoint.client import Endpoint
from loglore.errors import InputError
from loglore.hub import models
from loglore.models.header import read_header
from loglore.serve import sessions


def test_a_folder_is_converted_once(tiny_model: Path, home: Path) -> None:
    first = sessions.as_gguf(str(tiny_model))
    assert first.is_relative_to(home)
    assert read_header(first)["general.file_type"] == 7  # q8_0
    stamp = first.stat().st_mtime_ns
    assert sessions.as_gguf(str(tiny_model)) == first
    assert first.stat().st_mtime_ns == stamp


def test_hub_names_and_files_are_served_as_they_are(tiny_gguf: Path) -> None:
    assert sessions.as_gguf(str(tiny_gguf)) == tiny_gguf
    version = models.add("tuned", tiny_gguf, {})
    assert sessions.as_gguf("tuned@1") == version.path / "tiny.gguf"
    assert sessions.as_gguf(str(version.path)) == version.path / "tiny.gguf"
    with sessions.session("tuned") as started:
        assert Endpoint(started.url).served.model_id == "tuned"
    with pytest.raises(InputError, match="not in the hub"):
        sessions.as_gguf("missing")


def test_model_ids(tiny_gguf: Path) -> None:
    assert sessions.model_id(str(tiny_gguf)) == "tiny"
    assert sessions.model_id("tuned@2") == "tuned@2"
