"""Versions of datasets and models: what each holds, where it comes from, what points at it.

A version never changes: name, number, manifest (its files by relative path) and facts are written once. Its number is
not given again after it was deleted. Tags move from version to version of one name; scores are added later and point at
it. Parents cannot be deleted while a child is there, nor anything that `uses` says is in use (a queued job's input).
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from loglore.errors import InputError, JobError
from loglore.store.database import Database, insert_if_new
from loglore.store.objects import OBJECTS, Object
from loglore.store.schema import METADATA

Kind = Literal["dataset", "model"]

NAMES = sa.Table(
    "names",
    METADATA,
    sa.Column("kind", sa.String(10), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("last_number", sa.Integer, nullable=False),
)
VERSIONS = sa.Table(
    "versions",
    METADATA,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("card", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(40)),
    sa.UniqueConstraint("kind", "name", "number", name="uq_versions_kind"),
    sa.UniqueConstraint("kind", "name", "digest", name="uq_versions_digest"),
    sa.Index("ix_versions_kind_ordinal", "kind", "ordinal"),
)
FILES = sa.Table(
    "version_files",
    METADATA,
    sa.Column("version_id", sa.ForeignKey(VERSIONS.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("path", sa.String(1000), primary_key=True),
    sa.Column("sha256", sa.ForeignKey(OBJECTS.c.sha256), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Index("ix_version_files_sha256", "sha256"),
)
PARENTS = sa.Table(
    "version_parents",
    METADATA,
    sa.Column("child_id", sa.ForeignKey(VERSIONS.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("parent_id", sa.ForeignKey(VERSIONS.c.id), primary_key=True),
    sa.Index("ix_version_parents_parent_id", "parent_id"),
)
TAGS = sa.Table(
    "tags",
    METADATA,
    sa.Column("kind", sa.String(10), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("tag", sa.String(64), primary_key=True),
    sa.Column("version_id", sa.ForeignKey(VERSIONS.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("updated", sa.Double, nullable=False),
)


@dataclass(frozen=True)
class Version:
    """One version of a named dataset or model.

    Attributes:
        id: `ver_…`.
        kind: `dataset` or `model`.
        name, number: what people call it, `name@number`; numbers start at 1.
        ordinal: counts what is added to its kind, so that the newest is known whatever the clock says.
        digest: hash of its manifest (relative paths and content hashes): the same content has the same.
        bytes: size of its files.
        facts: what its kind knows (a dataset's format and rows, a model's lineage).
        card: a text about it (Markdown), may be empty.
        created: seconds since 1970.
        created_by: key that made it, None on the command line.
        parents: ids of the versions it was made from.
        tags: names that point at it now.
    """

    id: str
    kind: Kind
    name: str
    number: int
    ordinal: int
    digest: str
    bytes: int
    facts: Mapping[str, Any]
    card: str
    created: float
    created_by: str | None
    parents: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def reference(self) -> str:
        """`name@number`."""
        return f"{self.name}@{self.number}"


@dataclass(frozen=True)
class NewVersion:
    """What `add` is given; attributes as of `Version`, and the manifest. number: None for the next one."""

    kind: Kind
    name: str
    digest: str
    manifest: Mapping[str, Object]
    facts: Mapping[str, Any]
    card: str = ""
    created: float | None = None
    created_by: str | None = None
    parents: Sequence[str] = ()
    number: int | None = None


def add(database: Database, new: NewVersion) -> Version:
    """The next version of a name, or the one that has this content; its objects must be in storage and held.

    Raises:
        InputError: a parent is not there.
        JobError: its objects were collected meanwhile, as nothing held them any more.
    """
    try:
        with database.write() as connection:
            return _add(connection, new)
    except sa.exc.IntegrityError:
        raise JobError(f"{new.kind} {new.name}: what it is made of was collected meanwhile; add it again") from None


def _add(connection: sa.Connection, new: NewVersion) -> Version:
    insert_if_new(connection, NAMES, {"kind": new.kind, "name": new.name, "last_number": 0})
    # Takes the name's row: of two that add at the same time the second goes on when the first is done.
    mine = sa.and_(NAMES.c.kind == new.kind, NAMES.c.name == new.name)
    took = NAMES.update().where(mine).values(last_number=NAMES.c.last_number).returning(NAMES.c.last_number)
    last = connection.execute(took).scalar_one()
    same = sa.and_(VERSIONS.c.kind == new.kind, VERSIONS.c.name == new.name, VERSIONS.c.digest == new.digest)
    known = connection.execute(sa.select(VERSIONS.c.id).where(same)).scalar()
    if known is not None:
        return _load(connection, VERSIONS.c.id == known)[0]
    _check_parents(connection, new.parents)
    number = _number(connection, new, last)
    connection.execute(NAMES.update().where(mine).values(last_number=max(number, last)))
    values = _values(connection, number, new)
    connection.execute(VERSIONS.insert().values(values))
    version_id = values["id"]
    files = [
        {"version_id": version_id, "path": path, "sha256": each.sha256, "bytes": each.bytes}
        for path, each in new.manifest.items()
    ]
    if files:
        connection.execute(FILES.insert(), files)
    if new.parents:
        rows = [{"child_id": version_id, "parent_id": parent} for parent in dict.fromkeys(new.parents)]
        connection.execute(PARENTS.insert(), rows)
    return _load(connection, VERSIONS.c.id == version_id)[0]


def _number(connection: sa.Connection, new: NewVersion, last: int) -> int:
    if new.number is None:
        return last + 1
    theirs = sa.and_(VERSIONS.c.kind == new.kind, VERSIONS.c.name == new.name, VERSIONS.c.number == new.number)
    taken = connection.execute(sa.select(VERSIONS.c.id).where(theirs)).scalar()
    return new.number if taken is None else last + 1


def _values(connection: sa.Connection, number: int, new: NewVersion) -> dict[str, Any]:
    before = connection.execute(sa.select(sa.func.max(VERSIONS.c.ordinal)).where(VERSIONS.c.kind == new.kind)).scalar()
    return {
        "id": f"ver_{secrets.token_hex(6)}",
        "ordinal": 1 + (before or 0),
        "kind": new.kind,
        "name": new.name,
        "number": number,
        "digest": new.digest,
        "bytes": sum(each.bytes for each in new.manifest.values()),
        "facts": json.loads(json.dumps(dict(new.facts), ensure_ascii=False).encode("utf-8", "replace")),
        "card": _storable(new.card),
        "created": time.time() if new.created is None else new.created,
        "created_by": new.created_by,
    }


def _storable(text: str) -> str:
    """A text without what PostgreSQL and UTF-8 cannot hold; a card is worth more than such a character."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def _check_parents(connection: sa.Connection, parents: Sequence[str]) -> None:
    known = set(connection.execute(sa.select(VERSIONS.c.id).where(VERSIONS.c.id.in_(parents))).scalars())
    for parent in parents:
        if parent not in known:
            raise InputError(f"parent {parent!r}: no version has this id")


