"""Stored files and uploads in parts: streamed, hashed, resumed, refused, ended."""

import hashlib
import io
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_disk import SmallDisk

from loglore.errors import DiskFullError, InputError
from loglore.hub import collect, files
from loglore.store import files as rows
from loglore.store.database import Database, open_database

TEXT = b"".join(b"%09d\n" % number for number in range(30_000))


def objects(home: Path) -> list[Path]:
    return [path for path in home.glob("storage/objects/*/*") if path.is_file()]


def test_what_is_stored_comes_back(database: Database, either_storage: str) -> None:
    made = files.add(database, io.BytesIO(TEXT), "logs.jsonl", "fine-tune", by="key1")
    assert (made.name, made.bytes, made.purpose, made.status) == ("logs.jsonl", len(TEXT), "fine-tune", "processed")
    assert made.sha256 == hashlib.sha256(TEXT).hexdigest()
    assert made.id.startswith("file-")
    assert files.find(database, made.id) == made
    with files.open_file(database, made.id) as stream:
        assert stream.read() == TEXT
    path = files.local_path(database, made.id)
    assert (path.name, path.read_bytes()) == ("logs.jsonl", TEXT)
    same = files.add(database, [TEXT[:10], TEXT[10:]], "other name", "evals")
    assert (same.sha256, same.id != made.id) == (made.sha256, True)
    files.delete(database, made.id)
    assert not path.exists()
    collect.collect(database)
    with files.open_file(database, same.id) as stream:
        assert stream.read() == TEXT
    with pytest.raises(InputError, match="no such id"):
        files.open_file(database, made.id)


def test_pages_of_files(database: Database) -> None:
    made = [files.add(database, [b"%d" % n], f"{n}", "evals" if n == 2 else "fine-tune") for n in range(5)]
    newest = [each.id for each in reversed(made)]
    page = files.files(database, limit=2)
    assert [each.id for each in page] == newest[:2]
    assert [each.id for each in files.files(database, after=page[-1].id)] == newest[2:]
    assert [each.id for each in files.files(database, newest_first=False, limit=2, after=made[1].id)] == newest[1:3][
        ::-1
    ]
    assert [each.id for each in files.files(database, purpose="evals")] == [made[2].id]
    with pytest.raises(InputError, match="no such id"):
        files.files(database, after="file-none")


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", "..", ".", "a\\b", "a\nb", "a\0b", "x" * 256, "a\rX-Header: 1", "\ud800"]
)
def test_names_that_could_harm(sqlite_database: Database, name: str) -> None:
    with pytest.raises(InputError, match="file name"):
        files.add(sqlite_database, [b"x"], name, "fine-tune")
    with pytest.raises(InputError, match="file name"):
        files.begin(sqlite_database, name, "fine-tune", 1, "text/plain")


@pytest.mark.parametrize("purpose", ["", "vision", "assistants", "fine_tune"])
def test_purposes_that_are_not_served(sqlite_database: Database, purpose: str) -> None:
    with pytest.raises(InputError, match="expected one of fine-tune, evals"):
        files.add(sqlite_database, [b"x"], "a", purpose)


def test_files_end_when_their_time_is_over(database: Database, home: Path) -> None:
    made = files.add(database, [b"x"], "a", "evals", expires_after=3600.0)
    assert made.expires == pytest.approx(time.time() + 3600, abs=60)
    with database.begin() as connection:
        connection.execute(rows.STORED_FILES.update().values(expires=time.time() - 1))
    with pytest.raises(InputError, match="no such id"):
        files.find(database, made.id)
    assert files.files(database) == []
    assert collect.collect(database).expired == 1
    assert objects(home) == []
    with pytest.raises(InputError, match="expires after"):
        files.add(database, [b"x"], "a", "evals", expires_after=0)


