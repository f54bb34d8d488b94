"""Logs that are being read, or were: small ones here and now, large ones by a process of their own with progress.

    paths ── Reading ──┬── small: indexed in a thread
                       └── large: `python -m loglore.api.reading`, at low priority ── progress ──▶ `done` of `total`

Each becomes a log table on disk (`logs.table`), which the next reading of the same files finds again; a small one is
also held in memory, mined, once somebody asks about it. The last `KEPT` are kept. A file that grew is read on from
where it was, once nobody uses its table.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.errors import InputError, JobError

if TYPE_CHECKING:
    from loglore.logs.table import LogTable
    from loglore.logs.templates import Mined

KEPT = 8
# Logs of more bytes than this are read by a process of their own; read here they would hold up everybody.
APART_BYTES = 16 << 20
# Logs of more bytes than this are not held in memory to be asked about.
LARGE_BYTES = 48 << 20
NICE = 5
BAD_INPUT = 2

Stamp = tuple[tuple[int, int], ...]
OnProgress = Callable[[float, float], None]


class Reading:
    """One set of files: `done` of `total` bytes are read, then there is a `table`, or `fault` says why not."""

    def __init__(self, paths: Sequence[Path], stamp: Stamp) -> None:
        self.paths = list(paths)
        self.stamp = stamp
        self.done, self.total = 0.0, float(sum(size for _, size in stamp))
        self.fault: InputError | JobError | None = None
        self.users = 0
        self.ended = threading.Event()
        self._table: LogTable | None = None
        self._mined: Mined | None = None
        self._lock = threading.Lock()
        self._worked_out: dict[str, Any] = {}

    @property
    def table(self) -> "LogTable":
        """The log table; waits until it is there.

        Raises:
            InputError, JobError: the files could not be read.
        """
        self.ended.wait()
        if self.fault is not None:
            raise type(self.fault)(*self.fault.args)
        assert self._table is not None
        return self._table

    @property
    def log(self) -> "LogTable | Mined":
        """The log as questions take it: in memory when it is small enough."""
        table = self.table
        if table.bytes > LARGE_BYTES:
            return table
        with self._lock:
            if self._mined is None:
                self._mined = table.mined()
            return self._mined

    def once(self, name: str, work: Callable[["LogTable"], Any]) -> Any:
        """What `work` makes of the table, worked out once."""
        table = self.table
        with self._lock:
            if name not in self._worked_out:
                self._worked_out[name] = work(table)
            return self._worked_out[name]

    def run(self, names: Mapping[Path, str]) -> None:
        """Read; what happened is then said by `table` or `fault`."""
        try:
            if self.total > APART_BYTES:
                _index_apart(self.paths, names, self._report)
            self._table = index(self.paths, names, self._report)
        except (InputError, JobError) as fault:
            self.fault = type(fault)(_named(str(fault), names))
        except OSError as fault:
            self.fault = JobError(f"the log cannot be read: {fault.strerror or fault}")
        finally:
            self.ended.set()

    def _report(self, done: float, total: float) -> None:
        self.done, self.total = min(done, total), total


class Readings:
    """The last `KEPT` readings."""

    def __init__(self) -> None:
        self._readings: OrderedDict[tuple[Path, ...], Reading] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, paths: Sequence[Path]) -> Reading:
        """The reading of these files, begun if it must be; of files that changed meanwhile a new one."""
        key, stamp = tuple(paths), stamp_of(paths)
        with self._lock:
            found = self._readings.get(key)
            if found is None or _is_old(found, stamp):
                found = Reading(paths, stamp)
                self._readings[key] = found
                threading.Thread(target=found.run, args=(names(paths),), name="reading", daemon=True).start()
            self._readings.move_to_end(key)
            spare = [name for name, each in self._readings.items() if each.ended.is_set() and not each.users]
            for name in spare[: max(0, len(self._readings) - KEPT)]:
                del self._readings[name]
            return found

    @contextlib.contextmanager
    def used(self, paths: Sequence[Path]) -> Iterator[Reading]:
        """A reading whose table on disk stays as it is meanwhile."""
        found = self.get(paths)
        with self._lock:
            found.users += 1
        try:
            yield found
        finally:
            with self._lock:
                found.users -= 1


def stamp_of(paths: Sequence[Path]) -> Stamp:
    """What tells whether files changed: time and size of each.

    Raises:
        InputError: one is not there, or may not be read.
    """
    found = []
    for path in paths:
        try:
            state = path.stat()
        except OSError as fault:
            raise InputError(f"{path.name}: {fault.strerror}") from None
        found.append((state.st_mtime_ns, state.st_size))
    return tuple(found)


def names(paths: Sequence[Path]) -> dict[Path, str]:
    """File names instead of paths of this machine; the second `app.log` becomes `app.log (2)`."""
    found: dict[Path, str] = {}
    for path in paths:
        same = sum(each.name == path.name for each in found)
        found.setdefault(path, path.name if not same else f"{path.name} ({same + 1})")
    return found


def index(paths: Sequence[Path], named: Mapping[Path, str], on_progress: OnProgress) -> "LogTable":
    """The table of these files with their names as sources; made, followed, or found as it is."""
    from loglore.logs import cache, table

    # A folder of its own: the command line's tables of the same files name them by their paths.
    folder = cache.folder_of(paths)
    return table.index(paths, folder.with_name(f"{folder.name}-named"), on_progress, names=named)


def _is_old(found: Reading, stamp: Stamp) -> bool:
    if not found.ended.is_set():
        return False
    return found.fault is not None or (found.stamp != stamp and not found.users)


def _named(text: str, named: Mapping[Path, str]) -> str:
    """A message with names in place of this machine's paths."""
    for path, name in sorted(named.items(), key=lambda each: -len(str(each[0]))):
        text = text.replace(str(path), name)
    return text


def _index_apart(paths: Sequence[Path], named: Mapping[Path, str], on_progress: OnProgress) -> None:
    wish = json.dumps({"paths": [str(path) for path in paths], "names": [named[path] for path in paths]})
    command = [sys.executable, "-m", "loglore.api.reading"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # The pipe stays open: the process ends when this one does. One that has ended already says so below.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{wish}\n".encode())
        fault = ""
        for line in process.stdout:
            told = json.loads(line)
            fault = told.get("fault", fault)
            if "done" in told:
                on_progress(told["done"], told["total"])
        status = process.wait()
    if status == BAD_INPUT:
        raise InputError(fault)
    if status:
        raise JobError(fault or f"the process that reads the log ended (status {status}); was it out of memory?")


def main() -> None:
    """Index the files that standard input names; a line of JSON at every step."""
    wish = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_at_eof, daemon=True).start()
    os.nice(NICE)
    paths = [Path(path) for path in wish["paths"]]

    def report(done: float, total: float) -> None:
        print(json.dumps({"done": done, "total": total}), flush=True)

    try:
        index(paths, dict(zip(paths, wish["names"], strict=True)), report)
    except (InputError, JobError) as fault:
        print(json.dumps({"fault": str(fault)}), flush=True)
        sys.exit(BAD_INPUT if isinstance(fault, InputError) else 1)


def _end_at_eof() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    # What was begun lies in a folder beside its place, and the next reading removes it.
    os._exit(1)


if __name__ == "__main__":
    main()