def versions(
    database: Database, kind: Kind, name: str | None = None, limit: int | None = None, offset: int = 0
) -> list[Version]:
    """Versions of a kind (of one name): by name, the oldest first."""
    condition = VERSIONS.c.kind == kind
    if name is not None:
        condition = sa.and_(condition, VERSIONS.c.name == name)
    with database.begin() as connection:
        return _load(connection, condition, limit, offset)


def newest(database: Database, kind: Kind) -> Version | None:
    """The version that was added last, None while there is none."""
    latest = sa.select(VERSIONS.c.id).where(VERSIONS.c.kind == kind)
    latest = latest.order_by(VERSIONS.c.ordinal.desc(), VERSIONS.c.id.desc()).limit(1)
    with database.begin() as connection:
        found = _load(connection, VERSIONS.c.id.in_(latest.scalar_subquery()))
    return found[0] if found else None


def get(database: Database, version_id: str) -> Version:
    """A version by its id.

    Raises:
        InputError: no such version.
    """
    with database.begin() as connection:
        found = _load(connection, VERSIONS.c.id == version_id)
    if not found:
        raise InputError(f"version {version_id!r}: no such id")
    return found[0]


def find(database: Database, kind: Kind, reference: str) -> Version:
    """The version that `name` (its latest), `name@number` or `name@tag` stands for.

    Raises:
        InputError: no such name, number or tag; says which there are.
    """
    name, _, which = reference.partition("@")
    known = versions(database, kind, name)
    if not known:
        names = ", ".join(_names(database, kind)) or "none yet"
        raise InputError(f"{kind} {reference!r}: not in the hub ({names})")
    if not which:
        return known[-1]
    for version in known:
        if which == str(version.number) or which in version.tags:
            return version
    tags = sorted({tag for version in known for tag in version.tags})
    said = f" and the tags {', '.join(tags)}" if tags else ""
    numbers = f"{known[0].number} to {known[-1].number}"
    raise InputError(f"{kind} {reference!r}: {name} has versions {numbers}{said}")


