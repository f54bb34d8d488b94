"""Where bytes are: a folder and a bucket on a real S3 server behave the same; what is damaged or away is told."""

import hashlib
from pathlib import Path

import pytest

from loglore.errors import InputError, JobError, UnavailableError
from loglore.store import storage
from loglore.store.storage import Storage

CONTENT = b"what is stored" * 1000
NAME = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    if request.param == "folder":
        return storage.storage(str(tmp_path / "storage"))
    return storage.storage(f"s3://{request.getfixturevalue('s3_bucket')}/deep/prefix/")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("link", [True, False])
def test_what_is_put_comes_back_and_goes(place: Storage, source: Path, tmp_path: Path, link: bool) -> None:
    assert not place.exists(NAME)
    for _ in range(2):
        place.put(source, NAME, link)
    assert place.exists(NAME)
    with place.open(NAME) as stream:
        assert (stream.read(4), stream.read()) == (CONTENT[:4], CONTENT[4:])
    place.fetch(NAME, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT
    for _ in range(2):
        place.delete(NAME)
    assert not place.exists(NAME)
    assert source.read_bytes() == CONTENT
    for attempt in (lambda: place.open(NAME).read(), lambda: place.fetch(NAME, tmp_path / "gone")):
        with pytest.raises(JobError, match=f"object {NAME} is missing"):
            attempt()
    assert not (tmp_path / "gone").exists()


def test_a_folder_links_where_it_may_and_copies_where_it_must(source: Path, tmp_path: Path) -> None:
    linked, copied = (storage.storage(str(tmp_path / name)) for name in ("linked", "copied"))
    linked.put(source, NAME, True)
    copied.put(source, NAME, False)
    assert source.stat().st_nlink == 2
    source.write_bytes(b"edited in place")
    assert copied.open(NAME).read() == CONTENT


def test_a_file_that_changed_while_it_was_read_is_not_stored(source: Path, tmp_path: Path) -> None:
    place = storage.storage(str(tmp_path / "storage"))
    with pytest.raises(JobError, match="changed while it was read"):
        place.put(source, "0" * 64, False)
    assert not [path for path in (tmp_path / "storage").rglob("*") if path.is_file()]


def test_what_s3_returns_is_compared_with_its_name(s3_bucket: str, source: Path, tmp_path: Path) -> None:
    import s3fs

    place = storage.storage(f"s3://{s3_bucket}")
    place.put(source, NAME, True)
    s3fs.S3FileSystem().pipe_file(f"{s3_bucket}/objects/{NAME[:2]}/{NAME}", b"something else")
    with pytest.raises(JobError, match=f"object {NAME} is damaged"):
        place.fetch(NAME, tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_storage_that_is_away_is_told_as_one_that_comes_back(
    s3_bucket: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    place = storage.storage(f"s3://{s3_bucket}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        for attempt in (lambda: place.put(source, NAME, True), lambda: place.fetch(NAME, tmp_path / "back")):
            with pytest.raises(UnavailableError, match=f"s3://{s3_bucket}: .*127.0.0.1:9"):
                attempt()
    s3fs.S3FileSystem.clear_instance_cache()
    place.put(source, NAME, True)
    assert place.exists(NAME)
    with pytest.raises(JobError, match="s3://none-here"):
        storage.storage("s3://none-here").put(source, NAME, True)


def test_other_places_are_refused() -> None:
    for url in ("http://x/y", "memory://", "gs://bucket"):
        with pytest.raises(InputError, match=r"expected a folder or s3://bucket/prefix"):
            storage.storage(url)


def test_room_is_counted_before_anything_is_written(tmp_path: Path) -> None:
    from loglore.errors import DiskFullError

    storage.check_room(tmp_path, 1)
    with pytest.raises(DiskFullError, match=r"disk full: 1,125,899,906,842,624 bytes are needed, [\d,]+ are missing"):
        storage.check_room(tmp_path, 1 << 50)
