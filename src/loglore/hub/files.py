"""Stored files, and uploads in parts that become such: streamed, hashed on the way, memory flat at any size.

A part is complete or not there: one that breaks off leaves nothing, and the client sends it again. The parts that are
there outlive a restart of the server; `parts` says which they are. Their order is given at the end, as in OpenAI's API.
"""

import hashlib
import io
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from loglore.errors import InputError
from loglore.hub import collect
from loglore.settings import load
from loglore.store import files as rows
from loglore.store.database import Database
from loglore.store.files import Part, StoredFile, Upload
from loglore.store.objects import holding
from loglore.store.storage import BLOCK, Storage, check_room, storage, writing_to

PURPOSES = ("fine-tune", "evals", "user_data", "fine-tune-results")
# As OpenAI's, but for the whole, which is 8 GB there: logs are larger.
LARGEST_PART = 64 << 20
LARGEST_UPLOAD = 1 << 40
UPLOAD_LIFE_S = 86_400.0
LONGEST_NAME = 255

Chunks = Iterable[bytes] | BinaryIO


@dataclass(frozen=True)
class Received:
    """Bytes that arrived: where they are for now, their size and hashes in hex; `md5` only where it was asked for."""

    path: Path
    bytes: int
    sha256: str
    md5: str


def add(
    database: Database,
    content: Chunks,
    name: str,
    purpose: str,
    *,
    expires_after: float | None = None,
    by: str | None = None,
) -> StoredFile:
    """Store a file from a stream.

    Args:
        database: where the hub is.
        content: a binary stream, or chunks of bytes.
        name: the client's name for it, without folders.
        purpose: one of `PURPOSES`.
        expires_after: seconds that it is kept; None until deleted.
        by: id of the key that stores it.

    Raises:
        InputError: an impossible name or purpose, or more than `LARGEST_UPLOAD` bytes.
        DiskFullError: no room for it; nothing of it is kept.
    """
    _check(name, purpose, expires_after)
    place = storage()
    with holding(database, place) as holder, receiving(place, content, LARGEST_UPLOAD) as received:
        found = holder.put_file(received.path, True, received.sha256)
        expires = None if expires_after is None else time.time() + expires_after
        return rows.add(database, name, purpose, found, expires, by)


def find(database: Database, file_id: str) -> StoredFile:
    """A file by its id; raises InputError for an unknown one."""
    return rows.find(database, file_id)


def files(
    database: Database,
    purpose: str | None = None,
    after: str | None = None,
    limit: int = 10_000,
    newest_first: bool = True,
) -> list[StoredFile]:
    """One page of files; as `store.files.files`."""
    return rows.files(database, purpose, after, limit, newest_first)


def open_file(database: Database, file_id: str) -> BinaryIO:
    """A file's bytes as a stream, which the caller closes; raises InputError for an unknown id."""
    return storage().open(rows.find(database, file_id).sha256)


def local_path(database: Database, file_id: str) -> Path:
    """The file on this machine under its own name, for jobs that read paths; made where it is not there.

    Raises:
        InputError: no such file.
        JobError: it cannot be brought here.
    """
    found = rows.find(database, file_id)
    path = load().home / "files" / found.id / found.name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.parent / f".{secrets.token_hex(4)}.partial"
        storage().fetch(found.sha256, partial)
        partial.replace(path)
    return path


def delete(database: Database, file_id: str) -> StoredFile:
    """Forget a file; its bytes go with the next `collect`.

    Raises:
        InputError: no such file, or a job needs it.
    """
    removed = rows.remove(database, file_id)
    path = load().home / "files" / removed.id / removed.name
    path.unlink(missing_ok=True)
    return removed


def begin(
    database: Database,
    name: str,
    purpose: str,
    size: int,
    mime_type: str,
    *,
    file_expires_after: float | None = None,
    by: str | None = None,
) -> Upload:
    """Announce a file that comes in parts; it has a day to be completed.

    Args:
        database: where the hub is.
        name: of the file, without folders.
        purpose: one of `PURPOSES`.
        size: bytes of the whole file, 1 to `LARGEST_UPLOAD`.
        mime_type: as the client says.
        file_expires_after: seconds that the file is kept once complete; None until deleted.
        by: id of the key that uploads.

    Raises:
        InputError: an impossible name, purpose or size.
        DiskFullError: no room for so many bytes.
    """
    _check(name, purpose, file_expires_after)
    if not 1 <= size <= LARGEST_UPLOAD:
        raise InputError(f"bytes {size}: expected 1 to {LARGEST_UPLOAD:,}")
    if not 1 <= len(mime_type) <= 200 or not mime_type.isprintable():
        raise InputError(f"mime_type {mime_type[:100]!r}: expected a type such as text/jsonl")
    check_room(_scratch(storage()), size)
    now = time.time()
    upload_id = f"upload_{secrets.token_hex(12)}"
    life = now + UPLOAD_LIFE_S
    return rows.begin_upload(
        database,
        Upload(upload_id, name, purpose, size, mime_type, "pending", now, life, file_expires_after, None, by),
    )


def find_upload(database: Database, upload_id: str) -> Upload:
    """An upload by its id; raises InputError for an unknown one."""
    return rows.find_upload(database, upload_id)


def add_part(database: Database, upload_id: str, content: Chunks) -> Part:
    """Take one part of an upload, of at most `LARGEST_PART` bytes; parts may come at the same time.

    Raises:
        InputError: no such upload, it has ended, or the part is empty or too large.
        DiskFullError: no room for it; nothing of it is kept.
    """
    upload = rows.find_upload(database, upload_id)
    if upload.status != "pending":
        raise InputError(f"upload {upload_id}: it is {upload.status}")
    place = storage()
    with holding(database, place) as holder, receiving(place, content, min(LARGEST_PART, upload.bytes)) as received:
        if not received.bytes:
            raise InputError(f"upload {upload_id}: the part is empty")
        return rows.add_part(database, upload_id, holder.put_file(received.path, True, received.sha256))


