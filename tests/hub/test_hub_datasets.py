"""Datasets in the hub: checked rows, immutable versions, brought from files, stored files and buckets."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.hub import connections, datasets, files
from loglore.hub.datasets import About
from loglore.store.connections import Secret
from loglore.store.database import Database

Rows = Callable[..., Path]


def test_rows_become_versions_that_keep_what_they_were(database: Database, rows: Rows) -> None:
    source = rows("one", "two", "two")
    first = datasets.add(database, "logs", source, about=About("CC0", card="about", origin={"by": "test"}))
    assert first.reference == "logs@1"
    assert first.facts == {"format": "corpus", "rows": 3, "duplicates": 1, "licence": "CC0", "origin": {"by": "test"}}
    assert first.card == "about"
    assert first.bytes == source.stat().st_size
    assert datasets.add(database, "logs", source) == first
    second = datasets.add(database, "logs", rows("three"))
    assert second.number == 2
    assert datasets.find(database, "logs") == second
    assert datasets.versions(database, "logs") == [first, second]
    assert datasets.datasets(database) == [first, second]
    before = source.read_bytes()
    path = datasets.materialise(database, "logs@2")
    # What a user does to the file later is nothing to the version: it is a copy.
    with source.open("a") as stream:
        stream.write("edited in place")
    assert path.read_bytes() == before
    assert json.loads(path.with_name("dataset.json").read_text())["rows"] == 1


def test_a_folder_stays_a_folder(database: Database, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        rows(name, name=name).rename(tmp_path / "set" / name)
    made = datasets.add(database, "set", tmp_path / "set")
    assert made.facts["rows"] == 2
    path = datasets.materialise(database, "set")
    assert {each.name for each in path.iterdir()} == {"train.jsonl", "test.jsonl", "dataset.json"}


CHAT = '{"messages": [{"role": "user", "content": "why"}, {"role": "assistant", "content": "full"}]}\n'


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        ('{"text": "a"}\n{"text": ""}\n', None, "row 2: .*text"),
        ('{"text": "a"}\n{"te', None, "row 2"),
        ('{"text": "a"}\n' + CHAT, None, "row 2: its format is openai-chat, expected corpus"),
        ('{"text": "a"}\n', "sharegpt", "row 1: its format is corpus, expected sharegpt"),
        ('{"messages": [{"role": "user", "content": "why"}]}\n', None, "row 1"),
        ("", None, "no rows|empty"),
    ],
)
def test_the_first_bad_row_is_named_and_nothing_is_kept(
    sqlite_database: Database, tmp_path: Path, home: Path, text: str, wanted: str | None, said: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        datasets.add(sqlite_database, "logs", path, datasets.format_of(wanted))
    assert datasets.datasets(sqlite_database) == []
    assert not list(home.glob("storage/objects/*/*"))


def test_unknown_formats_paths_and_names(sqlite_database: Database, rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of sharegpt-dpo"):
        datasets.format_of("csv")
    with pytest.raises(InputError, match=r"none\.jsonl"):
        datasets.add(sqlite_database, "logs", tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="dataset name"):
        datasets.add(sqlite_database, "Logs", rows("a"))
    with pytest.raises(InputError, match="dataset 'logs': not in the hub"):
        datasets.materialise(sqlite_database, "logs")


def test_a_deleted_dataset_is_gone_from_the_disk_and_its_number_is_not_given_again(
    database: Database, rows: Rows
) -> None:
    datasets.add(database, "logs", rows("one"))
    path = datasets.materialise(database, "logs")
    assert datasets.delete(database, "logs@1").number == 1
    assert not path.exists()
    assert datasets.add(database, "logs", rows("one")).number == 2


def test_a_stored_file_becomes_a_dataset(database: Database, rows: Rows) -> None:
    content = rows("one", "two").read_bytes()
    stored = files.add(database, io.BytesIO(content), "up.jsonl", "fine-tune")
    made = datasets.add_file(database, "logs", stored.id)
    assert made.facts["origin"] == {"file": stored.id}
    path = datasets.materialise(database, "logs")
    assert path.name == "up.jsonl"
    # One file on the disk: object, stored file, version.
    assert path.stat().st_ino == files.local_path(database, stored.id).stat().st_ino
    bad = files.add(database, io.BytesIO(b'{"text": 1}\n'), "bad.jsonl", "fine-tune")
    with pytest.raises(InputError, match=r"^bad\.jsonl: row 1"):
        datasets.add_file(database, "logs", bad.id)


def test_a_tag_moves_and_is_taken_off(database: Database, rows: Rows) -> None:
    for text in ("one", "two"):
        datasets.add(database, "logs", rows(text))
    assert datasets.tag(database, "logs@1", "good").tags == ("good",)
    assert datasets.tag(database, "logs@2", "good").tags == ("good",)
    assert datasets.find(database, "logs@good").number == 2
    with pytest.raises(InputError, match=r"dataset logs@1: no tag 'good'; it has: none"):
        datasets.untag(database, "logs@1", "good")
    assert datasets.untag(database, "logs@good", "good").tags == ()


def test_an_object_and_a_prefix_of_a_bucket_become_datasets(
    database: Database, rows: Rows, s3_bucket: str, s3_server: str
) -> None:
    import s3fs

    system = s3fs.S3FileSystem()
    system.pipe_file(f"{s3_bucket}/in/one.jsonl", rows("one").read_bytes())
    system.pipe_file(f"{s3_bucket}/in/two.jsonl", rows("two").read_bytes())
    system.pipe_file(f"{s3_bucket}/bad.jsonl", b'{"text": 1}\n')
    connections.add(database, "lake", s3_bucket, "test", Secret("test"), endpoint=s3_server, region="us-east-1")
    one = datasets.bring(database, "one", "lake", "in/one.jsonl")
    assert (one.facts["rows"], one.facts["origin"]) == (1, {"connection": "lake", "key": "in/one.jsonl"})
    assert datasets.materialise(database, "one").name == "one.jsonl"
    assert datasets.bring(database, "both", "lake", "in/").facts["rows"] == 2
    with pytest.raises(InputError, match=r"^lake: bad\.jsonl: row 1"):
        datasets.bring(database, "bad", "lake", "bad.jsonl")
    with pytest.raises(InputError, match="connection lake: nothing at 'none'"):
        datasets.bring(database, "none", "lake", "none")
