"""What `bench/fuzz_readers.py` found, and a short run of the same idea: damaged files give rows or an `InputError`."""

import contextlib
import io
import json
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.data import check, convert, files, leaks, mix, split, writing
from loglore.data.formats import FIELDS, RowError
from loglore.data.samples import conversation_of
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


CALL = {"type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", " ", "x", "a\nb", "[]", "{}", "user"])
TURN_KEYS = ["from", "value", "role", "content", "tool_calls", "weight", "rejected"]
TURNS = st.dictionaries(st.sampled_from(TURN_KEYS), SCALARS | st.sampled_from(["human", "gpt", "system", "tool"]))
ANYTHING = st.recursive(
    SCALARS | TURNS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["nlplog", "alpaca", "function"]), inner)
    ),
    max_leaves=12,
)
NAMES = sorted(
    {*(name for names in FIELDS.values() for name in names), "input", "system", "history", "tools", "meta", "images"}
)


def rows_with(names: set[str]) -> st.SearchStrategy[dict]:
    """Rows that have these fields, good or bad values in them, and perhaps others."""
    turns = st.lists(TURNS, max_size=4) | st.just([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}])
    values = {name: ANYTHING | turns | st.just({"from": "gpt", "value": "a"}) for name in names}
    return st.fixed_dictionaries(values, optional={name: ANYTHING | turns for name in NAMES if name not in names})


@given(row=st.sampled_from(list(FIELDS.values())).flatmap(rows_with))
def test_rows_of_any_shape_are_taken_or_refused_by_field(row: dict) -> None:
    before = json.dumps(row)
    for target in FIELDS:
        try:
            converted = convert.convert(row, target)
        except RowError as fault:
            assert fault.kind
        else:
            assert convert.detect(converted) == target
    for read in (conversation_of, split.group_of, lambda one: split.group_of(one, "meta.source")):
        with contextlib.suppress(RowError):
            read(row)
    leaks.chunk_keys(row)
    assert json.dumps(row) == before


@given(rows=st.lists(st.sampled_from(list(FIELDS.values())).flatmap(rows_with), max_size=5))
def test_a_file_of_such_rows_is_checked_and_mixed_without_a_crash(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict]
) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.jsonl"
    writing.write_rows(path, rows)
    report = check.check([check.parse_input(str(path)), check.parse_input(f"test={path}")])
    assert all(one.rows + one.faulty == len(rows) for one in report.files)
    faults: list = []
    try:
        mix.mix([mix.Part(str(path), 1.0)], path.with_name("mixed.jsonl"), on_fault=faults.append)
    except InputError as fault:
        assert "no rows to mix" in str(fault) or "no text" in str(fault)
