"""Atomic files of a run: text, JSON, JSON lines, replaced whole (see `loglore.atomic`) or appended line by line."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loglore.atomic import replacing as replacing
from loglore.atomic import replacing_folder as replacing_folder
from loglore.atomic import sync_folder as sync_folder


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically; parent folders are created. Leaves nothing behind when it fails."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Replace `path` by one JSON object a line, atomically; returns the number of rows."""
    count = 0
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_json(path: Path) -> Any:
    """Read a JSON file; raises `InputError` naming the file and the place of the fault."""
    from loglore.errors import InputError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise InputError(f"{path}: not JSON: {fault}") from None


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row as a single write, so that a killed writer leaves at most one torn last line."""
    data = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def read_jsonl_log(path: Path) -> list[dict[str, Any]]:
    """Read what `append_jsonl` wrote; a torn last line (no newline, from a killed writer) is left out."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def repair_jsonl_log(path: Path) -> None:
    """Cut a torn last line off, so that the next append starts a line of its own."""
    if path.exists():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)
