"""Buckets that datasets are brought from, by named connections whose secret nothing shows.

An endpoint is checked to be a URL here. Whoever acts for a caller of the API says `public_only`: then nothing connects
to an address of this machine or a private network, wherever the endpoint's name leads by now.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from loglore.endpoint import addresses
from loglore.errors import InputError, UnavailableError
from loglore.hub.place import check_name
from loglore.store import connections as rows
from loglore.store.connections import Connection, Secret
from loglore.store.database import Database
from loglore.store.storage import check_room, writing_to

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class AwayError(UnavailableError):
    """The service of a connection does not answer."""


def add(
    database: Database,
    name: str,
    bucket: str,
    key_id: str,
    secret: Secret,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    by: str | None = None,
) -> Connection:
    """Keep a connection under a name.

    Args:
        database: where the hub is.
        name: lower-case letters, digits, `.`, `_`, `-`; at most 64.
        bucket: name of the bucket, 3 to 63 characters.
        key_id: access key id.
        secret: its secret, at most 1,000 characters.
        endpoint: URL of the S3 service; None for Amazon's.
        region: None for the service's default.
        by: id of the key that adds it.

    Raises:
        InputError: one of them is impossible, the name is taken, or the key that secrets are sealed with is not here.
            The secret is in no message.
    """
    check_name("connection", name)
    if not BUCKET.fullmatch(bucket):
        raise InputError(f"bucket {bucket[:100]!r}: expected 3 to 63 lower-case letters, digits, `.`, `-`")
    for label, value, longest in (("key id", key_id, 200), ("secret", secret.value, 1000), ("region", region, 60)):
        if value is not None and not (1 <= len(value) <= longest and value.isascii() and value.isprintable()):
            raise InputError(f"{label}: expected 1 to {longest} printable ASCII characters")
    if endpoint is not None:
        _check_endpoint(endpoint)
    return rows.add(database, name, bucket, key_id, secret, endpoint, region, by)


def connections(database: Database) -> list[Connection]:
    """All connections by name, without secrets."""
    return rows.connections(database)


def find(database: Database, name: str) -> Connection:
    """A connection by its name or id; raises InputError for an unknown one."""
    return rows.find(database, name)


def delete(database: Database, name: str) -> Connection:
    """Forget a connection and its secret; raises InputError for an unknown one."""
    return rows.remove(database, name)


def look(
    database: Database, name: str, prefix: str = "", limit: int = 1000, public_only: bool = False
) -> list[dict[str, Any]]:
    """What is in the bucket below a prefix: `name` and `bytes` of at most `limit` objects.

    Raises:
        InputError: no such connection, access denied, or no such bucket.
        AwayError: the service does not answer.
    """
    found = rows.find(database, name)
    with _system(database, found, public_only) as system:
        objects = system.find(f"{found.bucket}/{prefix}", detail=True, maxdepth=None)
    listed = sorted(objects.items())[:limit]
    return [{"name": key.removeprefix(f"{found.bucket}/"), "bytes": int(info["size"])} for key, info in listed]


def bring(database: Database, name: str, key: str, folder: Path, public_only: bool = False) -> Path:
    """Copy an object, or all objects below a prefix, into `folder`; returns the file, or the folder of many.

    Raises:
        InputError: no such connection, or nothing there.
        DiskFullError: no room for it.
        AwayError: the service does not answer.
    """
    found = rows.find(database, name)
    key = key.strip("/")
    with _system(database, found, public_only) as system, writing_to(str(folder)):
        objects = {each: int(info["size"]) for each, info in system.find(f"{found.bucket}/{key}", detail=True).items()}
        if not objects:
            raise InputError(f"connection {found.name}: nothing at {key!r} in bucket {found.bucket}")
        check_room(folder, sum(objects.values()))
        for each in sorted(objects):
            inner = PurePosixPath(each.removeprefix(f"{found.bucket}/{key}").lstrip("/") or PurePosixPath(each).name)
            if ".." in inner.parts:
                raise InputError(f"connection {found.name}: object {each!r} points outside its folder")
            target = folder / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(each, str(target))
    return folder / PurePosixPath(key).name if list(objects) == [f"{found.bucket}/{key}"] else folder


@contextmanager
def _system(database: Database, found: Connection, public_only: bool) -> Iterator[Any]:
    """The bucket's file system; not kept in fsspec's cache of instances, which would keep the secret, too."""
    try:
        import s3fs
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:
        raise InputError("connections to S3 need the extra s3: pip install 'loglore[s3]'") from None
    where = {"endpoint_url": found.endpoint, "region_name": found.region}
    # A proxy of the environment would resolve the name itself.
    guarded = {"proxies": {}, "connector_args": {"socket_factory": addresses.socket_for}}
    try:
        system = s3fs.S3FileSystem(
            key=found.key_id,
            secret=rows.secret(database, found.id).value,
            client_kwargs={name: value for name, value in where.items() if value is not None},
            config_kwargs=guarded if public_only else {},
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        if public_only:
            system.retries = 1  # botocore tries again what may succeed, and a refusal never does
        yield system
    except FileNotFoundError:
        raise InputError(f"connection {found.name}: no such bucket or object in {found.bucket}") from None
    except PermissionError as fault:
        raise InputError(f"connection {found.name}: access denied: {fault}") from None
    except (BotoCoreError, ClientError) as fault:
        raise AwayError(f"connection {found.name}: {fault}") from None


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username or parts.password or parts.query or not endpoint.isprintable() or " " in endpoint:
        raise InputError("endpoint: expected an http or https URL without user name, password and query")
    if len(endpoint) > 500:
        raise InputError("endpoint: expected at most 500 characters")
