"""Garbage collection: objects that nothing refers to are removed, and nothing else is.

The database decides: an object's row is deleted in a transaction of its own, which foreign keys refuse while a
version, a stored file, a part of an upload or a holder refers to it. Only then its bytes are deleted, still in that
transaction: who puts the same content at that moment waits, then finds no row and puts it anew. Two collectors at once
do the same work twice and no harm; one that is killed leaves at most a row without bytes, which the next put fills or
the next collection removes.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from loglore.store import files as file_rows
from loglore.store.database import Database
from loglore.store.files import PARTS, STORED_FILES
from loglore.store.objects import HOLDS, OBJECTS
from loglore.store.storage import Storage, storage
from loglore.store.versions import FILES


@dataclass(frozen=True)
class Collected:
    """What a collection did: objects removed and their bytes, uploads and files whose time was over."""

    objects: int
    bytes: int
    expired: int


def collect(database: Database) -> Collected:
    """Let go of uploads and files whose time is over, then remove every object that nothing refers to.

    Raises:
        UnavailableError: the database or the storage does not answer; what was removed so far stays removed.
    """
    expired = file_rows.expire(database, time.time())
    removed = objects(database, storage(), _unreferenced(database))
    return Collected(len(removed), sum(removed), expired)


def objects(database: Database, place: Storage, hashes: Iterable[str]) -> list[int]:
    """Remove those of these objects that nothing refers to; returns the size of each that was removed."""
    sizes = (_remove(database, place, sha256) for sha256 in dict.fromkeys(hashes))
    return [size for size in sizes if size is not None]


def _remove(database: Database, place: Storage, sha256: str) -> int | None:
    try:
        with database.write() as connection:
            over = sa.and_(HOLDS.c.sha256 == sha256, HOLDS.c.until <= time.time())
            connection.execute(HOLDS.delete().where(over))
            gone = OBJECTS.delete().where(OBJECTS.c.sha256 == sha256).returning(OBJECTS.c.bytes)
            size = connection.execute(gone).scalar()
            if size is not None:
                place.delete(sha256)
            return size
    except sa.exc.IntegrityError:
        return None


def _unreferenced(database: Database) -> list[str]:
    """Candidates: what no reference shows now. The removal itself asks again."""
    referrers = (FILES.c.sha256, STORED_FILES.c.sha256, PARTS.c.sha256)
    query = sa.select(OBJECTS.c.sha256)
    for column in referrers:
        query = query.where(~sa.exists().where(column == OBJECTS.c.sha256))
    held = sa.and_(HOLDS.c.sha256 == OBJECTS.c.sha256, HOLDS.c.until > time.time())
    with database.begin() as connection:
        return list(connection.execute(query.where(~sa.exists().where(held))).scalars())
