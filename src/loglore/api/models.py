"""Models on offer: what sessions serve, every version in the hub as `name@version`, and the embedded model."""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from loglore.api import versions
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError
from loglore.errors import InputError
from loglore.hub import models
from loglore.hub.place import opened
from loglore.jobs import checkpoints
from loglore.models.job import EMBEDDED, embedded_gguf
from loglore.store.database import Database

if TYPE_CHECKING:
    from loglore.api.house import House
    from loglore.api.sessions import Sessions


def canonical(reference: str | None, database: Database | None = None) -> str:
    """The full name of a model: `name@version`, the embedded model's, or a checkpoint's; None stands for the newest.

    Only names, never paths: what lies elsewhere on the disk is not for callers of an API.

    Raises:
        ApiError: 404 `model_not_found`.
    """
    wanted = reference or models.newest(database)
    if wanted == EMBEDDED and not models.versions(EMBEDDED, database):
        return EMBEDDED
    try:
        if checkpoints.NAME.fullmatch(wanted):
            _checkpoint(database, wanted)
            return wanted
        return models.find(wanted, database).row.reference
    except InputError as fault:
        raise ApiError(404, str(fault), "model_not_found", "model") from None


class Offer:
    """What `/v1/models` shows.

    Beyond OpenAI's fields: `bytes`, `lineage`, `embedded`, `running`, and of a model that a session serves `session`,
    `state` and `meta.n_ctx` (its context).
    """

    def __init__(self, house: "House", database: Database, sessions: "Sessions | None") -> None:
        self._house, self._database, self._sessions = house, database, sessions

    def cards(self) -> list[dict[str, Any]]:
        """All models: those of sessions first, then the hub's, the newest first, then the embedded one."""
        served = {card["id"]: card for card in self._house.cards()}
        if self._sessions is None:
            return list(served.values())
        cards = []
        for card in self._hub():
            live = served.pop(card["id"], {})
            running = card["id"] == self._sessions.model or bool(live)
            cards.append(
                {**card, **{name: value for name, value in live.items() if name not in card}, "running": running}
            )
        return [*served.values(), *cards]

    def find(self, model: str) -> dict[str, Any]:
        """One model. Raises ApiError 404."""
        served = [card for card in self._house.cards() if card["id"] == model]
        if self._sessions is None:
            if not served:
                raise ApiError(404, f"model {model!r}: not served here", "model_not_found", "model")
            return served[0]
        name = model if served else canonical(model, self._database)
        if not served and checkpoints.NAME.fullmatch(name):
            return _checkpoint(self._database, name)
        for card in self.cards():
            if card["id"] == name:
                return card
        raise ApiError(404, f"model {model!r}: not installed", "model_not_found", "model")

    def _hub(self) -> list[dict[str, Any]]:
        found = sorted((each.row for each in models.models(self._database)), key=lambda row: row.ordinal, reverse=True)
        cards = [_card(row.reference, row.created, row.bytes, row.facts.get("lineage", {})) for row in found]
        return cards if any(row.name == EMBEDDED for row in found) else [*cards, *_embedded()]


def router(offer: Offer, database: Database, hub: bool) -> APIRouter:
    """Routes under `/v1/models`; `hub` offers to delete a version of it."""
    routes = APIRouter(prefix="/v1/models", tags=["models"], responses=ERRORS)

    @routes.get("")
    def list_models() -> dict[str, Any]:
        """All models."""
        return {"object": "list", "data": offer.cards()}

    @routes.get("/{model:path}")
    def read_model(model: str) -> dict[str, Any]:
        """One model; its id may contain `/`."""
        return offer.find(model)

    if hub:

        @routes.delete("/{model}")
        def delete_model(model: str, request: Request) -> dict[str, Any]:
            """Delete a version of the hub, `NAME@N`, that nothing depends on."""
            return versions.deleted(database, model, request)

    return routes


def _embedded() -> list[dict[str, Any]]:
    try:
        facts = embedded_gguf().stat()
    except InputError:
        return []  # not installed: there is nothing to offer
    return [{**_card(EMBEDDED, facts.st_mtime, facts.st_size, {}), "embedded": True}]


def _checkpoint(database: Database | None, name: str) -> dict[str, Any]:
    """The card of a training job's checkpoint. Raises InputError without one."""
    with opened(database) as jobs:
        job, folder = checkpoints.find(jobs, name)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return _card(name, folder.stat().st_mtime, size, {"job": job.id, "published": job.publish})


def _card(name: str, created: float, size: int, lineage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(created),
        "owned_by": "loglore",
        "bytes": size,
        "lineage": lineage,
        "embedded": False,
    }
