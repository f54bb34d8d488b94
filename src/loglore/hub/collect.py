"""Garbage collection: objects that nothing refers to are removed, and nothing else is.

The database decides: an object's row is deleted in a transaction of its own, which foreign keys refuse while a
version, a stored file, a part of an upload or a holder refers to it. Only then its bytes are deleted, still in that
transaction: who puts the same content at that moment waits, then finds no row and puts it anew. Two collectors at once
do the same work twice and no harm; one that is killed leaves at most a row without bytes, which the next put fills or
the next collection removes.
"""

import hashlib
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from loglore.errors import JobError
from loglore.hub.contents import CARDS, id_in, progress
from loglore.settings import load
from loglore.store import files as file_rows
from loglore.store.database import Database
from loglore.store.files import PARTS, STORED_FILES
from loglore.store.objects import HOLD_S, HOLDS, OBJECTS
from loglore.store.storage import BLOCK, Storage, storage
from loglore.store.versions import FILES, VERSIONS


@dataclass(frozen=True)
class Collected:
    """What a collection did.

    Attributes:
        objects: how many were removed.
        bytes: their size.
        expired: uploads and files whose time was over.
        leftovers: what killed processes left on this machine, and folders of versions that are gone.
    """

    objects: int
    bytes: int
    expired: int
    leftovers: int


def collect(database: Database) -> Collected:
    """Let go of uploads and files whose time is over, then remove every object that nothing refers to.

    Raises:
        UnavailableError: the database or the storage does not answer; what was removed so far stays removed.
    """
    place = storage()
    expired = file_rows.expire(database, time.time())
    removed = objects(database, place, _unreferenced(database))
    return Collected(len(removed), sum(removed), expired, _scratch(place) + _folders(database))


def verify(database: Database) -> int:
    """Read every object and compare its hash; returns how many there are.

    Raises:
        JobError: one is missing or damaged; names it.
    """
    place = storage()
    with database.begin() as connection:
        wanted = {row.sha256: row.bytes for row in connection.execute(OBJECTS.select().order_by(OBJECTS.c.sha256))}
    with progress("checking", sum(wanted.values())) as tick:
        for sha256, size in wanted.items():
            found = _hash(place, sha256)
            if found != sha256:
                raise JobError(f"{place.url}: object {sha256} is damaged: its content hashes to {found}")
            tick(size / 1e6)
    return len(wanted)


def _hash(place: Storage, sha256: str) -> str:
    hasher = hashlib.sha256()
    with place.open(sha256) as stream:
        while block := stream.read(BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def objects(database: Database, place: Storage, hashes: Iterable[str]) -> list[int]:
    """Remove those of these objects that nothing refers to; returns the size of each that was removed."""
    removed = []
    for sha256 in dict.fromkeys(hashes):
        started = time.monotonic()
        size = _remove(database, place, sha256)
        if size is not None:
            removed.append(size)
            # SQLite has one writer at a time, and S3 takes its time: the others get as long as this one had.
            time.sleep(time.monotonic() - started)
    return removed


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


def _scratch(place: Storage) -> int:
    """Remove files that were being received a day ago: whoever wrote them is gone, or their upload has expired."""
    count = 0
    for path in place.scratch().glob("*"):
        if path.stat().st_mtime < time.time() - HOLD_S:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            count += 1
    return count


def _folders(database: Database) -> int:
    """Remove this machine's folders of versions that were deleted on another, and of files that are gone."""
    home = load().home
    folders = {path: path.name for path in home.glob("files/file-*")}
    for kind, name in CARDS.items():
        cards = {card.parent: id_in(card.parent, kind) for card in home.glob(f"{kind}s/*/*/{name}")}
        folders |= {folder: version_id for folder, version_id in cards.items() if version_id is not None}
    # Asked after looking: what is made meanwhile was not seen, or is known.
    with database.begin() as connection:
        known = set(connection.execute(sa.union_all(sa.select(VERSIONS.c.id), sa.select(STORED_FILES.c.id))).scalars())
    gone = [folder for folder, content_id in folders.items() if content_id not in known]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)  # a second collector may be at it
    return len(gone)


def _unreferenced(database: Database) -> list[str]:
    """Candidates: what no reference shows now. The removal itself asks again."""
    referrers = (FILES.c.sha256, STORED_FILES.c.sha256, PARTS.c.sha256)
    query = sa.select(OBJECTS.c.sha256)
    for column in referrers:
        query = query.where(~sa.exists().where(column == OBJECTS.c.sha256))
    held = sa.and_(HOLDS.c.sha256 == OBJECTS.c.sha256, HOLDS.c.until > time.time())
    with database.begin() as connection:
        return list(connection.execute(query.where(~sa.exists().where(held))).scalars())
