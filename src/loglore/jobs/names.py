"""What a value of a spec stands for that is no path: the one place that knows names of models and datasets.

    NAME, NAME@N, NAME@TAG    a version of the hub              smollm2-135m-instruct    the embedded model
    ftjob-…:step-N            a checkpoint of a training job     org/name, hf:org/name    a model of Hugging Face's hub

When a job is queued its names are pinned (`Pins`): to the version that they stand for now, or to what needs no look at
a disk to be recognised (`hf:…`), so that no folder of a worker can take the place of a name. When it runs they become
folders and files of this machine (`found`), fetched where they are not there.
"""

import re
from pathlib import Path

from loglore.hub.place import NAME, opened
from loglore.jobs import checkpoints
from loglore.models.job import EMBEDDED
from loglore.store import versions
from loglore.store.database import Database

# Keys of specs whose names are models; names under other keys that take paths are datasets.
MODEL_KEYS = ("model", "adapter", "gguf", "tokenizer")
# Those of them that may be folders of Hugging Face's hub: what is fetched from there has no GGUF.
HUGGING_FACE_KEYS = ("model", "adapter", "tokenizer")
HUGGING_FACE = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PREFIX = "hf:"


def of_hugging_face(value: str) -> str | None:
    """`hf:org/name` for a model of Hugging Face's hub, named with the prefix or without; None for another text."""
    return PREFIX + name if HUGGING_FACE.fullmatch(name := value.removeprefix(PREFIX)) else None


def is_pinned(value: str) -> bool:
    """Whether a value is a name by its look alone: no path is looked for."""
    return value.startswith(PREFIX) or checkpoints.NAME.fullmatch(value) is not None


class Pins:
    """Names of a spec that is queued; `versions` are the ids of those of the hub, to be held for the job."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.versions: list[str] = []

    def __call__(self, key: str, value: str) -> str | None:
        """What stands for a value in the queue; None when it is no name of anything.

        Raises:
            InputError: a name of the hub without such a version, or of a checkpoint that is not there.
        """
        if key in MODEL_KEYS and checkpoints.NAME.fullmatch(value):
            checkpoints.find(self._database, value)
            return value
        if key in HUGGING_FACE_KEYS and (pinned := of_hugging_face(value)):
            return pinned
        what: versions.Kind = "model" if key in MODEL_KEYS else "dataset"
        name = value.partition("@")[0]
        if not NAME.fullmatch(name):
            return None
        if not versions.versions(self._database, what, name):
            return value if key == "model" and value == EMBEDDED else None
        found = versions.find(self._database, what, value)
        self.versions.append(found.id)
        return found.reference


def found(key: str, value: str) -> str:
    """The path that a value of a spec stands for; a path stays, also one that is not there.

    The plan of a recipe needs no model, and what misses a file says so itself.

    Raises:
        InputError: a name without such a version, or that cannot be fetched.
        JobError: Hugging Face's hub or the storage does not answer now.
    """
    if key not in MODEL_KEYS:
        return _rows(value)
    if not is_pinned(value) and (Path(value).exists() or not _is_model(value)):
        return value
    return str(model_path(value))


def model_path(reference: str, server: bool = False) -> Path:
    """The folder or GGUF file of a path or of any name of a model.

    Args:
        reference: the path or name.
        server: whether somebody waits for an answer: nothing is downloaded then, and what a checkpoint needs is done in
            a process of its own.

    Raises:
        InputError: it is none, or its files cannot be had. JobError: as `found`.
    """
    from loglore.hub import models
    from loglore.models.load import from_hugging_face

    if checkpoints.NAME.fullmatch(reference):
        return checkpoints.as_model_apart(reference) if server else checkpoints.as_model(reference)
    elsewhere = of_hugging_face(reference)
    if elsewhere and (reference == elsewhere or not Path(reference).exists()):
        return from_hugging_face(elsewhere.removeprefix(PREFIX), fetch=not server)
    place = models.resolve(reference)
    if place.is_dir() and not any((place / name).is_file() for name in ("config.json", "adapter_config.json")):
        return min(place.glob("*.gguf"))
    return place


def _is_model(value: str) -> bool:
    from loglore.hub import models

    known = value == EMBEDDED or (NAME.fullmatch(value.partition("@")[0]) and models.versions(value.partition("@")[0]))
    return bool(known or of_hugging_face(value))


def _rows(value: str) -> str:
    """A path as it is; else the file of the dataset `name` or `name@version` in our hub.

    A name with a dot in it, as file names have, needs its version.
    """
    from loglore.hub import datasets

    name, _, version = value.partition("@")
    if Path(value).exists() or not NAME.fullmatch(name) or not (version or "." not in name):
        return value
    with opened(None) as database:
        return str(datasets.materialise(database, value)) if datasets.versions(database, name) else value
