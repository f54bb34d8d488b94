"""Connections to buckets on S3. The secret has a table of its own that nothing but `secret` reads.

So no list, card, log line or answer of an API can hold it by accident. It is sealed with a key that is not in the
database (`sealing`): a copy of the database alone tells nobody.
"""

import secrets
import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store import sealing
from loglore.store.database import Database
from loglore.store.schema import METADATA

CONNECTIONS = sa.Table(
    "connections",
    METADATA,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("endpoint", sa.String(500)),
    sa.Column("region", sa.String(60)),
    sa.Column("bucket", sa.String(255), nullable=False),
    sa.Column("key_id", sa.String(200), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(40)),
    sa.UniqueConstraint("name", name="uq_connections_name"),
)
SECRETS = sa.Table(
    "connection_secrets",
    METADATA,
    sa.Column("connection_id", sa.ForeignKey(CONNECTIONS.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class Connection:
    """A bucket and how to reach it, without the secret.

    Attributes:
        id: `conn_…`.
        name: what people call it, unique.
        endpoint: URL of the S3 service, None for Amazon's.
        region: None for the service's default.
        bucket: name of the bucket.
        key_id: access key id; not secret.
        created: seconds since 1970.
        created_by: key that made it, None on the command line.
    """

    id: str
    name: str
    endpoint: str | None
    region: str | None
    bucket: str
    key_id: str
    created: float
    created_by: str | None


@dataclass(frozen=True)
class Secret:
    """A secret that does not show when it is printed."""

    value: str = field(repr=False)


def add(
    database: Database,
    name: str,
    bucket: str,
    key_id: str,
    secret: Secret,
    endpoint: str | None = None,
    region: str | None = None,
    by: str | None = None,
) -> Connection:
    """Keep a connection; arguments as the attributes of `Connection`, already checked (`hub.connections.add`).

    Raises:
        InputError: the name is taken, or the key that other secrets were sealed with is not here.
    """
    _check_key(database)
    sealed = sealing.seal(secret.value)
    made = Connection(f"conn_{secrets.token_hex(6)}", name, endpoint, region, bucket, key_id, time.time(), by)
    try:
        with database.begin() as connection:
            connection.execute(CONNECTIONS.insert().values(vars(made)))
            connection.execute(SECRETS.insert().values(connection_id=made.id, sealed=sealed))
    except sa.exc.IntegrityError:
        raise InputError(f"connection {name!r}: there is one of this name; delete it first") from None
    return made


def connections(database: Database) -> list[Connection]:
    """All connections by name."""
    with database.begin() as connection:
        rows = connection.execute(CONNECTIONS.select().order_by(CONNECTIONS.c.name))
        return [Connection(**row) for row in rows.mappings()]


def find(database: Database, name: str) -> Connection:
    """A connection by its name or id.

    Raises:
        InputError: no such connection; says which there are.
    """
    for each in connections(database):
        if name in (each.name, each.id):
            return each
    names = ", ".join(each.name for each in connections(database)) or "none yet"
    raise InputError(f"connection {name!r}: no such name; there are: {names}")


def secret(database: Database, connection_id: str) -> Secret:
    """The secret of a connection, for the one who is about to connect.

    Raises:
        InputError: the key that it was sealed with is not here.
    """
    query = sa.select(SECRETS.c.sealed).where(SECRETS.c.connection_id == connection_id)
    with database.begin() as connection:
        sealed = connection.execute(query).scalar_one()
    return Secret(sealing.opened(sealed))


def reseal(database: Database) -> int:
    """Seal all secrets again, with the first of the keys that are here; returns how many there are.

    Raises:
        InputError: a key that one of them was sealed with is not here; nothing was changed.
    """
    with database.write() as connection:
        rows = connection.execute(SECRETS.select().with_for_update()).all()
        for row in rows:
            again = sealing.seal(sealing.opened(row.sealed))
            connection.execute(
                SECRETS.update().where(SECRETS.c.connection_id == row.connection_id).values(sealed=again)
            )
    return len(rows)


def make_key(database: Database) -> bool:
    """Make the key of secrets where there are none yet and it is missing; whether it was made."""
    with database.begin() as connection:
        first = connection.execute(sa.select(SECRETS.c.sealed).limit(1)).scalar()
    return first is None and sealing.make_key()


def _check_key(database: Database) -> None:
    """Have a key that opens what is there: secrets sealed with different keys would be lost to each other's owners."""
    make_key(database)
    with database.begin() as connection:
        first = connection.execute(sa.select(SECRETS.c.sealed).limit(1)).scalar()
    if first is not None:
        sealing.opened(first)


def remove(database: Database, name: str) -> Connection:
    """Forget a connection and its secret.

    Raises:
        InputError: no such connection.
    """
    found = find(database, name)
    with database.begin() as connection:
        connection.execute(CONNECTIONS.delete().where(CONNECTIONS.c.id == found.id))
    return found
