"""Objects: bytes known by their SHA-256, each stored once, and what keeps each from being collected.

What is referenced (by a version's file, a stored file, a part of an upload) is protected by foreign keys: no program
can remove its row. What was put and is not referenced yet is held by its putter's `Holder` for a day, longer than any
put takes. Storage follows the rows: an object is put after its row is there, and deleted in the transaction that
removes the row (`hub.collect`), so that a putter of the same content waits for the one or finds the other.
"""

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from loglore.store.database import Database, insert_if_new
from loglore.store.schema import METADATA
from loglore.store.storage import Storage, sha256_of

HOLD_S = 86_400.0

OBJECTS = sa.Table(
    "objects",
    METADATA,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
HOLDS = sa.Table(
    "object_holds",
    METADATA,
    sa.Column("sha256", sa.ForeignKey(OBJECTS.c.sha256), primary_key=True),
    sa.Column("holder", sa.String(40), primary_key=True),
    sa.Column("until", sa.Double, nullable=False),
    sa.Index("ix_object_holds_holder", "holder"),
)


@dataclass(frozen=True)
class Object:
    """Bytes in storage: their hash in hex, and how many they are."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Holder:
    """Who puts objects: holds each until the block of `holding` ends, by when something must refer to it."""

    database: Database
    storage: Storage
    name: str

    def put_file(self, path: Path, link: bool, sha256: str | None = None) -> Object:
        """Store a file's content; `sha256` spares hashing where the caller just did.

        Args:
            path: the file.
            link: whether a hard link to it will do: only when nobody edits it in place.
            sha256: hash of its content, if known.

        Raises:
            DiskFullError: no room for it.
            UnavailableError: the database or the storage does not answer.
        """
        found = Object(sha256 or sha256_of(path), path.stat().st_size)
        self.hold(found)
        self.storage.put(path, found.sha256, link)
        return found

    def hold(self, found: Object) -> None:
        """Register an object and keep it from being collected."""
        now = time.time()
        row = {"sha256": found.sha256, "bytes": found.bytes, "created": now}
        while True:
            try:
                with self.database.write() as connection:
                    insert_if_new(connection, OBJECTS, row)
                    held = {"sha256": found.sha256, "holder": self.name, "until": now + HOLD_S}
                    insert_if_new(connection, HOLDS, held)
                return
            except sa.exc.IntegrityError:
                continue  # collected between the two statements: there is no such row any more


@contextlib.contextmanager
def holding(database: Database, storage: Storage) -> Iterator[Holder]:
    """Objects put in this block are safe from collection until it ends; whoever needs them longer refers to them."""
    holder = Holder(database, storage, f"hold_{secrets.token_hex(12)}")
    try:
        yield holder
    finally:
        with database.begin() as connection:
            connection.execute(HOLDS.delete().where(HOLDS.c.holder == holder.name))


def find(database: Database, sha256: str) -> Object | None:
    """An object by its hash, None when there is none."""
    with database.begin() as connection:
        row = connection.execute(OBJECTS.select().where(OBJECTS.c.sha256 == sha256)).first()
    return None if row is None else Object(row.sha256, row.bytes)
