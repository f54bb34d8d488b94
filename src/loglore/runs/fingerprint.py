"""Fingerprints: sha256 over the content of files, folders and specs, to tell whether work is already done."""

import hashlib
import json
from pathlib import Path
from typing import Any

from loglore.errors import InputError


def of_file(path: Path) -> str:
    """Sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_path(path: Path) -> str:
    """Sha256 of a file, or of a folder's relative names and file contents; hidden names are left out.

    Raises:
        InputError: the path does not exist.
    """
    if path.is_file():
        return of_file(path)
    if path == Path("-"):
        raise InputError("-: a job reads what it can read again; write standard input to a file first")
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    files = sorted(file for file in path.rglob("*") if file.is_file() and not _hidden(file.relative_to(path)))
    return of_value([[file.relative_to(path).as_posix(), of_file(file)] for file in files])


def of_value(value: Any) -> str:
    """Sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
