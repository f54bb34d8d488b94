import gzip
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.data import files, json_rows, sources
from loglore.data.json_rows import BadRow
from loglore.errors import InputError

# Texts that look like JSON from outside are what a cutter of arrays gets wrong.
TEXTS = st.text(st.sampled_from('"\\{}[]:, \n\tab\u00e9\u2028\U0001f600')) | st.text(
    st.characters(exclude_categories=["Cs"])
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=6)


def read(content: bytes) -> list[tuple[int, object]]:
    return list(json_rows.rows(io.BytesIO(content), "f"))


@pytest.fixture(params=[8, 61, 1 << 22])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_rows, "BLOCK", request.param)
    return request.param


@given(rows=ROWS, indent=st.sampled_from([None, 2]), spaced=st.booleans(), size=st.sampled_from([7, 50, 1 << 22]))
def test_an_array_of_any_layout_comes_back_as_the_reference_reads_it(
    rows: list, indent: int | None, spaced: bool, size: int
) -> None:
    text = json.dumps(rows, ensure_ascii=spaced, indent=indent, separators=(" , ", " : ") if spaced else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "BLOCK", size)
        assert read(b"\xef\xbb\xbf \n" + text.encode()) == list(enumerate(json.loads(text), 1))


@given(rows=ROWS, size=st.sampled_from([7, 50, 1 << 22]))
def test_lines_come_back_with_their_line_numbers(rows: list, size: int) -> None:
    text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "BLOCK", size)
        assert read(text.encode()) == [(2 * number + 1, row) for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("content", "row", "kind", "message"),
    [
        (b'[{"a": 1}, {"a": tru}, {"a": 3}]', 2, "bad-json", "not JSON"),
        (b'[{"a": 1}, 7, "x, y", {"a": 3}]', 2, "wrong-type", "expected an object, found a number"),
        (b'[{"a": 1}, [2], {"a": 3}]', 2, "wrong-type", "expected an object, found list"),
        (b'[{"a": 1} {"a": 2}]', 2, "bad-json", "expected a comma before this row"),
        (b'[{"a": 1},]', 2, "bad-json", "nothing between two commas or after the last one"),
        (b'[{"a": 1}, null]', 2, "wrong-type", "found null"),
        (b'[{"a": 1, "b": {"c": 1, "c": 2}}]', 1, "duplicate-key", "the key 'c' stands twice"),
        (b'{"a": 1}\n{"a": 1, "a" : 2}\n', 2, "duplicate-key", "the key 'a' stands twice"),
        (rb'{"t": "x\":", "a\\": 1, "a\\": 2}', 1, "duplicate-key", "stands twice"),
        (b'{"a": 1}\n\x0c\n{"a": 2}', 2, "bad-json", "not JSON"),
        (b'{"a": NaN}', 1, "bad-json", "not JSON"),
        (b'{"a": 1e999}', 1, "bad-json", "not JSON"),
        (b'{"a": "\xe9t\xe9"}', 1, "encoding", "not UTF-8 at byte 8"),
        (b'{"a": "\\ud800"}', 1, "bad-json", "not JSON"),
        (b'{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}", 1, "bad-json", "not JSON"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_read(content: bytes, row: int, kind: str, message: str) -> None:
    found = read(content)
    bad = dict(found)[row]
    assert isinstance(bad, BadRow)
    assert bad.kind == kind and message in bad.message
    good = [value for _, value in found if not isinstance(value, BadRow)]
    assert all(value.keys() <= {"a", "t"} for value in good)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}, {"a": ', "f: row 2: the file ends inside the array"),
        (b'[{"a": 1}, ', "f: row 2: the file ends inside the array"),
        (b'[{"a": "x]', "f: row 1: the file ends inside the array"),
        (b'[{"a": 1}}', "f: after row 1: not JSON: expected ] or a row, found }"),
        (b"[\n   }\n", "f: after row 0: not JSON: expected ] or a row, found }"),
        (b'[{"a": 1}]\x0b', "f: after row 1: expected nothing after the end"),
        (b'[{"a": 1}] x', "f: after row 1: expected nothing after the end"),
        (b'[{"a": 1}]\n[{"a": 2}]', "f: after row 1: expected nothing after the end"),
        ('[{"a": 1}]'.encode("utf-16"), "f: UTF-16 or UTF-32 text; expected UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "f: UTF-16 or UTF-32 text; expected UTF-8"),
    ],
)
def test_a_file_that_breaks_off_is_refused(block: int, content: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(content)
    assert message in str(caught.value)


def test_a_row_beyond_the_limit_is_refused_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "MAX_ROW", 1000)
    monkeypatch.setattr(json_rows, "BLOCK", 64)
    for opening in (b'[{"a": "', b'{"a": "', b'["'):
        stream = io.BytesIO(opening + b"x" * 10_000)
        with pytest.raises(InputError, match="f: row 1: larger than"):
            list(json_rows.rows(stream, "f"))
        assert stream.tell() < 4000


def test_large_integers_keep_their_value() -> None:
    assert read(b'{"id": 123456789012345678901234567890}') == [(1, {"id": 123456789012345678901234567890})]


def test_an_empty_file_or_array_has_no_rows() -> None:
    assert read(b"") == read(b" \n\n") == read(b" [ ] \n") == []


@given(
    st.lists(st.sampled_from([b'{"text": "a"}', b"", b" ", b"{bad", b'{"text": "\xc3\xa9"}', b"[1]", b"\xff"])),
    st.integers(1, 60),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.booleans(),
)
def test_parts_of_a_file_have_the_rows_of_the_whole(lines: list[bytes], size: int, mark: bytes, ended: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(mark + b'{"text": "first"}\n' + b"\n".join(lines) + b"\n" * ended)
        (file,) = sources.find(path).files
        cut = files.parts(file, size)
        found = [entry for part in cut for entry in files.entries(file, part=part)]
        assert found == list(files.entries(file))
        if file.size > 200 and size < 60 and all(len(line) < 20 for line in lines):
            assert len(cut) > 1


def test_what_is_no_plain_json_lines_is_not_cut(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"row {number}"}) for number in range(99)]
    (tmp_path / "array.json").write_text("[\n" + ",\n".join(rows) + "]")
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    (tmp_path / "rows.csv").write_text("text\n" + "\n".join(map(str, range(99))))
    (tmp_path / "small.jsonl").write_text(rows[0])
    for name in ("array.json", "rows.jsonl.gz", "rows.csv", "small.jsonl"):
        (file,) = sources.find(tmp_path / name).files
        assert files.parts(file, 50) == [None], name


def test_a_line_that_is_too_large_is_told_wherever_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "MAX_ROW", 1 << 20)
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "' + "b" * (1 << 20) + '"}\n{"text": "c"}\n')
    (file,) = sources.find(tmp_path / "rows.jsonl").files
    for cut in ([None], files.parts(file, 10)):
        found: list[object] = []
        with pytest.raises(InputError, match="row 2: larger than 1 MiB"):
            found.extend(entry for part in cut for entry in files.entries(file, part=part))
        assert len(files.parts(file, 10)) == 3
