"""What `bench/fuzz_readers.py` found, and a short run of the same idea: damaged files give rows or an `InputError`."""

import io
import json
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.data import files, writing
from loglore.errors import InputError

ROWS = [
    {"instruction": 'say "x": {[,]}', "output": "back\\slash\\"},
    {"instruction": "é世\U0001f600", "output": "line\nend"},
]
KINDS = [".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.zst", ".jsonl.zip"]


@pytest.mark.parametrize("kind", KINDS)
@given(
    place=st.integers(0, 10_000),
    cut=st.integers(0, 40),
    put=st.binary(max_size=6) | st.sampled_from([b'"', b"}", b"]", b"\\"]),
)
def test_damage_gives_rows_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, place: int, cut: int, put: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{kind}"
    writing.write_rows(path, ROWS)
    content = path.read_bytes()
    place %= len(content) + 1
    path.write_bytes(content[:place] + put + content[place + cut :])
    try:
        rows = [row for _, row in files.placed_rows(path, lambda fault: None)]
    except InputError as fault:
        assert str(path) in str(fault)
    else:
        assert all(isinstance(row, dict) for row in rows)


def member(name: str, flip: int, value: int) -> bytes:
    """A ZIP archive with one byte of its directory changed."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, json.dumps(ROWS[0]) * 3)
    content = bytearray(raw.getvalue())
    content[content.rfind(b"PK\1\2") + flip] = value
    return bytes(content)


@pytest.mark.parametrize(
    ("flip", "value"),
    [
        (28, 0),  # a name of no characters: zipfile's own IndexError
        (10, 99),  # an unknown compression: NotImplementedError
        (8, 1),  # encrypted: RuntimeError
        (45, 0x7F),  # a member far behind the end: OSError EINVAL or a bad magic number
        (30, 60),  # an extra field beyond the directory: struct.error or BadZipFile
    ],
)
def test_zip_directories_that_lie(tmp_path: Path, flip: int, value: int) -> None:
    (tmp_path / "a.zip").write_bytes(member("a.jsonl", flip, value))
    with pytest.raises(InputError, match=r"a\.zip"):
        files.read_rows(tmp_path / "a.zip")


def test_parquet_damage_that_makes_polars_panic(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": ["x" * 50] * 100, "n": list(range(100))}).write_parquet(path)
    content = path.read_bytes()
    refused = 0
    for place in range(4, len(content) - 8, 7):
        path.write_bytes(content[:place] + content[place + 3 :])
        try:
            files.read_rows(path)
        except InputError as fault:
            refused += "damaged Parquet file" in str(fault)
    assert refused > 50
