"""`/v1/files` and `/v1/uploads` as OpenAI has them: files stored by content, larger ones in parts that outlive a break.

    purpose             what for
    fine-tune           rows for training, datasets
    evals               items and rows for evals and test jobs (OpenAI's client sends it, its file object lacks it)
    user_data           logs to ask about, and everything else
    fine-tune-results   metrics of a fine-tuning job as CSV: `file-results-…`, read only, made when it is read

A body is streamed to the disk and hashed on the way, so memory is flat at any size.
"""

import mimetypes
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from loglore.api import fine_tuning_objects as objects
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError, known
from loglore.api.making import actor
from loglore.api.paging import After, page
from loglore.errors import InputError
from loglore.hub import files
from loglore.runs.files import read_jsonl_log
from loglore.store import audit, jobs
from loglore.store.database import Database
from loglore.store.files import Part, StoredFile, Upload
from loglore.store.jobs import Job

RESULTS = "file-results-"
BLOCK = 1 << 20
LIFE = (3600, 2_592_000)
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes.", "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
}
Purpose = Literal["fine-tune", "evals", "user_data"]


class Expiry(BaseModel):
    """When a file goes by itself: so many seconds after it was created, an hour to 30 days."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: int = Field(ge=LIFE[0], le=LIFE[1])


class CreateUpload(BaseModel):
    """OpenAI's request to begin an upload."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(min_length=1, max_length=255, examples=["app.log"])
    bytes: int = Field(ge=1, le=files.LARGEST_UPLOAD, examples=[1024])
    purpose: Purpose = "user_data"
    mime_type: str = Field("text/plain", min_length=1, max_length=200)
    expires_after: Expiry | None = None


class CompleteUpload(BaseModel):
    """OpenAI's request to complete an upload: its parts in their order, and the MD5 of the whole in hex."""

    model_config = ConfigDict(extra="forbid")

    part_ids: list[str] = Field(max_length=100_000, examples=[["part_0123456789abcdef01234567"]])
    md5: str | None = Field(None, pattern=r"^[0-9a-fA-F]{32}$")


