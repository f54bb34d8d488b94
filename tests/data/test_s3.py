"""Rows in and out of a real S3 server on loopback (moto's)."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from loglore.data import files, sources, writing
from loglore.errors import InputError

pytest.importorskip("s3fs")

ROWS = [{"text": f"row {number}", "meta": {"n": number}} for number in range(50)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def bucket(s3_bucket: str) -> str:
    return s3_bucket


def put(key: str, content: bytes) -> str:
    sources.s3().pipe_file(key, content)
    return f"s3://{key}"


def test_objects_are_read_and_named(bucket: str) -> None:
    url = put(f"{bucket}/a.jsonl", LINES)
    assert files.read_rows(url) == ROWS
    place, _ = next(files.placed_rows(url))
    assert str(place) == f"s3://{bucket}/a.jsonl: row 1"
    seen: list[int] = []
    assert sum(1 for _ in files.placed_rows(url, on_bytes=seen.append)) == 50
    assert sum(seen) == len(LINES)


def test_a_prefix_is_a_folder(bucket: str) -> None:
    put(f"{bucket}/set/b.jsonl", LINES)
    table = io.BytesIO()
    pl.DataFrame({"text": ["first"]}).write_parquet(table)
    put(f"{bucket}/set/a.parquet", table.getvalue())
    put(f"{bucket}/set/README.md", b"no data")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in.jsonl", LINES)
    put(f"{bucket}/one.zip", packed.getvalue())
    assert [row["text"] for row in files.read_rows(f"s3://{bucket}/set/")][:2] == ["first", "row 0"]
    assert sources.find(f"s3://{bucket}/set").left_out == ["README.md"]
    assert files.read_rows(f"s3://{bucket}/one.zip") == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.json.gz"])
def test_what_is_written_comes_back(bucket: str, name: str) -> None:
    url = f"s3://{bucket}/out/{name}"
    assert writing.write_rows(url, ROWS) == 50
    assert files.read_rows(url) == ROWS


def test_the_version_of_an_object_and_of_a_prefix_changes_with_their_content(bucket: str) -> None:
    url, folder = put(f"{bucket}/set/a.jsonl", LINES), f"s3://{bucket}/set/"
    before = [sources.s3_version(url), sources.s3_version(folder)]
    assert before == [sources.s3_version(url), sources.s3_version(folder)]
    put(f"{bucket}/set/a.jsonl", LINES.replace(b"row 7", b"row 8"))
    assert not set(before) & {sources.s3_version(url), sources.s3_version(folder)}
    after = sources.s3_version(folder)
    put(f"{bucket}/set/b.jsonl", LINES)
    assert sources.s3_version(folder) != after
    with pytest.raises(InputError, match=f"s3://{bucket}/none: no such object"):
        sources.s3_version(f"s3://{bucket}/none")


def test_rows_on_s3_are_counted_and_packed_once(bucket: str, tiny_model: Path, tmp_path: Path) -> None:
    from loglore.cli.data_tokens import app

    url = put(f"{bucket}/a.jsonl", LINES)

    def call(*words: str) -> dict:
        done = CliRunner().invoke(app, [*words, "--tokenizer", str(tiny_model), "--json"], catch_exceptions=False)
        return dict(json.loads(done.stdout))

    assert call("tokens", url)["rows"] == 50
    first = call("pack", url, "--out", str(tmp_path))
    assert first["rows"] == 50 and first["source"]["name"] == "a.jsonl"
    assert call("pack", url, "--out", str(tmp_path))["folder"] == first["folder"]
    put(f"{bucket}/a.jsonl", LINES + LINES)
    assert call("pack", url, "--out", str(tmp_path))["rows"] == 100


def test_a_failure_leaves_the_object_as_it_was(bucket: str) -> None:
    url = put(f"{bucket}/a.jsonl", LINES)

    def broken() -> Iterator[dict]:
        yield ROWS[0]
        raise InputError("row 2 is bad")

    with pytest.raises(InputError, match="row 2 is bad"):
        writing.write_rows(url, broken())
    assert files.read_rows(url) == ROWS


def test_what_is_not_there_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"s3://nowhere/a\.jsonl: no such bucket 'nowhere'"):
        files.read_rows("s3://nowhere/a.jsonl")
    with pytest.raises(InputError, match=f"s3://{bucket}/none.jsonl: no such object"):
        files.read_rows(f"s3://{bucket}/none.jsonl")
    with pytest.raises(InputError, match=r"s3://nowhere/a\.jsonl: no such bucket"):
        writing.write_rows("s3://nowhere/a.jsonl", ROWS)


def test_a_server_that_is_not_there_is_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=rf"^s3://{bucket}/a.jsonl: .*127.0.0.1:9"):
        files.read_rows(f"s3://{bucket}/a.jsonl")
