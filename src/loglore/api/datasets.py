"""`/v1/studio/datasets`: named versions of rows, made of stored files, each row checked before it is taken."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from loglore.api import addresses, inputs
from loglore.api.answers import ERRORS
from loglore.api.connections import answering, usable
from loglore.api.errors import known
from loglore.api.inputs import Named
from loglore.api.making import actor
from loglore.api.paging import After, Limit, cut, page
from loglore.api.plain import HubName
from loglore.data import files as data_files
from loglore.data.formats import Format
from loglore.hub import datasets
from loglore.hub.datasets import About
from loglore.store import audit, versions
from loglore.store.database import Database
from loglore.store.versions import Version

SHOWN_ROWS = 100
# More of a row than a page of text would tell nobody more.
LONGEST_ROW = 100_000


class CreateDataset(BaseModel):
    """The next version of a dataset, from a stored file, or from a bucket: a connection and a path in it.

    format: the row format that it must have. parents: what it was made from, `dataset:NAME@N` or `model:NAME@N`.
    card: a text about it.
    """

    model_config = ConfigDict(extra="forbid")

    name: HubName
    file: str | None = Field(None, min_length=1, max_length=100, examples=["file-0123456789abcdef01234567"])
    connection: str | None = Field(None, min_length=1, max_length=64)
    path: str | None = Field(None, min_length=1, max_length=1000)
    format: Format | None = None
    licence: str = Field("", max_length=200)
    card: str = Field("", max_length=100_000)
    parents: list[str] = Field(default_factory=list, max_length=100)

    @model_validator(mode="after")
    def _one_source(self) -> "CreateDataset":
        if (self.file is None) == (self.connection is None) or (self.connection is None) != (self.path is None):
            raise ValueError("give either `file`, or `connection` and `path`")
        return self


class TagBody(BaseModel):
    """A name that points at a version, wherever it pointed before."""

    model_config = ConfigDict(extra="forbid")

    tag: str = Field(min_length=1, max_length=64, examples=["production"])


def router(database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/studio/datasets", tags=["datasets"], responses=ERRORS)

    @routes.post("", status_code=201)
    def create_dataset(wish: CreateDataset, request: Request) -> dict[str, Any]:
        """Take a stored file as a version; the same content again is the version there is."""
        made = _made(database, wish, About(wish.licence, wish.parents, actor(request), wish.card))
        audit.audit(database, actor(request), "dataset.add", made.reference, made.facts["origin"])
        return dataset_object(made)

    @routes.get("")
    def list_datasets(
        name: Annotated[str | None, Query(max_length=64)] = None, after: After = None, limit: Limit = 20
    ) -> dict[str, Any]:
        """Versions of all datasets, or of one, the newest first."""
        found = datasets.datasets(database) if name is None else datasets.versions(database, name)
        found.sort(key=lambda version: version.ordinal, reverse=True)
        chosen = cut(found, [each.reference for each in found], after, limit)
        return page([dataset_object(each) for each in chosen], limit)

    @routes.get("/{dataset}")
    def read_dataset(dataset: str) -> dict[str, Any]:
        """One version: `NAME` is the newest, `NAME@N`, `NAME@TAG`."""
        found = known(lambda: datasets.find(database, dataset))
        return {**dataset_object(found), "files": _files(database, found), "card": found.card}

    @routes.get("/{dataset}/rows")
    def read_rows(
        dataset: str,
        first: Annotated[int, Query(ge=1, le=10**9, description="row to begin with, from 1")] = 1,
        limit: Annotated[int, Query(ge=1, le=SHOWN_ROWS)] = 20,
    ) -> dict[str, Any]:
        """Some of its rows, to look at; long texts are cut."""
        known(lambda: datasets.find(database, dataset))
        path = datasets.materialise(database, dataset)
        shown: list[dict[str, Any]] = []
        for number, (_, row) in enumerate(data_files.placed_rows(path), 1):
            if number >= first + limit:
                break
            if number >= first:
                shown.append({"row": number, "value": _cut(row)})
        return {"object": "list", "data": shown}

    @routes.post("/{dataset}/tags")
    def add_tag(dataset: str, wish: TagBody, request: Request) -> dict[str, Any]:
        """Let a tag point at this version."""
        known(lambda: datasets.find(database, dataset))
        tagged = datasets.tag(database, dataset, wish.tag)
        audit.audit(database, actor(request), "dataset.tag", tagged.reference, {"tag": wish.tag})
        return dataset_object(tagged)

    @routes.delete("/{dataset}/tags/{tag}")
    def remove_tag(dataset: str, tag: str, request: Request) -> dict[str, Any]:
        """Remove a tag."""
        left = known(lambda: datasets.untag(database, dataset, tag))
        audit.audit(database, actor(request), "dataset.untag", left.reference, {"tag": tag})
        return dataset_object(left)

    @routes.delete("/{dataset}")
    def delete_dataset(dataset: str, request: Request) -> dict[str, Any]:
        """Forget one version that nothing depends on."""
        known(lambda: datasets.find(database, dataset))
        gone = datasets.delete(database, dataset)
        audit.audit(database, actor(request), "dataset.delete", gone.reference)
        return {"id": gone.reference, "object": "studio.dataset", "deleted": True}

    return routes


def _made(database: Database, wish: CreateDataset, about: About) -> Version:
    if wish.file is not None:
        inputs.rows(database, wish.file, Named(), "file", (*inputs.PURPOSES, "user_data"))
        return datasets.add_file(database, wish.name, wish.file, wish.format, about)
    found = usable(database, str(wish.connection))
    with answering(found):
        return datasets.bring(
            database, wish.name, found.name, str(wish.path), wish.format, about, addresses.public_only()
        )


def dataset_object(found: Version) -> dict[str, Any]:
    """A version of a dataset."""
    return {**version_object(found, "studio.dataset"), **found.facts}


def version_object(found: Version, kind: str) -> dict[str, Any]:
    """What versions of datasets and models have in common."""
    return {
        "id": found.reference,
        "object": kind,
        "version_id": found.id,
        "name": found.name,
        "version": found.number,
        "created_at": int(found.created),
        "created_by": found.created_by,
        "bytes": found.bytes,
        "sha256": found.digest,
        "parents": list(found.parents),
        "tags": list(found.tags),
    }


def _files(database: Database, found: Version) -> list[dict[str, Any]]:
    return [
        {"path": path, "bytes": each.bytes, "sha256": each.sha256}
        for path, each in versions.manifest(database, found.id).items()
    ]


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_ROW else value[:LONGEST_ROW] + "…"
    if isinstance(value, list):
        return [_cut(each) for each in value]
    if isinstance(value, dict):
        return {name: _cut(each) for name, each in value.items()}
    return value
