"""The model hub as folders: `<home>/models/<name>/<version>/` holds a version's files and its `model.json`.

Files are hard-linked where the file system allows, so adding a model costs no disk space; a linked file must therefore
never be edited in place, which atomic writes (write beside, rename) never do. The version number is taken by renaming a
complete folder into place, so two processes that add at the same time get two numbers.
"""

import contextlib
import datetime
import errno
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore.errors import InputError
from loglore.models.job import EMBEDDED, embedded_gguf
from loglore.runs import files, fingerprint
from loglore.settings import load

CARD = "model.json"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a named model.

    Attributes:
        name: the model's name.
        version: 1, 2, 3…
        path: folder with the files: a Hugging Face folder, or one GGUF file.
        card: content of `model.json` (`name`, `version`, `created`, `sha256`, `bytes`, `lineage`).
    """

    name: str
    version: int
    path: Path
    card: Mapping[str, Any]


def add(name: str, source: Path, lineage: Mapping[str, Any]) -> ModelVersion:
    """Add the model in `source` as the next version of `name`; the same content again gives the version it has.

    Args:
        name: lower-case letters, digits, `.`, `_`, `-`; at most 64.
        source: Hugging Face folder or GGUF file.
        lineage: where it comes from, stored in the card (base, data, hyperparameters, run…).

    Raises:
        InputError: an impossible name, or nothing that is a model in `source`.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"model name {name!r}: expected lower-case letters, digits, `.`, `_`, `-`, at most 64 of them")
    _check_is_model(source)
    digest = fingerprint.of_path(source)
    for known in versions(name):
        if known.card["sha256"] == digest:
            return known
    home = _home() / name
    home.mkdir(parents=True, exist_ok=True)
    partial = home / f".adding-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _copy(source, partial)
        return _publish(name, partial, {"sha256": digest, "bytes": _size(partial), "lineage": dict(lineage)})
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def versions(name: str) -> list[ModelVersion]:
    """All versions of `name`, oldest first; empty when there are none."""
    folder = _home() / name
    numbers = sorted(int(each.name) for each in folder.iterdir() if each.name.isdigit()) if folder.is_dir() else []
    return [
        ModelVersion(name, number, folder / str(number), files.read_json(folder / str(number) / CARD))
        for number in numbers
    ]


def models() -> list[ModelVersion]:
    """All versions of all models, by name, oldest first."""
    home = _home()
    names = sorted(each.name for each in home.iterdir() if NAME.fullmatch(each.name)) if home.is_dir() else []
    return [version for name in names for version in versions(name)]


def find(reference: str) -> ModelVersion:
    """The version that `name` (its latest) or `name@version` stands for.

    Raises:
        InputError: no such model or version.
    """
    name, _, number = reference.partition("@")
    known = versions(name) if NAME.fullmatch(name) else []
    if not known:
        names = ", ".join(sorted({each.name for each in models()})) or "none yet"
        raise InputError(f"model {reference!r}: not in the hub ({names}), and no such path")
    if not number:
        return known[-1]
    for version in known:
        if str(version.version) == number:
            return version
    raise InputError(f"model {reference!r}: {name} has versions {known[0].version} to {known[-1].version}")


def resolve(reference: str) -> Path:
    """The folder or GGUF file that a user's MODEL stands for: a path, `name`, `name@version` or the embedded model.

    Raises:
        InputError: it is none of these.
    """
    path = Path(reference).expanduser()
    if path.exists():
        _check_is_model(path)
        return path
    if reference == EMBEDDED and not versions(EMBEDDED):
        return embedded_gguf()
    return find(reference).path


def newest() -> str:
    """What a chat uses when no model is named: the version added last, or the embedded model while there is none."""
    known = max(models(), key=lambda version: str(version.card["created"]), default=None)
    return EMBEDDED if known is None else f"{known.name}@{known.version}"


def delete(reference: str) -> ModelVersion:
    """Remove one version (`name@version`, or the latest of `name`) from the hub; its number is not given again.

    Raises:
        InputError: no such model or version.
    """
    version = find(reference)
    hidden = version.path.with_name(f".deleted-{version.version}")
    version.path.rename(hidden)
    shutil.rmtree(hidden)
    # Remembered by an empty marker, else deleting the latest version would hand its number to other content.
    version.path.with_name(f".used-{version.version}").touch()
    return version


def _publish(name: str, partial: Path, facts: Mapping[str, Any]) -> ModelVersion:
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    home = partial.parent
    taken = [each.name.removeprefix(".used-") for each in home.iterdir()]
    number = 1 + max((int(each) for each in taken if each.isdigit()), default=0)
    while True:
        card = {"name": name, "version": number, "created": created, **facts}
        files.write_json(partial / CARD, card)
        try:
            partial.rename(home / str(number))
            return ModelVersion(name, number, home / str(number), card)
        except OSError as fault:
            if fault.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            number += 1


def _check_is_model(path: Path) -> None:
    is_gguf = path.is_file() and path.suffix == ".gguf"
    is_folder = (path / "config.json").is_file() or (path.is_dir() and any(path.glob("*.gguf")))
    if not (is_gguf or is_folder):
        raise InputError(f"{path}: expected a .gguf file or a folder with config.json")


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        target.mkdir()
        _link(source, target / source.name)
        return
    # The folder's own card belongs to the version it was taken from; the new version gets its own.
    shutil.copytree(source, target, copy_function=_link, ignore=shutil.ignore_patterns(".*", CARD))


def _link(source: Path | str, target: Path | str) -> None:
    try:
        Path(target).hardlink_to(Path(source).resolve())
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            Path(target).unlink()
        shutil.copy2(source, target)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _home() -> Path:
    return load().home / "models"
