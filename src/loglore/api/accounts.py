"""`/v1/studio/keys`, `/v1/studio/costs`, `/v1/studio/audit`: who may call, what it cost, who did what."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from loglore.api.answers import ERRORS
from loglore.api.errors import known
from loglore.api.making import actor
from loglore.api.paging import Limit
from loglore.api.wishes import Strict
from loglore.settings import load
from loglore.store import audit, costs, keys
from loglore.store.database import Database
from loglore.store.keys import Key


class CreateKey(Strict):
    """A key to be made. expires_in: seconds; limits are a minute's."""

    name: str = Field(min_length=1, max_length=200, pattern=r"\S", examples=["ci"])
    scopes: list[keys.Scope] = Field(["chat"], min_length=1, max_length=2)
    requests_per_minute: int | None = Field(None, ge=1, le=10**9)
    tokens_per_minute: int | None = Field(None, ge=1, le=10**9)
    expires_in: float | None = Field(None, gt=0, le=10**10)


def router(database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/studio", tags=["accounts"], responses=ERRORS)

    @routes.post("/keys", status_code=201)
    def create_key(wish: CreateKey, request: Request) -> dict[str, Any]:
        """Make a key; `key` is its text, shown this once."""
        now = time.time()
        expires = None if wish.expires_in is None else now + wish.expires_in
        made, text = keys.create(
            database, wish.name, wish.scopes, now, expires, wish.requests_per_minute, wish.tokens_per_minute
        )
        audit.audit(database, actor(request), "key.create", made.id, {"name": made.name, "scopes": list(made.scopes)})
        return {**_object(made), "key": text}

    @routes.get("/keys")
    def list_keys() -> dict[str, Any]:
        """All keys, never their text."""
        return {"object": "list", "data": [_object(each) for each in keys.keys(database)]}

    @routes.delete("/keys/{key}")
    def revoke_key(key: str, request: Request) -> dict[str, Any]:
        """Make a key useless for good, within a second."""
        revoked = known(lambda: keys.revoke(database, key, time.time()))
        audit.audit(database, actor(request), "key.revoke", revoked.id, {"name": revoked.name})
        return _object(revoked)

    @routes.get("/costs")
    def read_costs(
        month: Annotated[str | None, Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", examples=["2026-11"])] = None,
    ) -> dict[str, Any]:
        """What jobs cost by month, key and kind; `budget` is what all may cost in a month, null without limit."""
        now = costs.month_of(time.time())
        rows = [vars(each) for each in costs.by_month(database, month)]
        spent = {"month": now, "dollars": costs.spent(database, now)}
        return {"object": "list", "data": rows, "this_month": spent, "budget": load().budget}

    @routes.get("/audit")
    def read_audit(
        limit: Limit = 100,
        before: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
        target: Annotated[str | None, Query(max_length=300)] = None,
    ) -> dict[str, Any]:
        """Who did what, the newest first; `before` the number of an entry goes further back."""
        found = audit.entries(database, limit + 1, before, target)
        return {"object": "list", "data": [vars(each) for each in found[:limit]], "has_more": len(found) > limit}

    return routes


def _object(found: Key) -> dict[str, Any]:
    shown = {name: value for name, value in vars(found).items() if name not in ("sha256", "scopes")}
    return {**shown, "object": "studio.key", "scopes": list(found.scopes), "state": found.state(time.time())}
