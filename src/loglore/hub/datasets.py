"""Datasets: named versions of rows in one of the six formats, each row checked before it is taken."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loglore.data import check, files, formats
from loglore.data.faults import Fault
from loglore.data.formats import Format
from loglore.errors import InputError
from loglore.hub import connections, contents
from loglore.hub import files as stored
from loglore.hub.place import check_name, check_tag
from loglore.store import versions as rows
from loglore.store.database import Database
from loglore.store.objects import holding
from loglore.store.storage import storage
from loglore.store.versions import NewVersion, Version


class _FaultyRowError(Exception):
    """Carries the first bad row out of the check."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class About:
    """What is said of a version beside its rows.

    Attributes:
        licence: its terms, as people name them.
        parents: ids of the versions it was made from, or `model:NAME@N`, `dataset:NAME@N`.
        by: id of the key that adds it.
        card: a text about it.
        origin: how it came to be (uploaded, synthesized by whom), as facts.
    """

    licence: str = ""
    parents: Sequence[str] = ()
    by: str | None = None
    card: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)


def add(
    database: Database, name: str, path: Path, format: Format | None = None, about: About = About(), link: bool = False
) -> Version:
    """Add rows as the next version of `name`; the same content again gives the version it has.

    Args:
        database: where the hub is.
        name: lower-case letters, digits, `.`, `_`, `-`; at most 64.
        path: a file or folder that `data.files` reads (JSON, JSON Lines, CSV, Parquet, text, ZIP).
        format: the row format it must have; default: the one it has.
        about: what is said of it.
        link: whether a hard link will do, for files that nobody edits in place, such as a job's outputs.

    Raises:
        InputError: an impossible name, no such path, no rows, the first bad row, or the first row of
            another format.
        DiskFullError: no room for it; nothing was added.
    """
    check_name("dataset", name)
    facts = {**_checked_rows(path, format), "licence": about.licence, "origin": dict(about.origin)}
    place = storage()
    with holding(database, place) as holder:
        manifest = contents.put(holder, contents.files_of(path), link)
        parents = contents.ids(database, about.parents)
        digest = contents.digest(manifest)
        new = NewVersion(
            "dataset", name, digest, manifest, facts, about.card, created_by=about.by, parents=parents
        )  # fmt: skip
        return rows.add(database, new)


def bring(
    database: Database,
    name: str,
    connection: str,
    key: str,
    format: Format | None = None,
    about: About = About(),
    public_only: bool = False,
) -> Version:
    """Add an object, or all objects below a prefix, of a connection's bucket; else as `add`.

    Raises:
        InputError: as `add`; no such connection, or nothing there.
        AwayError: the service does not answer.
    """
    check_name("dataset", name)
    scratch = storage().scratch()
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, _told_as(f"{folder}/", f"{connection}: "):
        path = connections.bring(database, connection, key, Path(folder), public_only)
        origin = {"connection": connection, "key": key}
        return add(database, name, path, format, replace(about, origin=origin), link=True)


def add_file(
    database: Database, name: str, file_id: str, format: Format | None = None, about: About = About()
) -> Version:
    """Add a stored file, no byte of it copied; else as `add`.

    Raises:
        InputError: as `add`; no such file.
    """
    path = stored.local_path(database, file_id)
    with _told_as(f"{path.parent}/", ""):
        return add(database, name, path, format, replace(about, origin={"file": file_id}), link=True)


@contextlib.contextmanager
def _told_as(place: str, name: str) -> Iterator[None]:
    """Errors without where the rows lie for now."""
    try:
        yield
    except InputError as fault:
        raise InputError(str(fault).replace(place, name)) from None


def format_of(name: str | None) -> Format | None:
    """A row format by its name, None for none.

    Raises:
        InputError: there is no such format.
    """
    for kind in formats.FIELDS:
        if kind == name:
            return kind
    if name is not None:
        raise InputError(f"format {name!r}: expected one of {', '.join(formats.FIELDS)}")
    return None


def versions(database: Database, name: str) -> list[Version]:
    """All versions of `name`, oldest first; empty when there are none."""
    return rows.versions(database, "dataset", name)


def datasets(database: Database) -> list[Version]:
    """All versions of all datasets, by name, oldest first."""
    return rows.versions(database, "dataset")


def find(database: Database, reference: str) -> Version:
    """The version that `name` (its latest), `name@version` or `name@tag` stands for.

    Raises:
        InputError: no such dataset or version.
    """
    return rows.find(database, "dataset", reference)


def materialise(database: Database, reference: str) -> Path:
    """What jobs read for a reference: the file of a version that is one file, else the folder of its files.

    Raises:
        InputError: no such dataset or version.
        JobError: its files cannot be brought here.
    """
    version = find(database, reference)
    folder = contents.materialise(database, version)
    names = list(rows.manifest(database, version.id))
    return folder / names[0] if len(names) == 1 else folder


def tag(database: Database, reference: str, name: str) -> Version:
    """Let a tag point at a version, wherever it pointed before.

    Raises:
        InputError: no such version, or an impossible tag.
    """
    check_tag(name)
    return rows.tag(database, find(database, reference), name)


def untag(database: Database, reference: str, name: str) -> Version:
    """Remove a tag from the version it points at.

    Raises:
        InputError: no such version, or it has no such tag.
    """
    return rows.take_off(database, find(database, reference), name)


def delete(database: Database, reference: str) -> Version:
    """Remove one version (`name@version`, or the latest of `name`); its number is not given again.

    Raises:
        InputError: no such dataset or version, or something depends on it: a version made from it, a job.
    """
    version = find(database, reference)
    rows.remove(database, version)
    contents.discard(version)
    return version


def _checked_rows(path: Path, wanted: Format | None) -> dict[str, Any]:
    """Format and number of the rows, each looked at."""
    try:
        report = check.check([check.Input(str(path), "train")], near_duplicates=False, on_error=_stop)
    except _FaultyRowError as stopped:
        raise stopped.fault.error() from None
    (file,) = report.files
    found = [format_of(name) for name, count in file.formats.items() if count]
    expected = wanted or next(iter(found), None)
    if expected is None:
        raise InputError(f"{path}: no rows")
    if found != [expected]:
        raise _first_other(path, expected)
    duplicates = file.problems.get("duplicate")
    return {"format": expected, "rows": file.rows, "duplicates": duplicates.count if duplicates else 0}


def _stop(fault: Fault) -> None:
    raise _FaultyRowError(fault)


def _first_other(path: Path, wanted: Format) -> InputError:
    for place, row in files.placed_rows(path):
        kind = formats.detect(row)
        if kind != wanted:
            return Fault(place.file, place.row, "format", f"its format is {kind}, expected {wanted}").error()
    return InputError(f"{path}: not all rows are {wanted}")