def form(fields: dict[str, Any], file: str) -> dict[str, Any]:
    """The OpenAPI description of a body that is a form with a file."""
    content = {"type": "string", "format": "binary", "examples": ['{"text": "disk full"}\n']}
    properties = {file: content, **fields}
    schema = {"type": "object", "required": [file, *(["purpose"] if fields else [])], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


FILE_FORM = form(
    {
        "purpose": {"type": "string", "enum": ["fine-tune", "evals", "user_data"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": LIFE[0], "maximum": LIFE[1]},
    },
    "file",
)


def router(database: Database) -> APIRouter:
    """The routes under `/v1/files`."""
    routes = APIRouter(prefix="/v1/files", tags=["files"], responses=ERRORS)

    @routes.post("", openapi_extra=FILE_FORM)
    async def create_file(request: Request) -> dict[str, Any]:
        """Store a file of at most 512 MB; larger ones are uploaded in parts."""
        async with received(request) as sent:
            file = one_file(sent, "file")
            expires = _expiry(sent)
            made = await run_in_threadpool(
                lambda: files.add(
                    database, file.file, _name(file), _purpose(sent), expires_after=expires, by=actor(request)
                )
            )
        await run_in_threadpool(audit.audit, database, actor(request), "file.create", made.id, {"name": made.name})
        return file_object(made)

    @routes.get("")
    def list_files(
        purpose: Annotated[str | None, Query(max_length=40)] = None,
        after: After = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Literal["asc", "desc"] = "desc",
    ) -> dict[str, Any]:
        """Files, the newest first unless `order` says otherwise."""
        found = files.files(database, purpose, after, limit + 1, order == "desc")
        return page([file_object(each) for each in found], limit)

    @routes.get("/{file}")
    def read_file(file: str) -> dict[str, Any]:
        """What is known of a file."""
        if file.startswith(RESULTS):
            return _results_object(_job_of(database, file))
        return file_object(known(lambda: files.find(database, file)))

    @routes.get("/{file}/content", responses=CONTENT, response_class=Response)
    def read_content(file: str) -> Response:
        """A file's bytes."""
        if file.startswith(RESULTS):
            return _download(_results(_job_of(database, file)), "step_metrics.csv")
        found = known(lambda: files.find(database, file))
        stream = known(lambda: files.open_file(database, file))
        return attachment(_blocks(stream), found.name, found.bytes)

    @routes.delete("/{file}")
    def delete_file(file: str, request: Request) -> dict[str, Any]:
        """Forget a file that no job needs."""
        known(lambda: files.find(database, file))
        files.delete(database, file)
        audit.audit(database, actor(request), "file.delete", file)
        return {"id": file, "object": "file", "deleted": True}

    return routes


def uploads(database: Database) -> APIRouter:
    """The routes under `/v1/uploads`."""
    routes = APIRouter(prefix="/v1/uploads", tags=["uploads"], responses=ERRORS)

    @routes.post("")
    def begin_upload(wish: CreateUpload, request: Request) -> dict[str, Any]:
        """Announce a file that comes in parts; there is a day to complete it."""
        expires = wish.expires_after.seconds if wish.expires_after else None
        made = files.begin(
            database, _last(wish.filename), wish.purpose, wish.bytes, wish.mime_type,
            file_expires_after=expires, by=actor(request),
        )  # fmt: skip
        return upload_object(made)

    @routes.get("/{upload}")
    def read_upload(upload: str) -> dict[str, Any]:
        """One upload, with the `parts` that are complete: what need not be sent again (ours)."""
        found = known(lambda: files.find_upload(database, upload))
        return {**upload_object(found), "parts": [part_object(each) for each in files.parts(database, upload)]}

    @routes.post("/{upload}/parts", openapi_extra=form({}, "data"))
    async def add_part(upload: str, request: Request) -> dict[str, Any]:
        """Add a part of at most 64 MB; parts may come at the same time, their order is given at the end."""
        await run_in_threadpool(known, lambda: files.find_upload(database, upload))
        async with received(request) as sent:
            data = one_file(sent, "data")
            if (data.size or 0) > files.LARGEST_PART:
                raise ApiError(413, f"data: {data.size:,} bytes, a part may have {files.LARGEST_PART:,}", param="data")
            return part_object(await run_in_threadpool(files.add_part, database, upload, data.file))

    @routes.post("/{upload}/complete")
    def complete_upload(upload: str, wish: CompleteUpload, request: Request) -> dict[str, Any]:
        """Make a file of the parts; asked again, the same file."""
        known(lambda: files.find_upload(database, upload))
        done, file = files.complete(database, upload, wish.part_ids, wish.md5)
        audit.audit(database, actor(request), "file.create", file.id, {"name": file.name, "upload": upload})
        return {**upload_object(done), "file": file_object(file)}

    @routes.post("/{upload}/cancel")
    def cancel_upload(upload: str) -> dict[str, Any]:
        """Drop an upload and its parts."""
        known(lambda: files.find_upload(database, upload))
        return upload_object(files.cancel(database, upload))

    return routes


@asynccontextmanager
async def received(request: Request) -> AsyncIterator[FormData]:
    """The form of a request; its file is on disk where it is large, and gone afterwards."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(400, "expected multipart/form-data with a file", "invalid_value")
    async with request.form(max_files=1, max_fields=20) as sent:
        yield sent


def one_file(sent: FormData, field: str) -> UploadFile:
    """The file of a form. Raises ApiError 400 without one."""
    found = sent.get(field)
    if not isinstance(found, UploadFile):
        raise ApiError(400, f"{field}: expected a file", "missing_required_parameter", field)
    return found


def file_object(found: StoredFile) -> dict[str, Any]:
    """A `file`; `sha256` is ours."""
    return {
        "id": found.id,
        "object": "file",
        "bytes": found.bytes,
        "created_at": int(found.created),
        "expires_at": int(found.expires) if found.expires is not None else None,
        "filename": found.name,
        "purpose": found.purpose,
        "status": found.status,
        "status_details": None,
        "sha256": found.sha256,
    }


def upload_object(found: Upload) -> dict[str, Any]:
    """An `upload`."""
    return {
        "id": found.id,
        "object": "upload",
        "bytes": found.bytes,
        "created_at": int(found.created),
        "expires_at": int(found.expires),
        "filename": found.name,
        "purpose": found.purpose,
        "status": found.status,
        "file": None,
    }


def part_object(found: Part) -> dict[str, Any]:
    """An `upload.part`; `bytes` and `sha256` are ours."""
    return {
        "id": found.id,
        "object": "upload.part",
        "created_at": int(found.created),
        "upload_id": found.upload_id,
        "bytes": found.bytes,
        "sha256": found.sha256,
    }


def attachment(blocks: Iterator[bytes], name: str, size: int) -> Response:
    """Bytes to be saved, never to be shown: whatever is in them runs no script."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    safe = {"application/json", "text/csv", "application/octet-stream"}
    headers = {
        "Content-Disposition": disposition(name),
        "Content-Length": str(size),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    media = kind if kind in safe else "application/octet-stream"
    return StreamingResponse(blocks, media_type=media, headers=headers)


def disposition(name: str) -> str:
    r"""A header that names a file in any script, and cannot be broken out of.

    >>> disposition('a"\r\nX: 1.log')
    "attachment; filename*=UTF-8''a%22%0D%0AX%3A%201.log"
    """
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while block := stream.read(BLOCK):
            yield block


def _download(text: str, name: str) -> Response:
    content = text.encode()
    return attachment(iter([content]), name, len(content))


def _last(name: str) -> str:
    """The last part of a file name that a client sent with its folders."""
    return name.replace("\\", "/").rpartition("/")[2]


def _name(file: UploadFile) -> str:
    return _last(file.filename or "") or "file"


def _purpose(sent: FormData) -> str:
    purpose = sent.get("purpose")
    if not isinstance(purpose, str):
        raise ApiError(400, "purpose: missing", "missing_required_parameter", "purpose")
    if purpose not in files.PURPOSES or purpose == "fine-tune-results":
        text = f"purpose: {purpose[:40]!r}, expected fine-tune, evals or user_data"
        raise ApiError(400, text, "invalid_value", "purpose")
    return purpose


def _expiry(sent: FormData) -> float | None:
    anchor, seconds = sent.get("expires_after[anchor]"), sent.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    text = str(seconds)
    in_range = text.isascii() and text.isdecimal() and len(text) < 10 and LIFE[0] <= int(text) <= LIFE[1]
    if anchor != "created_at" or not in_range:
        text = f"expires_after: expected anchor created_at and {LIFE[0]} to {LIFE[1]} seconds"
        raise ApiError(400, text, "invalid_value", "expires_after")
    return float(text)


def _job_of(database: Database, file: str) -> Job:
    try:
        job = jobs.find(database, f"ftjob-{file.removeprefix(RESULTS)}")
    except InputError:
        raise ApiError(404, f"file {file!r}: no such id", "not_found") from None
    if job.state != "succeeded":
        raise ApiError(404, f"file {file!r}: job {job.id} is {job.state}", "not_found")
    return job


def _results(job: Job) -> str:
    return objects.metrics_csv(read_jsonl_log(Path(job.folder) / "metrics.jsonl"))


def _results_object(job: Job) -> dict[str, Any]:
    return {
        "id": objects.results_id(job.id),
        "object": "file",
        "bytes": len(_results(job).encode()),
        "created_at": int(job.ended or job.created),
        "filename": "step_metrics.csv",
        "purpose": "fine-tune-results",
        "status": "processed",
    }
