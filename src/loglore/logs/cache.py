"""Where log tables lie when no folder is named: below `settings.home`/logs, one folder for each set of paths.

The cache is bounded: after a table was written, those used longest ago go until all together hold no more than
`MOST_BYTES`; the newest stays, whatever its size. A table takes 15 to 40 % of its log's size (docs/LOG.md).
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from loglore import settings

MOST_BYTES = 20 << 30
KEY_DIGITS = 16


def root() -> Path:
    """The folder of all cached tables."""
    return settings.load().home / "logs"


def folder_of(paths: Sequence[Path]) -> Path:
    """The folder of the table of these paths (files, folders, globs), the same for the same paths in the same order."""
    names = "\n".join(str(Path.cwd() / path) for path in paths)
    return root() / hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:KEY_DIGITS]


def trim(newest: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove cached tables used longest ago, beyond `most_bytes` in all; `newest` counts as used now."""
    if newest.parent != root():
        return
    os.utime(newest)
    tables = [each for each in root().iterdir() if each.is_dir() and not each.name.startswith(".")]
    total = 0
    for table in sorted(tables, key=lambda each: -each.stat().st_mtime_ns):
        total += sum(file.stat().st_size for file in table.iterdir())
        if total > most_bytes and table != newest:
            with locked(table):
                shutil.rmtree(table, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else indexes or updates the folder meanwhile; waits for one who does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
