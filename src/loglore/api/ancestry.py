"""`/v1/studio/lineage`: what a version was made from, and what was made from it, as a graph."""

from typing import Any, Literal

from fastapi import APIRouter

from loglore.api.answers import ERRORS
from loglore.api.errors import known
from loglore.store import versions
from loglore.store.database import Database
from loglore.store.versions import Version

# Of a picture: more nodes would not be read.
MOST = 60


def router(database: Database) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/studio/lineage", tags=["models"], responses=ERRORS)

    @routes.get("/{kind}/{reference}")
    def read_lineage(kind: Literal["dataset", "model"], reference: str) -> dict[str, Any]:
        """All ancestors of a version and all that descends from it: `nodes` and `edges` (from parent to child)."""
        start = known(lambda: versions.find(database, kind, reference))
        found = {start.id: start}
        edges: set[tuple[str, str]] = set()
        _walk_up(database, start, found, edges)
        _walk_down(database, start, found, edges)
        nodes = [{"id": each.id, "kind": each.kind, "name": each.reference} for each in found.values()]
        kept = sorted((one, two) for one, two in edges if one in found and two in found)
        return {"object": "studio.lineage", "of": start.id, "nodes": nodes, "edges": kept, "most": MOST}

    return routes


def _walk_up(database: Database, start: Version, found: dict[str, Version], edges: set[tuple[str, str]]) -> None:
    waiting = [start]
    while waiting and len(found) < MOST:
        each = waiting.pop(0)
        for parent in each.parents:
            edges.add((parent, each.id))
            if parent not in found:
                found[parent] = versions.get(database, parent)
                waiting.append(found[parent])


def _walk_down(database: Database, start: Version, found: dict[str, Version], edges: set[tuple[str, str]]) -> None:
    waiting = [start]
    while waiting and len(found) < MOST:
        each = waiting.pop(0)
        for child in versions.children(database, each.id):
            edges.add((each.id, child.id))
            if child.id not in found:
                found[child.id] = child
                waiting.append(child)
