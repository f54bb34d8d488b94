"""An append-only JSON Lines file of values by key: what arrived is on disk before anything else happens to it.

Durability: a value is one `write` to the file, so `kill -9` cannot lose it; `sync` (the runner calls it every second
and at the end) makes it survive a power cut, which loses at most that second. A line torn by a killed writer is skipped
and the next value starts on a line of its own. A key written twice has the later value.

Values stay on disk; the index of places is a temporary SQLite table that the operating system deletes with the process.
So a hundred thousand values take no memory, at 0.01 ms CPU a value.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

KEY_LENGTH = 32
_HEAD = b'{"key": "'
_BATCH = 10_000


def digest(value: Any) -> str:
    """The key of a JSON value: sha256 of its canonical form, 32 hex digits of it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


class Journal:
    """Values by key in one file. Several processes may append to the same file; each sees what was there when it began.

    Raises:
        OSError: the file cannot be opened or written (a full disk).
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._index = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute("PRAGMA synchronous = OFF")
        self._index.execute("CREATE TABLE places (key BLOB PRIMARY KEY, start INTEGER, length INTEGER) WITHOUT ROWID")
        self._unsynced = False
        if self._read():
            os.write(self._file, b"\n")

    def _read(self) -> bool:
        """Index what is there; returns whether the last line is torn."""
        places: list[tuple[bytes, int, int]] = []
        start, line = 0, b"\n"
        with self.path.open("rb") as stream:
            for line in stream:
                if line.startswith(_HEAD) and line.endswith(b"}\n"):
                    key = line[len(_HEAD) : len(_HEAD) + KEY_LENGTH]
                    places.append((bytes.fromhex(key.decode()), start, len(line)))
                start += len(line)
                if len(places) == _BATCH:
                    self._note(places)
                    places = []
        self._note(places)
        return not line.endswith(b"\n")

    def _note(self, places: list[tuple[bytes, int, int]]) -> None:
        self._index.execute("BEGIN")
        self._index.executemany("INSERT OR REPLACE INTO places VALUES (?, ?, ?)", places)
        self._index.execute("COMMIT")

    def put(self, key: str, value: Any) -> None:
        """Append a value; `key` is a `digest`."""
        line = f'{{"key": "{key}", "value": {json.dumps(value, ensure_ascii=False)}}}\n'.encode(errors="replace")
        if os.write(self._file, line) < len(line):
            raise OSError(28, "No space left on device", str(self.path))
        # The place where the line landed, also when another process appends to the file.
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        self._index.execute(
            "INSERT OR REPLACE INTO places VALUES (?, ?, ?)", (bytes.fromhex(key), end - len(line), len(line))
        )
        self._unsynced = True

    def get(self, key: str) -> Any:
        """The latest value of a key, None when there is none."""
        row = self._index.execute("SELECT start, length FROM places WHERE key = ?", (bytes.fromhex(key),)).fetchone()
        return None if row is None else json.loads(os.pread(self._file, row[1], row[0]))["value"]

    def __contains__(self, key: str) -> bool:
        row = self._index.execute("SELECT 1 FROM places WHERE key = ?", (bytes.fromhex(key),)).fetchone()
        return row is not None

    def __len__(self) -> int:
        return int(self._index.execute("SELECT count(*) FROM places").fetchone()[0])

    def __iter__(self) -> Iterator[str]:
        """The keys, in no order."""
        return (bytes(row[0]).hex() for row in self._index.execute("SELECT key FROM places"))

    def sync(self) -> None:
        """Make everything written so far survive a power cut (fsync)."""
        if self._unsynced:
            self._unsynced = False
            os.fsync(self._file)

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._file)
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
