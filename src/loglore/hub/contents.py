"""The bytes of a version: from a folder into storage, and from storage to a folder that jobs and engines read.

A version's folder is `<home>/models/<name>/<number>` (or `datasets`), so that a person finds it; its `model.json` says
which version it is. In a local storage its files are hard links to the objects and cost nothing. It may be removed and
is made again when it is needed.
"""

import contextlib
import datetime
import fcntl
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from loglore.errors import InputError
from loglore.runs import files, fingerprint
from loglore.runs.progress import Tick, track
from loglore.settings import load
from loglore.store import versions
from loglore.store.database import Database
from loglore.store.objects import Holder, Object
from loglore.store.storage import Storage, storage
from loglore.store.versions import Kind, Version

CARDS: dict[Kind, str] = {"model": "model.json", "dataset": "dataset.json"}
LONGEST_PATH = 1000
# Bytes from which on a bar is shown: a second or two of hashing.
SHOWN_FROM = 1 << 30


def files_of(source: Path) -> dict[str, Path]:
    """What a version made of `source` holds: the file itself, or a folder's files without hidden ones and cards.

    Raises:
        InputError: no such path, or a file name that cannot be kept.
    """
    if source.is_file():
        return {_checked(source.name): source}
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder")
    found = {file.relative_to(source).as_posix(): file for file in source.rglob("*") if file.is_file()}
    return {
        _checked(name): found[name]
        for name in sorted(found)
        if name not in CARDS.values() and not any(part.startswith(".") for part in PurePosixPath(name).parts)
    }


def _checked(name: str) -> str:
    if len(name) > LONGEST_PATH or not name.isprintable():
        raise InputError(f"file name {name[:100]!r}: expected at most {LONGEST_PATH} printable characters")
    return name


def put(holder: Holder, found: Mapping[str, Path], link: bool) -> dict[str, Object]:
    """Store files; returns the manifest."""
    sizes = {name: path.stat().st_size for name, path in found.items()}
    manifest = {}
    with progress("storing", sum(sizes.values())) as tick:
        for name, path in found.items():
            manifest[name] = holder.put_file(path, link)
            tick(sizes[name] / 1e6, name)
    return manifest


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Tick]:
    """A bar over megabytes where they take longer than a moment; `total` in bytes."""
    if total < SHOWN_FROM:
        yield lambda amount=1, note="": None
        return
    with track(label, total / 1e6, "MB") as tick:
        yield tick


def digest(manifest: Mapping[str, Object]) -> str:
    """The content address of a manifest: as `fingerprint.of_path` of the folder it makes."""
    return fingerprint.of_value([[name, manifest[name].sha256] for name in sorted(manifest)])


def folder_of(version: Version) -> Path:
    """Where a version's files are on this machine, or will be."""
    home = load().home / f"{version.kind}s" / version.name
    folder = home / str(version.number)
    # What is there may be another database's, or a user's; it is left alone.
    if folder.exists() and id_in(folder, version.kind) != version.id:
        return home / f"{version.number}-{version.id}"
    return folder


def id_in(folder: Path, kind: Kind) -> str | None:
    """The version that a folder's card names; None of a folder that has no card of this hub."""
    try:
        card = files.read_json(folder / CARDS[kind])
    except (InputError, NotADirectoryError):
        return None
    return str(card["id"]) if isinstance(card, dict) and "id" in card else None


def materialise(database: Database, version: Version, place: Storage | None = None) -> Path:
    """The folder with a version's files and its card; made, or completed after an interruption, where it is not there.

    Raises:
        DiskFullError: no room for it; what was fetched is kept for the next try.
        UnavailableError: the storage does not answer.
        JobError: an object is missing or damaged.
    """
    folder = folder_of(version)
    card = CARDS[version.kind]
    if (folder / card).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / card).exists():
            return folder
        partial = folder.with_name(f".{folder.name}.partial")
        fetch(versions.manifest(database, version.id), place or storage(), partial)
        files.write_json(partial / card, card_of(version))
        partial.replace(folder)
    return folder


def fetch(manifest: Mapping[str, Object], place: Storage, folder: Path) -> None:
    """Put a manifest's files below `folder`; those that are there from an interrupted try stay."""
    missing = {name: wanted for name, wanted in manifest.items() if not (folder / name).exists()}
    with progress("fetching", sum(wanted.bytes for wanted in missing.values())) as tick:
        for name, wanted in missing.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            place.fetch(wanted.sha256, folder / name)
            tick(wanted.bytes / 1e6, name)


def discard(version: Version) -> None:
    """Remove a version's folder from this machine."""
    folder = folder_of(version)
    hidden = folder.with_name(f".deleted-{version.id}")
    with contextlib.suppress(FileNotFoundError):  # never made here, or a collector was quicker
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def card_of(version: Version) -> dict[str, Any]:
    """What `model.json` and `dataset.json` say; times in ISO 8601."""
    created = datetime.datetime.fromtimestamp(version.created, datetime.UTC).isoformat(timespec="microseconds")
    return {
        "id": version.id,
        "name": version.name,
        "version": version.number,
        "created": created,
        "sha256": version.digest,
        "bytes": version.bytes,
        "parents": list(version.parents),
        **version.facts,
    }


def ids(database: Database, references: Iterable[str]) -> list[str]:
    """Ids of parents that are given as ids, or as `model:name@1` and `dataset:name@1`.

    Raises:
        InputError: no such version.
    """
    found = []
    for reference in references:
        kind, colon, name = reference.partition(":")
        if not colon:
            found.append(versions.get(database, reference).id)
        elif kind == "model":
            found.append(versions.find(database, "model", name).id)
        elif kind == "dataset":
            found.append(versions.find(database, "dataset", name).id)
        else:
            raise InputError(f"parent {reference!r}: expected an id, model:NAME@N or dataset:NAME@N")
    return found
