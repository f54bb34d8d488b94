"""`/v1/studio/connections`: buckets on S3 with their keys. A secret goes in and never comes out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from loglore.api import addresses
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError, known
from loglore.api.making import actor
from loglore.api.plain import HubName
from loglore.hub import connections
from loglore.hub.connections import AwayError
from loglore.store import audit
from loglore.store.connections import Connection, Secret
from loglore.store.database import Database


class CreateConnection(BaseModel):
    """A bucket: `endpoint` is the URL of an S3 service, Amazon's without one."""

    model_config = ConfigDict(extra="forbid")

    name: HubName
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", examples=["logs"])
    key_id: str = Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")
    secret: SecretStr = Field(min_length=1, max_length=1000)
    endpoint: str | None = Field(None, max_length=500, examples=["https://s3.example.com"])
    region: str | None = Field(None, pattern=r"^[a-z0-9-]{1,60}$")


def router(database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/studio/connections", tags=["connections"], responses=ERRORS)

    @routes.post("", status_code=201)
    def create_connection(wish: CreateConnection, request: Request) -> dict[str, Any]:
        """Keep a connection; its endpoint must be a public address unless the server's settings allow others."""
        if wish.endpoint is not None:
            addresses.check(wish.endpoint, "endpoint")
        made = connections.add(
            database, wish.name, wish.bucket, wish.key_id, Secret(wish.secret.get_secret_value()),
            endpoint=wish.endpoint, region=wish.region, by=actor(request),
        )  # fmt: skip
        audit.audit(database, actor(request), "connection.add", made.id, {"name": made.name, "bucket": made.bucket})
        return _object(made)

    @routes.get("")
    def list_connections() -> dict[str, Any]:
        """All connections, without their secrets."""
        return {"object": "list", "data": [_object(each) for each in connections.connections(database)]}

    @routes.get("/{connection}")
    def read_connection(connection: str) -> dict[str, Any]:
        """One connection by name or id, without its secret."""
        return _object(known(lambda: connections.find(database, connection)))

    @routes.get("/{connection}/objects")
    def list_objects(
        connection: str,
        prefix: Annotated[str, Query(max_length=1000)] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """What is in the bucket, by name and size."""
        found = usable(database, connection)
        with answering(found):
            return {
                "object": "list",
                "data": connections.look(database, found.name, prefix, limit, addresses.public_only()),
            }

    @routes.delete("/{connection}")
    def delete_connection(connection: str, request: Request) -> dict[str, Any]:
        """Forget a connection and its secret."""
        gone = known(lambda: connections.delete(database, connection))
        audit.audit(database, actor(request), "connection.delete", gone.id, {"name": gone.name})
        return {"id": gone.id, "object": "studio.connection", "deleted": True}

    return routes


def usable(database: Database, name: str) -> Connection:
    """A connection whose endpoint is still a public address: its name may have another one by now.

    Raises:
        ApiError: 404 unknown, 400 an address that the server's settings do not allow.
    """
    found = known(lambda: connections.find(database, name))
    if found.endpoint is not None:
        addresses.check(found.endpoint, "connection")
    return found


@contextmanager
def answering(found: Connection) -> Iterator[None]:
    """A service that does not answer is the fault of who named it, not of this server: 400, and not 503."""
    try:
        yield
    except AwayError as fault:
        raise ApiError(400, str(fault), "connection_unavailable", "connection") from None


def _object(found: Connection) -> dict[str, Any]:
    shown = {name: value for name, value in vars(found).items() if name != "created"}
    return {**shown, "object": "studio.connection", "created_at": int(found.created)}