def manifest(database: Database, version_id: str) -> dict[str, Object]:
    """A version's files: objects by relative path, in the order of the paths."""
    query = FILES.select().where(FILES.c.version_id == version_id).order_by(FILES.c.path)
    with database.begin() as connection:
        return {row.path: Object(row.sha256, row.bytes) for row in connection.execute(query)}


def children(database: Database, version_id: str) -> list[Version]:
    """The versions that were made from this one."""
    made = sa.select(PARENTS.c.child_id).where(PARENTS.c.parent_id == version_id)
    with database.begin() as connection:
        return _load(connection, VERSIONS.c.id.in_(made))


def remove(database: Database, version: Version) -> None:
    """Forget a version; its tags and scores go with it, its number is not given again.

    Raises:
        InputError: another version was made from it, or something uses it; names them.
    """
    from loglore.store import uses

    uses.release_ended(database)
    try:
        with database.write() as connection:
            connection.execute(VERSIONS.delete().where(VERSIONS.c.id == version.id))
    except sa.exc.IntegrityError:
        holders = [f"{each.kind} {each.reference}" for each in children(database, version.id)]
        holders += uses.holders(database, version_id=version.id)
        raise InputError(
            f"{version.kind} {version.reference}: not deleted, {', '.join(holders) or 'another version'} depends on it"
        ) from None


def raise_numbers(database: Database, kind: Kind, highest: Mapping[str, int]) -> None:
    """Let the next version of each name get a number above the one given."""
    with database.write() as connection:
        for name, number in highest.items():
            insert_if_new(connection, NAMES, {"kind": kind, "name": name, "last_number": 0})
            lower = sa.and_(NAMES.c.kind == kind, NAMES.c.name == name, NAMES.c.last_number < number)
            connection.execute(NAMES.update().where(lower).values(last_number=number))


def tag(database: Database, version: Version, name: str) -> Version:
    """Let a tag point at a version, wherever it pointed before."""
    key = {"kind": version.kind, "name": version.name, "tag": name}
    values = {"version_id": version.id, "updated": time.time()}
    with database.write() as connection:
        if not insert_if_new(connection, TAGS, {**key, **values}):
            connection.execute(
                TAGS.update().where(*(TAGS.c[column] == value for column, value in key.items())).values(values)
            )
    return get(database, version.id)


def take_off(database: Database, version: Version, name: str) -> Version:
    """Remove a tag from the version it points at.

    Raises:
        InputError: it has no such tag.
    """
    with database.begin() as connection:
        mine = sa.and_(TAGS.c.kind == version.kind, TAGS.c.version_id == version.id, TAGS.c.tag == name)
        if not connection.execute(TAGS.delete().where(mine)).rowcount:
            has = ", ".join(version.tags) or "none"
            raise InputError(f"{version.kind} {version.reference}: no tag {name!r}; it has: {has}")
    return get(database, version.id)


def _names(database: Database, kind: Kind) -> list[str]:
    query = sa.select(VERSIONS.c.name).where(VERSIONS.c.kind == kind).distinct().order_by(VERSIONS.c.name)
    with database.begin() as connection:
        return list(connection.execute(query).scalars())


def _load(
    connection: sa.Connection, condition: sa.ColumnElement[bool], limit: int | None = None, offset: int = 0
) -> list[Version]:
    query = VERSIONS.select().where(condition).order_by(VERSIONS.c.name, VERSIONS.c.number)
    rows = connection.execute(query.limit(limit).offset(offset)).mappings().all()
    ids = sa.select(VERSIONS.c.id).where(condition)
    parents: dict[str, list[str]] = {}
    for child, parent in connection.execute(
        sa.select(PARENTS.c.child_id, PARENTS.c.parent_id)
        .where(PARENTS.c.child_id.in_(ids))
        .order_by(PARENTS.c.parent_id)
    ):
        parents.setdefault(child, []).append(parent)
    tags: dict[str, list[str]] = {}
    for version_id, name in connection.execute(
        sa.select(TAGS.c.version_id, TAGS.c.tag).where(TAGS.c.version_id.in_(ids)).order_by(TAGS.c.tag)
    ):
        tags.setdefault(version_id, []).append(name)
    return [
        Version(**row, parents=tuple(parents.get(row["id"], ())), tags=tuple(tags.get(row["id"], ()))) for row in rows
    ]
