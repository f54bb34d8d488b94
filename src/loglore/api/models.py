"""Models on offer: every version in the hub as `name@version`, and the embedded model."""

import datetime
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from loglore.api.errors import ApiError
from loglore.errors import InputError
from loglore.hub import models
from loglore.models.job import EMBEDDED, embedded_gguf

if TYPE_CHECKING:
    from loglore.api.sessions import Sessions


def canonical(reference: str | None) -> str:
    """The full name of a model: `name@version`, or the embedded model's; None stands for the newest.

    Only names, never paths: what lies elsewhere on the disk is not for callers of an API.

    Raises:
        ApiError: 404 `model_not_found`.
    """
    wanted = reference or models.newest()
    if wanted == EMBEDDED and not models.versions(EMBEDDED):
        return EMBEDDED
    try:
        found = models.find(wanted)
    except InputError as fault:
        raise ApiError(404, str(fault), "model_not_found", "model") from None
    return f"{found.name}@{found.version}"


def router(sessions: "Sessions") -> APIRouter:
    """Routes under `/v1/models`. `bytes`, `lineage`, `embedded` and `running` go beyond OpenAI's fields."""
    routes = APIRouter(prefix="/v1/models", tags=["models"])

    @routes.get("")
    def list_models() -> dict[str, Any]:
        """All models, the newest first, the embedded one last."""
        return {"object": "list", "data": _cards(sessions)}

    @routes.get("/{model}")
    def read_model(model: str) -> dict[str, Any]:
        """One model."""
        name = canonical(model)
        for card in _cards(sessions):
            if card["id"] == name:
                return card
        raise ApiError(404, f"model {model!r}: not installed", "model_not_found", "model")

    return routes


def _cards(sessions: "Sessions") -> list[dict[str, Any]]:
    versions = sorted(models.models(), key=lambda version: str(version.card["created"]), reverse=True)
    cards = [
        _card(f"{each.name}@{each.version}", str(each.card["created"]), each.card["bytes"], each.card["lineage"])
        for each in versions
    ]
    if not models.versions(EMBEDDED):
        cards += _embedded()
    return [{**card, "running": card["id"] == sessions.model} for card in cards]


def _embedded() -> list[dict[str, Any]]:
    try:
        facts = embedded_gguf().stat()
    except InputError:
        return []  # not installed: there is nothing to offer
    created = datetime.datetime.fromtimestamp(facts.st_mtime, datetime.UTC).isoformat()
    return [{**_card(EMBEDDED, created, facts.st_size, {}), "embedded": True}]


def _card(name: str, created: str, size: int, lineage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(datetime.datetime.fromisoformat(created).timestamp()),
        "owned_by": "loglore",
        "bytes": size,
        "lineage": lineage,
        "embedded": False,
    }
