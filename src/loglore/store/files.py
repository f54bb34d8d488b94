"""Stored files and the uploads that become such: rows about objects, as OpenAI's API names them."""

import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from loglore.errors import InputError, JobError
from loglore.store.database import Database
from loglore.store.objects import OBJECTS, Object
from loglore.store.schema import METADATA

Purpose = Literal["fine-tune", "evals", "user_data", "fine-tune-results"]
FileStatus = Literal["uploaded", "processed", "error"]
UploadStatus = Literal["pending", "completed", "cancelled", "expired"]

STORED_FILES = sa.Table(
    "stored_files",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("purpose", sa.String(30), nullable=False),
    sa.Column("sha256", sa.ForeignKey(OBJECTS.c.sha256), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("expires", sa.Double),
    sa.Column("created_by", sa.String(40)),
    sa.Index("ix_stored_files_sha256", "sha256"),
    sa.Index("ix_stored_files_created_id", "created", "id"),
)
UPLOADS = sa.Table(
    "uploads",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("purpose", sa.String(30), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("mime_type", sa.String(200), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Column("file_expires_after", sa.Double),
    sa.Column("file_id", sa.ForeignKey(STORED_FILES.c.id, ondelete="SET NULL")),
    sa.Column("created_by", sa.String(40)),
)
PARTS = sa.Table(
    "upload_parts",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("upload_id", sa.ForeignKey(UPLOADS.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("sha256", sa.ForeignKey(OBJECTS.c.sha256), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Index("ix_upload_parts_upload_id", "upload_id"),
    sa.Index("ix_upload_parts_sha256", "sha256"),
)


@dataclass(frozen=True)
class StoredFile:
    """A file that a client stored.

    Attributes:
        id: `file-…`.
        name: as the client called it, no folders in it.
        bytes: its size.
        purpose: what it may be used for.
        sha256: its content.
        status: `uploaded`, or what came of looking at it.
        created, expires: seconds since 1970; expires None: kept until deleted.
        created_by: key that made it, None on the command line.
    """

    id: str
    name: str
    bytes: int
    purpose: str
    sha256: str
    status: FileStatus
    created: float
    expires: float | None
    created_by: str | None


@dataclass(frozen=True)
class Upload:
    """A file on its way in parts.

    Attributes:
        id: `upload_…`.
        name, purpose, created_by: of the file it will be.
        bytes: size that was announced, which the parts must have in the end.
        mime_type: as announced.
        status: see `UploadStatus`.
        created, expires: seconds since 1970; after `expires` parts are refused and collected.
        file_expires_after: seconds that the file is kept, None for good.
        file_id: the file, when completed and not deleted since.
    """

    id: str
    name: str
    purpose: str
    bytes: int
    mime_type: str
    status: UploadStatus
    created: float
    expires: float
    file_expires_after: float | None
    file_id: str | None
    created_by: str | None


@dataclass(frozen=True)
class Part:
    """A part of an upload: its `id` (`part_…`), the upload's, content hash, size, when it was complete.

    `number` counts the parts of an upload as they were complete, whatever the clock said.
    """

    id: str
    upload_id: str
    sha256: str
    bytes: int
    created: float
    number: int


def add(
    database: Database, name: str, purpose: str, content: Object, expires: float | None, by: str | None
) -> StoredFile:
    """A new file of an object that is in storage and held.

    Raises:
        JobError: its object was collected meanwhile, as nothing held it any more.
    """
    try:
        with database.begin() as connection:
            return _add(connection, name, purpose, content, expires, by)
    except sa.exc.IntegrityError:
        raise JobError(f"file {name}: what it is made of was collected meanwhile; send it again") from None


def _add(
    connection: sa.Connection, name: str, purpose: str, content: Object, expires: float | None, by: str | None
) -> StoredFile:
    made = StoredFile(
        f"file-{secrets.token_hex(12)}",
        name,
        content.bytes,
        purpose,
        content.sha256,
        "processed",
        time.time(),
        expires,
        by,
    )
    connection.execute(STORED_FILES.insert().values(vars(made)))
    return made


def find(database: Database, file_id: str) -> StoredFile:
    """A file by its id.

    Raises:
        InputError: no such file, or its time is over.
    """
    with database.begin() as connection:
        row = connection.execute(STORED_FILES.select().where(STORED_FILES.c.id == file_id)).mappings().first()
    if row is None or (row["expires"] is not None and row["expires"] <= time.time()):
        raise InputError(f"file {file_id!r}: no such id")
    return StoredFile(**row)


def files(
    database: Database,
    purpose: str | None = None,
    after: str | None = None,
    limit: int = 10_000,
    newest_first: bool = True,
) -> list[StoredFile]:
    """Files (of one purpose), one page of them.

    Args:
        database: where they are.
        purpose: only these; None all.
        after: id of the last file of the page before.
        limit: how many at most.
        newest_first: else the oldest first.

    Raises:
        InputError: `after` is no file.
    """
    time_of, id_of = STORED_FILES.c.created, STORED_FILES.c.id
    query = STORED_FILES.select().where(sa.or_(STORED_FILES.c.expires.is_(None), STORED_FILES.c.expires > time.time()))
    if purpose is not None:
        query = query.where(STORED_FILES.c.purpose == purpose)
    if after is not None:
        last = find(database, after)
        here = sa.tuple_(time_of, id_of)
        place = sa.tuple_(sa.literal(last.created), sa.literal(last.id))
        query = query.where(here < place if newest_first else here > place)
    order = (time_of.desc(), id_of.desc()) if newest_first else (time_of, id_of)
    with database.begin() as connection:
        return [StoredFile(**row) for row in connection.execute(query.order_by(*order).limit(limit)).mappings()]


def remove(database: Database, file_id: str) -> StoredFile:
    """Forget a file.

    Raises:
        InputError: no such file, or a job needs it; names it.
    """
    from loglore.store import uses

    found = find(database, file_id)
    uses.release_ended(database)
    try:
        with database.begin() as connection:
            connection.execute(STORED_FILES.delete().where(STORED_FILES.c.id == file_id))
    except sa.exc.IntegrityError:
        holders = ", ".join(uses.holders(database, file_id=file_id))
        raise InputError(f"file {file_id}: not deleted, {holders or 'something'} depends on it") from None
    return found


def begin_upload(database: Database, upload: Upload) -> Upload:
    """Register an upload."""
    with database.begin() as connection:
        connection.execute(UPLOADS.insert().values(vars(upload)))
    return upload


def find_upload(database: Database, upload_id: str) -> Upload:
    """An upload by its id; one whose time is over is `expired`.

    Raises:
        InputError: no such upload.
    """
    with database.begin() as connection:
        row = connection.execute(UPLOADS.select().where(UPLOADS.c.id == upload_id)).mappings().first()
    if row is None:
        raise InputError(f"upload {upload_id!r}: no such id")
    over = row["status"] == "pending" and row["expires"] <= time.time()
    return Upload(**{**row, "status": "expired" if over else row["status"]})


def add_part(database: Database, upload_id: str, content: Object) -> Part:
    """Note a part whose object is in storage and held.

    Raises:
        InputError: the upload was ended meanwhile.
    """
    before = sa.select(sa.func.coalesce(sa.func.max(PARTS.c.number), 0)).where(PARTS.c.upload_id == upload_id)
    with database.write() as connection:
        _expect_pending(connection, upload_id)
        number = 1 + int(connection.execute(before).scalar_one())
        part_id = f"part_{secrets.token_hex(12)}"
        made = Part(part_id, upload_id, content.sha256, content.bytes, time.time(), number)
        connection.execute(PARTS.insert().values(vars(made)))
    return made


def parts(database: Database, upload_id: str) -> list[Part]:
    """The parts of an upload in the order in which they were complete."""
    query = PARTS.select().where(PARTS.c.upload_id == upload_id).order_by(PARTS.c.number, PARTS.c.created)
    with database.begin() as connection:
        return [Part(**row) for row in connection.execute(query).mappings()]


def complete_upload(database: Database, upload: Upload, content: Object) -> tuple[Upload, StoredFile]:
    """Turn an upload whose whole content is in storage and held into a file; its parts are let go.

    Raises:
        InputError: the upload was ended meanwhile.
    """
    with database.write() as connection:
        _expect_pending(connection, upload.id)
        kept = upload.file_expires_after
        expires = None if kept is None else time.time() + kept
        made = _add(connection, upload.name, upload.purpose, content, expires, upload.created_by)
        connection.execute(PARTS.delete().where(PARTS.c.upload_id == upload.id))
        connection.execute(_this(upload.id).values(status="completed", file_id=made.id))
    return find_upload(database, upload.id), made


def cancel_upload(database: Database, upload_id: str) -> Upload:
    """End an upload; its parts are let go.

    Raises:
        InputError: no such upload, or it has ended.
    """
    find_upload(database, upload_id)
    with database.write() as connection:
        _expect_pending(connection, upload_id)
        connection.execute(PARTS.delete().where(PARTS.c.upload_id == upload_id))
        connection.execute(_this(upload_id).values(status="cancelled"))
    return find_upload(database, upload_id)


def expire(database: Database, now: float) -> int:
    """Let go of files and uploads whose time is over, but for files in use; returns how many."""
    from loglore.store.uses import USES

    over = sa.and_(UPLOADS.c.status == "pending", UPLOADS.c.expires <= now)
    with database.write() as connection:
        connection.execute(PARTS.delete().where(PARTS.c.upload_id.in_(sa.select(UPLOADS.c.id).where(over))))
        count = connection.execute(UPLOADS.update().where(over).values(status="expired")).rowcount
        used = sa.select(USES.c.file_id).where(USES.c.file_id.is_not(None))
        old = sa.and_(STORED_FILES.c.expires <= now, STORED_FILES.c.id.not_in(used))
        old_files = list(connection.execute(sa.select(STORED_FILES.c.id).where(old)).scalars())
    for file_id in old_files:
        with contextlib.suppress(sa.exc.IntegrityError), database.begin() as connection:  # used since
            count += connection.execute(STORED_FILES.delete().where(STORED_FILES.c.id == file_id)).rowcount
    return int(count)


def _this(upload_id: str) -> sa.Update:
    return UPLOADS.update().where(UPLOADS.c.id == upload_id)


def _expect_pending(connection: sa.Connection, upload_id: str) -> None:
    """Check the state in the transaction that changes it, with the upload's row locked on PostgreSQL."""
    query = sa.select(UPLOADS.c.status, UPLOADS.c.expires).where(UPLOADS.c.id == upload_id).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise InputError(f"upload {upload_id!r}: no such id")
    state = "expired" if row.status == "pending" and row.expires <= time.time() else row.status
    if state != "pending":
        raise InputError(f"upload {upload_id}: it is {state}")
