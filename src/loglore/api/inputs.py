"""What a request may name as a job's input, and the files that it stands for. Never a path of the server's disk.

    file-…                    a stored file                  NAME, NAME@N, NAME@TAG    a model or dataset of the hub
    dataset:NAME@N            the same, said outright        ftjob-…:step-N            a published checkpoint
    model:NAME@N                                             log:PATH                  a log below the server's folder
    ${JOB.OUTPUT}             what an earlier job writes     org/name                  a model of Hugging Face's hub

What is named is held while the job waits and runs (`store.uses`), so that nobody deletes it meanwhile.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loglore.api import addresses
from loglore.api.errors import ApiError
from loglore.api.places import below
from loglore.data import check
from loglore.data.faults import Fault
from loglore.errors import InputError
from loglore.hub import datasets, files, models
from loglore.jobs import checkpoints
from loglore.jobs.budget import ENDPOINTS
from loglore.jobs.kinds import spec_class
from loglore.jobs.names import MODEL_KEYS, of_hugging_face
from loglore.jobs.recipes import REFERENCE
from loglore.models.job import EMBEDDED
from loglore.store.database import Database

FILE = re.compile(r"file-[0-9a-f]{24}")
PURPOSES = ("fine-tune", "evals")
# Environment variables that an endpoint's key may come from: else a caller could have any secret of the server sent.
KEY_NAMES = re.compile(r"LOGLORE_ENDPOINT_KEY(_[A-Z0-9_]+)?")
UNSAFE = {
    "allow_pickle": "weights that are pickles can run code",
    "trust_remote_code": "code that comes with a model is not run for callers of an API",
    "harness_tasks": "task files of the harness can run code",
}


@dataclass
class Named:
    """What a request named: `versions` and `stored` are ids to hold for the job."""

    versions: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)


def model(database: Database, reference: str, named: Named, param: str = "model") -> str:
    """What a job is given for a model: the folder or file of one of the hub or the embedded model, or a pinned name.

    Of a checkpoint, and of a model of Hugging Face's hub, the job makes a folder when it runs (`jobs.names`).

    Raises:
        ApiError: 404 `model_not_found`.
    """
    name = reference.removeprefix("model:")
    if elsewhere := of_hugging_face(name):
        return elsewhere
    if name == EMBEDDED and not models.versions(EMBEDDED, database):
        return str(models.resolve(EMBEDDED, database))
    try:
        if checkpoints.NAME.fullmatch(name):
            checkpoints.find(database, name)
            return name
        found = models.find(name, database)
        named.versions.append(found.row.id)
        # By number: a name alone could be a file in the server's working directory.
        return str(_one_file(models.resolve(found.row.reference, database)))
    except InputError as fault:
        raise ApiError(404, f"{param}: {fault}", "model_not_found", param) from None


def rows(database: Database, reference: str, named: Named, param: str, purposes: Sequence[str] = PURPOSES) -> Path:
    """The file of rows of a stored file or a dataset.

    Raises:
        ApiError: 404, it is not there; 400, a file of another purpose.
    """
    if not reference.startswith("file-"):
        return _dataset(database, reference.removeprefix("dataset:"), named, param)
    try:
        found = files.find(database, reference)
    except InputError as fault:
        raise ApiError(404, f"{param}: {fault}", "not_found", param) from None
    if found.purpose not in purposes:
        text = f"{param}: {reference} has the purpose {found.purpose!r}, expected {' or '.join(map(repr, purposes))}"
        raise ApiError(400, text, "invalid_purpose", param)
    named.stored.append(found.id)
    return files.local_path(database, found.id)


def check_rows(path: Path, name: str, formats: Sequence[str], param: str) -> int:
    """Look at every row of a file before a job is queued; returns how many there are.

    Args:
        path: the file.
        name: what the caller knows it by.
        formats: row formats that will do.
        param: field of the request, for the error.

    Raises:
        ApiError: 400 with the first bad row.
    """

    def stop(fault: Fault) -> None:
        where = f"`{fault.field}`: " if fault.field else ""
        raise ApiError(400, f"{param}: {name}: row {fault.row}: {where}{fault.message}", "invalid_file", param)

    try:
        (report,) = check.check([check.Input(str(path), "train")], near_duplicates=False, on_error=stop).files
    except InputError as fault:
        text = str(fault).replace(str(path), name)
        raise ApiError(400, f"{param}: {text}", "invalid_file", param) from None
    if not report.rows:
        raise ApiError(400, f"{param}: {name}: no rows", "invalid_file", param)
    wrong = [kind for kind, count in report.formats.items() if count and kind not in formats]
    if wrong:
        row = _first_of(path, wrong[0])
        text = f"{param}: {name}: row {row}: a {wrong[0]} row, expected {', '.join(formats)}"
        raise ApiError(400, text, "invalid_file_format", param)
    return report.rows


def spec(database: Database, kind: str, values: Mapping[str, Any], logs: Path | None, named: Named) -> dict[str, Any]:
    """A job's values with what they name as paths.

    Args:
        database: of hub and jobs.
        kind: of job.
        values: of its spec, as the caller sent them.
        logs: folder whose files may be named as `log:PATH`; None for none.
        named: takes the ids to hold.

    Raises:
        ApiError, InputError: an unknown kind or key, something that is not there or that callers may not name.
    """
    fields = spec_class(kind, "kind").model_fields
    # Looked at first: a caller learns nothing else of a job that would be sent elsewhere.
    found = {key: endpoints(values[key], f"spec.{key}") for key in ENDPOINTS if key in values}
    for key, value in values.items():
        if key in UNSAFE and value:
            raise ApiError(400, f"spec.{key}: not through the API: {UNSAFE[key]}", "not_allowed", f"spec.{key}")
        annotation = str(fields[key].annotation) if key in fields else ""
        if key not in ENDPOINTS:
            names = "Path" in annotation or (key == "model" and kind == "import")
            found[key] = _named(database, key, value, logs, named) if names else value
    return found


def endpoints(value: Any, param: str) -> Any:
    """An endpoint, or several, as the job is given them: it connects to public addresses only, if the server says so.

    Raises:
        ApiError: 400, an address or a variable that callers may not use.
    """
    if isinstance(value, list):
        return [endpoints(each, param) for each in value]
    if not isinstance(value, Mapping):
        return value
    addresses.check(str(value.get("url", "")), f"{param}.url")
    name = value.get("key_env")
    if name is not None and not KEY_NAMES.fullmatch(str(name)):
        text = f"{param}.key_env: {name!r}: expected LOGLORE_ENDPOINT_KEY, or a name that begins with it and `_`"
        raise ApiError(400, text, "not_allowed", f"{param}.key_env")
    return {**value, "public_only": True} if addresses.public_only() else dict(value)


def _named(database: Database, key: str, value: Any, logs: Path | None, named: Named) -> Any:
    if isinstance(value, Mapping):
        return {name: _named(database, key, part, logs, named) for name, part in value.items()}
    if isinstance(value, list):
        return [_named(database, key, part, logs, named) for part in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text, param = str(value), f"spec.{key}"
    if REFERENCE.fullmatch(text):
        return text
    if text.startswith("log:"):
        found = below(logs, text.removeprefix("log:")) if logs is not None else None
        if found is None:
            raise ApiError(404, f"{param}: {text!r}: no such log", "not_found", param)
        return str(found)
    if text.startswith("file-"):
        purposes = (*PURPOSES, "user_data") if key in ("logs", "chunks", "held_out", "prompt") else PURPOSES
        return str(rows(database, text, named, param, purposes))
    if text.startswith("model:") or (key in MODEL_KEYS and not text.startswith("dataset:")):
        return model(database, text, named, param)
    return str(rows(database, text, named, param))


def _one_file(folder: Path) -> Path:
    """The GGUF file of a version that is nothing else, else the folder."""
    found = list(folder.glob("*.gguf")) if not (folder / "config.json").exists() else []
    return found[0] if len(found) == 1 else folder


def _dataset(database: Database, reference: str, named: Named, param: str) -> Path:
    try:
        found = datasets.find(database, reference)
        named.versions.append(found.id)
        return datasets.materialise(database, found.reference)
    except InputError as fault:
        raise ApiError(404, f"{param}: {fault}", "not_found", param) from None


def _first_of(path: Path, kind: str) -> int:
    from loglore.data.files import placed_rows
    from loglore.data.formats import detect

    return next(place.row for place, row in placed_rows(path) if detect(row) == kind)
