"""Logs that a browser or program sends, in parts (OpenAI's `/v1/uploads`), so that size is bounded by the disk alone.

They are for questions, not for keeping: they lie in a folder that goes away with the server.
"""

import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from pydantic import BaseModel, Field

from loglore.api.errors import ApiError, not_found

# As OpenAI documents them for uploads.
LARGEST_PART = 64 * 1024 * 1024
LARGEST_UPLOAD = 8 * 1024**3
LIFETIME_S = 3600


@dataclass
class Upload:
    """An upload in progress: declared size and name, and the parts that came."""

    id: str
    name: str
    size: int
    created: int
    status: str = "pending"
    parts: dict[str, Path] = field(default_factory=dict)


class Uploads:
    """The uploads and files of one server. `folder` holds `<id>/<name>` for files, `<id>/<part>` for parts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uploads: dict[str, Upload] = {}
        self._files: dict[str, Path] = {}

    def create(self, name: str, size: int) -> Upload:
        """Begin an upload of `size` bytes."""
        upload = Upload(f"upload_{secrets.token_hex(12)}", name, size, int(time.time()))
        (self._folder / upload.id).mkdir(parents=True)
        self._uploads[upload.id] = upload
        return upload

    def pending(self, key: str) -> Upload:
        """The upload, while parts can be added.

        Raises:
            ApiError: 404 unknown; 400 already completed or cancelled.
        """
        upload = self._uploads.get(key)
        if upload is None:
            raise not_found(f"upload {key!r}")
        if upload.status != "pending":
            raise ApiError(400, f"upload {key} is {upload.status}", "upload_not_pending")
        return upload

    def part_path(self, upload: Upload) -> tuple[str, Path]:
        """Id and path of the next part."""
        key = f"part_{secrets.token_hex(12)}"
        return key, self._folder / upload.id / key

    def complete(self, upload: Upload, order: list[str]) -> str:
        """Join the parts in this order into a file; returns its id.

        Raises:
            ApiError: 400 for an unknown part, or when the bytes are not as many as declared.
        """
        unknown = [key for key in order if key not in upload.parts]
        if unknown:
            raise ApiError(400, f"upload {upload.id} has no part {unknown[0]!r}", param="part_ids")
        found = sum(upload.parts[key].stat().st_size for key in order)
        if found != upload.size:
            raise ApiError(
                400, f"upload {upload.id}: {found} bytes in its parts, {upload.size} declared", param="bytes"
            )
        key = f"file-{secrets.token_hex(12)}"
        target = self._folder / key / safe_name(upload.name)
        target.parent.mkdir()
        with target.open("wb") as joined:
            for part in order:
                with upload.parts[part].open("rb") as stream:
                    shutil.copyfileobj(stream, joined)
                upload.parts[part].unlink()
        shutil.rmtree(self._folder / upload.id)
        upload.status = "completed"
        self._files[key] = target
        return key

    def cancel(self, upload: Upload) -> None:
        """Forget an upload and its parts."""
        shutil.rmtree(self._folder / upload.id)
        upload.status = "cancelled"

    def path(self, key: str) -> Path:
        """Where a completed file lies.

        Raises:
            ApiError: 404 unknown.
        """
        if key not in self._files:
            raise not_found(f"file {key!r}")
        return self._files[key]


@contextmanager
def stored() -> Iterator[Uploads]:
    """Uploads in a temporary folder that is removed at the end."""
    with TemporaryDirectory(prefix="loglore-uploads-") as folder:
        yield Uploads(Path(folder))


def safe_name(name: str) -> str:
    """The last part of a file name, with what is not a word character, `.`, `-` or space replaced by `_`.

    The ending stays, because it says how a log is compressed.
    """
    last = re.split(r"[/\\]", name)[-1]
    clean = re.sub(r"[^\w.\- ]", "_", last).lstrip(".").strip()
    return clean[-100:].lstrip(". ") or "log"


class CreateUpload(BaseModel):
    """As OpenAI's request to create an upload."""

    filename: str = Field(min_length=1, max_length=1000)
    bytes: int = Field(ge=0, le=LARGEST_UPLOAD)
    purpose: str = "user_data"
    mime_type: str = "text/plain"


class CompleteUpload(BaseModel):
    """As OpenAI's request to complete an upload."""

    part_ids: list[str]


def router(uploads: Uploads) -> APIRouter:
    """Routes under `/v1/uploads`, as the official client calls them."""
    routes = APIRouter(prefix="/v1/uploads", tags=["uploads"])

    @routes.post("")
    def create(wish: CreateUpload) -> dict[str, Any]:
        """Begin an upload."""
        return _shown(uploads.create(wish.filename, wish.bytes), wish.purpose)

    @routes.post("/{key}/parts")
    def add_part(key: str, data: Annotated[UploadFile, File()]) -> dict[str, Any]:
        """Add a part; the order is given when the upload is completed."""
        upload = uploads.pending(key)
        if (data.size or 0) > LARGEST_PART:
            raise ApiError(413, f"a part may have {LARGEST_PART} bytes at most, this one has {data.size}", param="data")
        part, path = uploads.part_path(upload)
        with path.open("wb") as target:
            shutil.copyfileobj(data.file, target)
        upload.parts[part] = path
        return {"id": part, "object": "upload.part", "created_at": int(time.time()), "upload_id": key}

    @routes.post("/{key}/complete")
    def complete(key: str, wish: CompleteUpload) -> dict[str, Any]:
        """Join the parts; the answer's `file.id` names the log in questions."""
        upload = uploads.pending(key)
        file = uploads.complete(upload, wish.part_ids)
        card = {
            "id": file,
            "object": "file",
            "bytes": upload.size,
            "created_at": int(time.time()),
            "filename": uploads.path(file).name,
            "purpose": "user_data",
            "status": "processed",
        }
        return {**_shown(upload), "file": card}

    @routes.post("/{key}/cancel")
    def cancel(key: str) -> dict[str, Any]:
        """Drop an upload and its parts."""
        upload = uploads.pending(key)
        uploads.cancel(upload)
        return _shown(upload)

    return routes


def _shown(upload: Upload, purpose: str = "user_data") -> dict[str, Any]:
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.size,
        "created_at": upload.created,
        "expires_at": upload.created + LIFETIME_S,
        "filename": upload.name,
        "purpose": purpose,
        "status": upload.status,
    }
