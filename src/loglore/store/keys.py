"""API keys: `ll-<id>-<secret>`, shown once when created, kept as a hash.

The secret has 256 random bits, so one SHA-256 is enough: there is nothing to guess that a slow hash would protect. The
id in the key finds its row; the hash is compared in constant time, also when there is no such id.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store.database import Database
from loglore.store.schema import METADATA

Scope = Literal["chat", "manage"]
SCOPES: tuple[Scope, ...] = ("chat", "manage")
PREFIX = "ll"
ID_BYTES = 6

KEYS = sa.Table(
    "keys",
    METADATA,
    sa.Column("id", sa.String(12), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("tokens_per_minute", sa.Integer),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("expires", sa.Double),
    sa.Column("revoked", sa.Double),
    sa.Column("last_used", sa.Double),
)


@dataclass(frozen=True)
class Key:
    """A key as it is kept. Limits are None where there are none; times are seconds since 1970."""

    id: str
    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created: float
    expires: float | None
    revoked: float | None
    last_used: float | None

    def state(self, now: float) -> Literal["active", "revoked", "expired"]:
        """What became of it."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"

    def matches(self, text: str) -> bool:
        """Whether `text` is this key, in constant time."""
        return hmac.compare_digest(self.sha256, _hash(text))


def create(
    database: Database,
    name: str,
    scopes: Sequence[str],
    now: float,
    expires: float | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> tuple[Key, str]:
    """A new key, and its text, which cannot be read again.

    Args:
        database: where it is kept.
        name: what a person calls it; need not be unique.
        scopes: some of `SCOPES`.
        now: time of creation.
        expires: when it stops working; None never.
        requests_per_minute: 1 or more; None without limit.
        tokens_per_minute: prompt and answer together, 1 or more; None without limit.

    Raises:
        InputError: no name, an unknown scope, or a value out of range.
    """
    if not 1 <= len(name.strip()) <= 200:
        raise InputError("name of a key: expected 1 to 200 characters")
    if not scopes or set(scopes) - set(SCOPES):
        raise InputError(f"scopes {', '.join(scopes) or '(none)'}: expected some of {', '.join(SCOPES)}")
    for label, limit in (("requests", requests_per_minute), ("tokens", tokens_per_minute)):
        if limit is not None and not 1 <= limit <= 10**9:
            raise InputError(f"{label} per minute {limit}: expected 1 to 1,000,000,000")
    if expires is not None and expires <= now:
        raise InputError("a key must expire in the future")
    key_id = secrets.token_hex(ID_BYTES)
    text = f"{PREFIX}-{key_id}-{secrets.token_urlsafe(32)}"
    values: dict[str, Any] = {
        "id": key_id,
        "name": name.strip(),
        "sha256": _hash(text),
        "scopes": [scope for scope in SCOPES if scope in scopes],
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "created": now,
        "expires": expires,
    }
    with database.begin() as connection:
        connection.execute(KEYS.insert().values(values))
    return find(database, key_id), text


def keys(database: Database) -> list[Key]:
    """All keys, the oldest first."""
    with database.begin() as connection:
        rows = connection.execute(KEYS.select().order_by(KEYS.c.created, KEYS.c.id))
        return [_key(row) for row in rows.mappings()]


def find(database: Database, key_id: str) -> Key:
    """One key by its id.

    Raises:
        InputError: no such key.
    """
    with database.begin() as connection:
        row = connection.execute(KEYS.select().where(KEYS.c.id == key_id)).mappings().first()
    if row is None:
        raise InputError(f"key {key_id!r}: no such id; see `loglore keys list`")
    return _key(row)


def revoke(database: Database, key_id: str, now: float) -> Key:
    """Make a key useless for good; one that is revoked already stays as it is.

    Raises:
        InputError: no such key.
    """
    find(database, key_id)
    with database.begin() as connection:
        connection.execute(KEYS.update().where(KEYS.c.id == key_id, KEYS.c.revoked.is_(None)).values(revoked=now))
    return find(database, key_id)


def used(database: Database, times: dict[str, float]) -> None:
    """Note when keys were used last, by id."""
    with database.begin() as connection:
        for key_id, time in times.items():
            connection.execute(KEYS.update().where(KEYS.c.id == key_id).values(last_used=time))


def id_of(text: str) -> str | None:
    """The id that a key's text names, or None when it is no key of ours."""
    prefix, _, rest = text.partition("-")
    key_id, dash, secret = rest.partition("-")
    return key_id if prefix == PREFIX and dash and secret and len(key_id) == 2 * ID_BYTES else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _key(row: Any) -> Key:
    return Key(**{**row, "scopes": tuple(row["scopes"])})
