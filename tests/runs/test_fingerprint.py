from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.runs import fingerprint


def test_folder_fingerprint_sees_names_and_contents_but_not_place(tmp_path: Path) -> None:
    for place in ("one", "two"):
        folder = tmp_path / place / "inner"
        folder.mkdir(parents=True)
        (folder / "a").write_text("content")
        (tmp_path / place / ".hidden").write_text(place)
    first = fingerprint.of_path(tmp_path / "one")
    assert first == fingerprint.of_path(tmp_path / "two")
    (tmp_path / "two" / "inner" / "a").rename(tmp_path / "two" / "inner" / "b")
    assert first != fingerprint.of_path(tmp_path / "two")
    (tmp_path / "one" / "inner" / "a").write_text("changed")
    assert first != fingerprint.of_path(tmp_path / "one")


def test_value_fingerprint_ignores_the_order_of_keys() -> None:
    assert fingerprint.of_value({"a": 1, "b": [2]}) == fingerprint.of_value({"b": [2], "a": 1})
    assert fingerprint.of_value([1, 2]) != fingerprint.of_value([2, 1])


def test_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing: no such file or folder"):
        fingerprint.of_path(tmp_path / "missing")


def test_standard_input_is_no_input_of_a_job() -> None:
    with pytest.raises(InputError, match="write standard input to a file"):
        fingerprint.of_path(Path("-"))
