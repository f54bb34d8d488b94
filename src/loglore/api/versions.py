"""`/v1/studio/models`: the hub's model versions: files and their download, cards, lineage, tags, scores."""

from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from loglore.api.answers import ERRORS
from loglore.api.datasets import TagBody, version_object
from loglore.api.errors import known, not_found
from loglore.api.files import CONTENT, attachment
from loglore.api.making import actor
from loglore.api.paging import After, Limit, cut, page
from loglore.hub import models
from loglore.hub.place import check_tag
from loglore.store import audit, scores, versions
from loglore.store.database import Database
from loglore.store.storage import BLOCK, storage
from loglore.store.versions import Version


def router(database: Database) -> APIRouter:
    """The routes; MODEL is `NAME` (the newest version), `NAME@N` or `NAME@TAG`."""
    routes = APIRouter(prefix="/v1/studio/models", tags=["models"], responses=ERRORS)

    @routes.get("")
    def list_versions(
        name: Annotated[str | None, Query(max_length=64)] = None, after: After = None, limit: Limit = 20
    ) -> dict[str, Any]:
        """Versions of all models, or of one, the newest first."""
        found = [each.row for each in (models.models(database) if name is None else models.versions(name, database))]
        found.sort(key=lambda version: version.ordinal, reverse=True)
        chosen = cut(found, [each.reference for each in found], after, limit)
        return page([model_object(each) for each in chosen], limit)

    @routes.get("/{model}")
    def read_version(model: str) -> dict[str, Any]:
        """One version with card, lineage, what was made from it, and its scores."""
        found = _find(database, model)
        made = [f"{each.kind}:{each.reference}" for each in versions.children(database, found.id)]
        scored = [vars(each) for each in scores.scores(database, found.id)]
        return {**model_object(found), "card": found.card, "children": made, "scores": scored}

    @routes.get("/{model}/files")
    def list_files(model: str) -> dict[str, Any]:
        """Its files with sizes and hashes."""
        found = versions.manifest(database, _find(database, model).id)
        data = [{"path": path, "bytes": each.bytes, "sha256": each.sha256} for path, each in found.items()]
        return {"object": "list", "data": data}

    @routes.get("/{model}/files/{path:path}", responses=CONTENT, response_class=Response)
    def download(model: str, path: str) -> Response:
        """One file; a path is one of the list, and nothing else."""
        found = versions.manifest(database, _find(database, model).id).get(path)
        if found is None:
            raise not_found(f"file {path!r} of {model}")
        stream = storage().open(found.sha256)
        return attachment(_blocks(stream), path.rpartition("/")[2], found.bytes)

    @routes.post("/{model}/tags")
    def add_tag(model: str, wish: TagBody, request: Request) -> dict[str, Any]:
        """Let a tag point at this version."""
        found = _find(database, model)
        check_tag(wish.tag)
        tagged = versions.tag(database, found, wish.tag)
        audit.audit(database, actor(request), "model.tag", found.reference, {"tag": wish.tag})
        return model_object(tagged)

    @routes.delete("/{model}/tags/{tag}")
    def remove_tag(model: str, tag: str, request: Request) -> dict[str, Any]:
        """Remove a tag."""
        found = _find(database, model)
        left = known(lambda: versions.take_off(database, found, tag))
        audit.audit(database, actor(request), "model.untag", found.reference, {"tag": tag})
        return model_object(left)

    @routes.delete("/{model}")
    def delete_version(model: str, request: Request) -> dict[str, Any]:
        """Forget one version that nothing depends on."""
        return deleted(database, model, request)

    return routes


def deleted(database: Database, model: str, request: Request) -> dict[str, Any]:
    """Delete a version of a model; OpenAI's answer to it.

    Raises:
        ApiError: 404 for one that is not there. InputError: something depends on it.
    """
    found = _find(database, model)
    models.delete(found.reference, database)
    audit.audit(database, actor(request), "model.delete", found.reference)
    return {"id": found.reference, "object": "model", "deleted": True}


def model_object(found: Version) -> dict[str, Any]:
    """A version of a model."""
    return {**version_object(found, "studio.model"), "facts": dict(found.facts)}


def _find(database: Database, model: str) -> Version:
    return known(lambda: models.find(model, database)).row


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while block := stream.read(BLOCK):
            yield block
