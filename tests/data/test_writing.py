import gzip
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.data import files, sources, writing
from loglore.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["a,b", 'say "x"', "a\r\nb", "a\rb", "\n", " x ", "null", "1"]
)
FLAT = st.lists(st.fixed_dictionaries({"instruction": TEXT, "output": TEXT, "é": TEXT}), min_size=1, max_size=5)
NESTED = st.lists(
    st.fixed_dictionaries(
        {"conversations": st.lists(st.fixed_dictionaries({"from": TEXT, "value": TEXT}), max_size=3)},
        optional={
            "meta": st.fixed_dictionaries(
                {"chunk": TEXT}, optional={"lines": st.lists(st.integers(0, 2**60), min_size=2, max_size=2)}
            ),
            "weight": st.floats(allow_nan=False, allow_infinity=False),
        },
    ),
    min_size=1,
    max_size=5,
)
PACKED = ["", ".gz", ".zst", ".zip"]


def there_and_back(folder: Path, name: str, rows: list[dict]) -> list[dict]:
    assert writing.write_rows(folder / name, rows) == len(rows)
    return files.read_rows(folder / name)


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("kind", [".jsonl", ".jsonlines", ".json"])
@given(rows=NESTED | FLAT)
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, kind: str, packing: str, rows: list[dict]) -> None:
    assert there_and_back(tmp_path_factory.getbasetemp(), f"a{kind}{packing}", rows) == rows


@given(rows=FLAT, packing=st.sampled_from(PACKED))
def test_csv_comes_back(tmp_path_factory: pytest.TempPathFactory, packing: str, rows: list[dict]) -> None:
    assert there_and_back(tmp_path_factory.getbasetemp(), f"a.csv{packing}", rows) == rows


@given(rows=NESTED | FLAT, packing=st.sampled_from(PACKED))
def test_parquet_comes_back(tmp_path_factory: pytest.TempPathFactory, packing: str, rows: list[dict]) -> None:
    assert there_and_back(tmp_path_factory.getbasetemp(), f"a.parquet{packing}", rows) == rows


def test_parquet_takes_missing_and_null_for_the_same(tmp_path: Path) -> None:
    rows = [{"text": "a", "note": None}, {"text": "b", "meta": {"x": 1, "y": None}}]
    assert there_and_back(tmp_path, "a.parquet", rows) == [{"text": "a"}, {"text": "b", "meta": {"x": 1}}]


def test_meta_survives_csv_as_json(tmp_path: Path) -> None:
    rows = [{"text": "a", "meta": {"lines": [1, 2]}}, {"text": "b", "meta": {"chunk": "x"}}]
    assert there_and_back(tmp_path, "a.csv", rows) == rows


@given(st.lists(st.text(st.sampled_from("ab \n\r\té"), min_size=1, max_size=9), min_size=1, max_size=4))
def test_text_comes_back_or_is_refused(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "a.txt"
    rows = [{"text": text} for text in texts]
    try:
        writing.write_rows(path, rows)
    except InputError as fault:
        assert "a text file would end the row" in str(fault).replace("\n", " ")
    else:
        assert files.read_rows(path) == rows


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("a.csv", [{"a": "x"}, {"b": "x"}], "row 2: `a, b`: CSV needs the same fields in every row"),
        ("a.csv", [{"conversations": []}], "row 1: `conversations`: CSV holds text, found list"),
        ("a.txt", [{"text": "a"}, {"text": "b", "meta": {}}], "row 2: a text file holds corpus rows"),
        ("a.parquet", [{"a": 1}, {"a": "1"}], "row 2: `a`: str, but int in an earlier row"),
        ("a.parquet", [{"a": [1]}, {"a": [1.5]}], "row 2: `a[]`: float, but int"),
        ("a.parquet", [], "no rows to write"),
        ("a.xlsx", [{"a": 1}], "cannot tell what to write"),
        ("a", [{"a": 1}], "cannot tell what to write"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_and_nothing_appears(
    tmp_path: Path, name: str, rows: list, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        writing.write_rows(tmp_path / name, rows)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for packing in PACKED:
        for name in ("a", "b"):
            writing.write_rows(tmp_path / f"{name}.jsonl{packing}", [{"text": "x" * 99}])
    names = [f"a.jsonl{packing}" for packing in PACKED if packing != ".zip"]
    assert all((tmp_path / n).read_bytes() == (tmp_path / n.replace("a.", "b.", 1)).read_bytes() for n in names)


def test_a_folder_and_an_archive_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.csv").write_text("text\ntwo\n")
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n'))
    (folder / "deep" / "c.txt").write_text("three\nlines\n\nfour\n")
    (folder / "README.md").write_text("not data")
    (folder / ".hidden.jsonl").write_text("not data")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
        archive.writestr("__MACOSX/a.jsonl", "not data")
    for path in (folder, tmp_path / "set.zip"):
        assert [row["text"] for row in files.read_rows(path)] == ["one", "two", "three\nlines", "four"]
        listing = sources.find(path)
        assert {"README.md", ".hidden.jsonl"} <= set(listing.left_out)
        assert next(str(file).partition(" (")[2] for file in listing.files).startswith("JSON, gzip, ")
        places = [str(place) for place, _ in files.placed_rows(path)]
        assert places == [
            f"{path}/{name}" for name in ("a.jsonl.gz: row 1", "b.csv: row 1", "deep/c.txt: row 1", "deep/c.txt: row 2")
        ]


def test_bytes_read_add_up_to_the_files_size(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json.zst", "a.csv.gz"):
        writing.write_rows(tmp_path / name, ({"text": str(number)} for number in range(5000)))
        seen: list[int] = []
        assert sum(1 for _ in files.placed_rows(tmp_path / name, on_bytes=seen.append)) == 5000
        assert sum(seen) == (tmp_path / name).stat().st_size


def test_the_content_and_not_the_name_says_what_packing_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(gzip.compress(json.dumps([{"text": "x"}]).encode()))
    assert files.read_rows(tmp_path / "a.json") == [{"text": "x"}]
    (tmp_path / "b.bin").write_bytes(b'{"text": "x"}\n')
    assert list(files.open_rows(tmp_path / "b.bin")) == [(1, {"text": "x"})]