def test_an_upload_in_parts_out_of_order(database: Database, either_storage: str) -> None:
    upload = files.begin(database, "logs.jsonl", "fine-tune", len(TEXT), "text/jsonl", by="key1")
    assert (upload.status, upload.file_id) == ("pending", None)
    cut = [0, 100_000, 100_001, len(TEXT)]
    pieces = [TEXT[start:end] for start, end in itertools.pairwise(cut)]
    last = files.add_part(database, upload.id, io.BytesIO(pieces[2]))
    first, second = (files.add_part(database, upload.id, [piece]) for piece in pieces[:2])
    abandoned = files.add_part(database, upload.id, [b"sent twice by mistake"])
    assert files.parts(database, upload.id) == [last, first, second, abandoned]
    assert last.sha256 == hashlib.sha256(pieces[2]).hexdigest()
    md5 = hashlib.md5(TEXT, usedforsecurity=False).hexdigest()
    order = [first.id, second.id, last.id]
    for wrong, said in (
        ([first.id, last.id], f"parts have {len(TEXT) - 1:,} bytes, {len(TEXT):,} were announced"),
        ([*order, first.id], "named twice"),
        ([*order, "part_none"], "none of its parts"),
    ):
        with pytest.raises(InputError, match=said):
            files.complete(database, upload.id, wrong)
    with pytest.raises(InputError, match="md5 is"):
        files.complete(database, upload.id, order, md5="0" * 32)
    done, made = files.complete(database, upload.id, order, md5=md5)
    assert (done.status, done.file_id, made.bytes, made.created_by) == ("completed", made.id, len(TEXT), "key1")
    with files.open_file(database, made.id) as stream:
        assert stream.read() == TEXT
    # Asked again, as a client does whose connection broke before the answer: the same file.
    assert files.complete(database, upload.id, order) == (done, made)
    assert files.parts(database, upload.id) == []
    with pytest.raises(InputError, match="it is completed"):
        files.add_part(database, upload.id, [b"x"])
    with pytest.raises(InputError, match="it is completed"):
        files.cancel(database, upload.id)
    files.delete(database, made.id)
    assert files.find_upload(database, upload.id).file_id is None


def test_the_parts_bytes_go_with_the_end_of_their_upload(database: Database, home: Path) -> None:
    upload = files.begin(database, "a", "evals", 6, "text/plain")
    one, two = files.add_part(database, upload.id, [b"abc"]), files.add_part(database, upload.id, [b"def"])
    assert collect.collect(database).objects == 0
    files.complete(database, upload.id, [one.id, two.id])
    assert [path.read_bytes() for path in objects(home)] == [b"abcdef"]
    other = files.begin(database, "a", "evals", 6, "text/plain")
    files.add_part(database, other.id, [b"xyz"])
    assert files.cancel(database, other.id).status == "cancelled"
    assert [path.read_bytes() for path in objects(home)] == [b"abcdef"]


def test_an_upload_whose_time_is_over(database: Database, home: Path) -> None:
    upload = files.begin(database, "a", "evals", 3, "text/plain")
    part = files.add_part(database, upload.id, [b"abc"])
    with database.begin() as connection:
        connection.execute(rows.UPLOADS.update().values(expires=time.time() - 1))
    assert files.find_upload(database, upload.id).status == "expired"
    for attempt in (
        lambda: files.add_part(database, upload.id, [b"x"]),
        lambda: files.complete(database, upload.id, [part.id]),
        lambda: files.cancel(database, upload.id),
    ):
        with pytest.raises(InputError, match="it is expired"):
            attempt()
    assert collect.collect(database).objects == 1
    assert objects(home) == []


def test_a_part_that_breaks_off_leaves_nothing(database: Database, home: Path) -> None:
    upload = files.begin(database, "a", "evals", 6, "text/plain")

    def broken() -> Iterator[bytes]:
        yield b"abc"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        files.add_part(database, upload.id, broken())
    assert files.parts(database, upload.id) == []
    assert not [path for path in home.glob("storage/**/*") if path.is_file()]


@pytest.mark.parametrize(
    ("content", "said"),
    [([b""], "the part is empty"), ([b"abcd"], "more than 3 bytes"), ([b"ab", b"cd"], "more than 3")],
)
def test_parts_of_impossible_sizes(sqlite_database: Database, home: Path, content: list[bytes], said: str) -> None:
    upload = files.begin(sqlite_database, "a", "evals", 3, "text/plain")
    with pytest.raises(InputError, match=said):
        files.add_part(sqlite_database, upload.id, content)
    assert not [path for path in home.glob("storage/**/*") if path.is_file()]


def test_impossible_uploads(sqlite_database: Database) -> None:
    for size in (0, -1, files.LARGEST_UPLOAD + 1):
        with pytest.raises(InputError, match="bytes"):
            files.begin(sqlite_database, "a", "evals", size, "text/plain")
    for mime_type in ("", "a\nb", "x" * 201):
        with pytest.raises(InputError, match="mime_type"):
            files.begin(sqlite_database, "a", "evals", 1, mime_type)
    for attempt in (files.find_upload, files.parts, files.cancel):
        with pytest.raises(InputError, match="no such id"):
            attempt(sqlite_database, "upload_none")