def parts(database: Database, upload_id: str) -> list[Part]:
    """The parts that are complete, in the order in which they were: what a client need not send again."""
    return rows.parts(database, rows.find_upload(database, upload_id).id)


def complete(
    database: Database, upload_id: str, part_ids: Sequence[str], md5: str | None = None
) -> tuple[Upload, StoredFile]:
    """Make the file of the parts in this order; done before, the file that was made.

    Args:
        database: where the hub is.
        upload_id: the upload.
        part_ids: ids of its parts, each once; parts not named are left out.
        md5: hash of the whole in hex, compared when given.

    Raises:
        InputError: no such upload, it has ended, unknown or repeated parts, another size than announced, another MD5.
        DiskFullError: no room for the whole; the parts are kept.
    """
    upload = rows.find_upload(database, upload_id)
    if upload.status == "completed" and upload.file_id is not None:
        return upload, rows.find(database, upload.file_id)
    if upload.status != "pending":
        raise InputError(f"upload {upload_id}: it is {upload.status}")
    known = {part.id: part for part in rows.parts(database, upload_id)}
    chosen = _in_order(upload, known, part_ids)
    place = storage()
    chunks = _chunks_of(place, chosen)
    with (
        holding(database, place) as holder,
        receiving(place, chunks, upload.bytes, upload.bytes, md5 is not None) as received,
    ):
        if md5 is not None and md5.lower() != received.md5:
            raise InputError(f"upload {upload_id}: md5 is {received.md5}, expected {md5}")
        content = holder.put_file(received.path, True, received.sha256)
        done = rows.complete_upload(database, upload, content)
    collect.objects(database, place, [part.sha256 for part in known.values()])
    return done


def cancel(database: Database, upload_id: str) -> Upload:
    """End an upload and let its parts go.

    Raises:
        InputError: no such upload, or it has ended.
    """
    known = rows.parts(database, upload_id)
    cancelled = rows.cancel_upload(database, upload_id)
    collect.objects(database, storage(), [part.sha256 for part in known])
    return cancelled


@contextmanager
def receiving(
    place: Storage, content: Chunks, largest: int, expected: int = 0, with_md5: bool = False
) -> Iterator[Received]:
    """Write a stream to a file that is gone after the block, hashing on the way; memory is one chunk.

    Args:
        place: storage that it is meant for; the file is beside it, so that it can be linked.
        content: a binary stream or chunks.
        largest: bytes that are allowed.
        expected: bytes that must be free before anything is written.
        with_md5: whether to hash in this way, too; it takes longer than all the rest.

    Raises:
        InputError: more than `largest` bytes.
        DiskFullError: no room.
    """
    folder = _scratch(place)
    check_room(folder, expected)
    path = folder / secrets.token_hex(12)
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        with path.open("xb", buffering=0) as stream:
            for chunk in _chunks(content):
                if size + len(chunk) > largest:
                    raise InputError(f"more than {largest:,} bytes")
                sha256.update(chunk)
                if with_md5:
                    md5.update(chunk)
                with writing_to(str(folder), max(len(chunk), expected - size)):
                    _write(stream, chunk)
                size += len(chunk)
        yield Received(path, size, sha256.hexdigest(), md5.hexdigest() if with_md5 else "")
    finally:
        path.unlink(missing_ok=True)


def _write(stream: io.RawIOBase, chunk: bytes) -> None:
    """All of a chunk; a disk that fills up takes a part of it before it refuses."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def _chunks(content: Chunks) -> Iterator[bytes]:
    if isinstance(content, io.IOBase) or hasattr(content, "read"):
        while chunk := content.read(BLOCK):
            yield chunk
    else:
        yield from content


def _chunks_of(place: Storage, chosen: Sequence[Part]) -> Iterator[bytes]:
    for part in chosen:
        with place.open(part.sha256) as stream:
            yield from _chunks(stream)


def _in_order(upload: Upload, known: dict[str, Part], part_ids: Sequence[str]) -> list[Part]:
    if len(set(part_ids)) != len(part_ids):
        raise InputError(f"upload {upload.id}: a part is named twice")
    for part_id in part_ids:
        if part_id not in known:
            raise InputError(f"upload {upload.id}: part {part_id!r} is none of its parts")
    chosen = [known[part_id] for part_id in part_ids]
    total = sum(part.bytes for part in chosen)
    if total != upload.bytes:
        raise InputError(f"upload {upload.id}: its parts have {total:,} bytes, {upload.bytes:,} were announced")
    return chosen


def _check(name: str, purpose: str, expires_after: float | None) -> None:
    if (
        not 1 <= len(name.encode("utf-8", "replace")) <= LONGEST_NAME
        or not name.isprintable()
        or set(name) & {"/", "\\"}
    ):
        raise InputError(f"file name {name[:100]!r}: expected 1 to {LONGEST_NAME} printable characters and no folder")
    if name in (".", ".."):
        raise InputError(f"file name {name!r}: expected a name")
    if purpose not in PURPOSES:
        raise InputError(f"purpose {purpose!r}: expected one of {', '.join(PURPOSES)}")
    if expires_after is not None and expires_after <= 0:
        raise InputError(f"expires after {expires_after} s: expected more than 0")


def _scratch(place: Storage) -> Path:
    folder = place.scratch()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