def test_more_than_the_disk_holds_is_refused_before_the_first_byte(sqlite_database: Database) -> None:
    with pytest.raises(DiskFullError, match=r"bytes are needed, [\d,]+ are missing") as fault:
        files.begin(sqlite_database, "a", "evals", files.LARGEST_UPLOAD, "text/plain")
    assert 0 < fault.value.missing < files.LARGEST_UPLOAD


def test_parts_may_come_at_the_same_time(database: Database) -> None:
    pieces = [b"%d" % number * 1000 for number in range(8)]
    upload = files.begin(database, "a", "evals", 8000, "text/plain")
    made: dict[int, str] = {}

    def send(number: int) -> None:
        made[number] = files.add_part(database, upload.id, [pieces[number]]).id

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, done = files.complete(database, upload.id, [made[number] for number in range(8)])
    with files.open_file(database, done.id) as stream:
        assert stream.read() == b"".join(pieces)


KILLED = """
import os, signal, sys
from loglore.hub import files
from loglore.store.database import open_database
def chunks():
    yield b"second, "
    os.kill(os.getpid(), signal.SIGKILL)
files.add_part(open_database(), sys.argv[1], chunks())
"""


def test_a_server_that_is_killed_in_a_part_loses_that_part_only(either_database: str, home: Path) -> None:
    upload_id = files.begin(first := open_database(), "a", "evals", 14, "text/plain").id
    kept = files.add_part(first, upload_id, [b"first, "])
    first.close()
    subprocess.run([sys.executable, "-c", KILLED, upload_id], check=False)
    with open_database() as database:
        assert files.parts(database, upload_id) == [kept]
        again = files.add_part(database, upload_id, [b"second."])
        _, done = files.complete(database, upload_id, [kept.id, again.id])
        with files.open_file(database, done.id) as stream:
            assert stream.read() == b"first, second."
        (leftover,) = home.glob("storage/incoming/*")
        collect.collect(database)
        assert leftover.exists(), "it may be another process's"


SMALL = """
import sys
from pathlib import Path
from loglore.errors import DiskFullError
from loglore.hub import files
from loglore.store.database import open_database
database = open_database()
def chunks(count):
    for number in range(count):
        yield bytes(100_000)
upload = files.begin(database, "a", "evals", 600_000, "text/plain")
part = files.add_part(database, upload.id, chunks(6))
try:
    files.add_part(database, files.begin(database, "b", "evals", 400_000, "text/plain").id, chunks(4))
    files.add(database, chunks(6), "c", "evals")
except DiskFullError as fault:
    print(fault.missing, fault)
print(sum(path.stat().st_size for path in Path(sys.argv[1]).rglob("*") if path.is_file()))
"""


def test_a_disk_that_fills_up_keeps_the_parts_and_nothing_half_written(
    tmp_path: Path, small_disk: SmallDisk, home: Path
) -> None:
    said = small_disk("1m", sys.executable, "-c", SMALL, LOGLORE_STORAGE=str(tmp_path / "small-disk"))
    fault, left = said.strip().splitlines()
    assert int(fault.split()[0]) >= 1 and "disk full" in fault and "missing" in fault
    assert int(left) in (600_000, 1_000_000)


MEMORY = """
import resource, sys
from loglore.hub import files
from loglore.store.database import open_database
database = open_database()
def chunks(count):
    for number in range(count):
        yield number.to_bytes(4, "big") * 16384
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def upload(parts):
    made = files.begin(database, "a", "evals", parts * (8 << 20), "text/plain")
    sent = [files.add_part(database, made.id, chunks(128)).id for number in range(parts)]
    files.complete(database, made.id, sent)
    return peak()
print(upload(1), upload(16))
"""


def test_memory_does_not_grow_with_the_upload() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    small, large = map(int, done.stdout.split())
    assert large - small < 8 << 10, f"{large - small} KiB more for 120 MiB more"


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, 999), max_size=6))
def test_any_cut_gives_the_same_file(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = TEXT[:1000]
    places = sorted({0, *cuts, 1000})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLORE_HOME", str(tmp_path_factory.getbasetemp() / "cut"))
        with open_database() as database:
            upload = files.begin(database, "a", "evals", 1000, "text/plain")
            order = [
                files.add_part(database, upload.id, [whole[start:end]]).id for start, end in itertools.pairwise(places)
            ]
            _, made = files.complete(database, upload.id, order)
    assert made.sha256 == hashlib.sha256(whole).hexdigest()
