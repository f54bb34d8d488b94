"""Writing a log table: a new one, or the lines that were added to one.

A new table is built in a folder beside its place and renamed. Lines are added as new files, and the manifest, replaced
at the end, makes them count; what an interrupted update left is removed by the next one.
"""

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from loglore.atomic import replacing, replacing_folder, sync
from loglore.errors import InputError
from loglore.logs import cache, headers, manifest, naming, reader, shards
from loglore.logs.archives import compression
from loglore.logs.fulltext import Writer
from loglore.logs.manifest import Manifest, Source
from loglore.logs.shards import Kinds, Shard, State
from loglore.logs.stream import Stream, fingerprint, follows, why_not_text

WORDS = "words.db"
COUNTS = "counts.parquet"
# Threads that parse; each holds a block and its columns, about 100 MB.
MOST_THREADS = 4
# Beyond this the tallies of blocks are merged.
MOST_TALLY_ROWS = 400_000
# Share of the work that finding the layouts takes.
PLAN_SHARE = 0.1
OnProgress = Callable[[float, float], None]


def index(
    paths: Sequence[Path],
    folder: Path | None,
    on_progress: OnProgress,
    block_bytes: int,
    names: Mapping[Path, str] | None = None,
) -> tuple[Path, list[str]]:
    """Write the table of some paths, or bring it up to date; its folder, and what happened (see `table.index`)."""
    with _spooled(paths) as (files, key):
        folder = folder or key
        with cache.locked(folder):
            notes: list[str] = []
            work = Work(folder, on_progress, block_bytes, names)
            if manifest.is_current(folder):
                found = manifest.read(folder)
                changes = _changes(found, files)
                notes = [note for change in changes if (note := change.note())]
                if notes == [] and all(change.what == "same" for change in changes):
                    return folder, []
                if found.paths == [str(path) for path in paths] and not notes:
                    work.follow(found, changes)
                    cache.trim(folder)
                    return folder, []
            work.build([str(path) for path in paths], files)
        cache.trim(folder)
        return folder, [f"{note}: read again from the start" for note in notes]


def follow(folder: Path, on_progress: OnProgress, block_bytes: int) -> list[str]:
    """Add to a table what its files got since; what else happened to them, a line each."""
    with cache.locked(folder):
        found = manifest.read(folder)
        changes = _changes(found, _still_there(found))
        if any(change.what not in ("same", "gone") for change in changes):
            Work(folder, on_progress, block_bytes).follow(found, changes)
        return [
            note + (": read from its start as a new log" if change.what == "replaced" else ": its lines are kept")
            for change in changes
            if (note := change.note())
        ]


@dataclass(frozen=True)
class File:
    """A file to read; `name` is what the table calls it (standard input lies in a file of its own meanwhile)."""

    name: str
    path: Path


@dataclass(frozen=True)
class Change:
    """What happened to a file: `same`, `grown`, `rewritten` (grown, but to be read anew), `replaced`, `new`, `gone`."""

    what: str
    file: File
    source: int | None = None
    detail: str = ""

    def note(self) -> str:
        """What to say about a file that was replaced or is gone; "" for the others."""
        return f"{self.file.name}: {self.detail}" if self.what in ("replaced", "gone") else ""


def _changes(found: Manifest, files: Sequence[File]) -> list[Change]:
    known = {source.path: number for number, source in enumerate(found.sources) if source.path}
    changes = [_change(found.sources[known[one.name]], known[one.name], one) for one in files if one.name in known]
    changes += [Change("new", one) for one in files if one.name not in known and not _still_skipped(found, one)]
    names = {one.name for one in files}
    gone = [(path, number) for path, number in known.items() if path not in names]
    return changes + [Change("gone", File(path, Path(path)), number, "is gone") for path, number in gone]


def _change(source: Source, number: int, file: File) -> Change:
    old = source.fingerprint
    new = fingerprint(file.path, old.head, old.size)
    if new.size < old.size:
        return Change("replaced", file, number, f"shrank from {old.size:,} to {new.size:,} bytes (rotated?)")
    if (new.head_hash, new.tail_hash) != (old.head_hash, old.tail_hash):
        return Change("replaced", file, number, "has other content than before (rotated?)")
    if new.size == old.size:
        return Change("same", file, number)
    return Change("grown" if follows(file.path) and not source.fault else "rewritten", file, number)


def _still_skipped(found: Manifest, file: File) -> bool:
    return any(path == file.name and why == why_not_text(file.path) for path, why in found.skipped)


def _still_there(found: Manifest) -> list[File]:
    files: dict[str, File] = {}
    for path in found.paths:
        try:
            files.update((str(one), File(str(one), one)) for one in reader.expand([Path(path)]) if one != reader.STDIN)
        except InputError:
            continue  # `_changes` says that its files are gone
    return list(files.values())


class Work:
    """One reading of files into a folder."""

    def __init__(
        self, folder: Path, on_progress: OnProgress, block_bytes: int, names: Mapping[Path, str] | None = None
    ) -> None:
        self._folder = folder
        self._names = {str(path): name for path, name in (names or {}).items()}
        self._on_progress = on_progress
        self._block_bytes = block_bytes
        self._done = self._total = 0.0

    def build(self, paths: list[str], files: Sequence[File]) -> None:
        """A new table in the place of the one that may be there."""
        made = Manifest(paths)
        target = self._folder
        with replacing_folder(target) as partial:
            self._folder = partial
            self._read(made, [Change("new", file) for file in files], Tables([], []), fresh=True)
        self._folder = target

    def follow(self, found: Manifest, changes: Sequence[Change]) -> None:
        """Add what is new to the table that is there."""
        used = {shard.name for shard in found.shards}
        for left in self._folder.glob("shard-*.parquet"):
            if left.name not in used:
                left.unlink()
        kinds = pl.read_parquet(self._folder / "kinds.parquet", memory_map=False)
        tally = pl.read_parquet(self._folder / "tally.parquet", memory_map=False)
        for change in changes:
            if change.what == "replaced" and change.source is not None:
                old = found.sources[change.source]
                same = sum(source.name.startswith(f"{old.name}#") for source in found.sources)
                old.name, old.path = f"{old.name}#{same + 1}", ""
            if change.what == "rewritten":
                tally = tally.filter(pl.col("source") != change.source)
        self._read(found, changes, Tables(kinds["masked"].to_list(), [tally], kinds["template"]), fresh=False)
        kept = {shard.name for shard in found.shards}
        for name in used - kept:
            (self._folder / name).unlink()

    def _read(self, found: Manifest, changes: Sequence[Change], tables: "Tables", *, fresh: bool) -> None:
        wanted = [change for change in changes if change.what in ("new", "grown", "rewritten", "replaced")]
        self._total = sum(self._size(found, change) for change in wanted)
        writer = Writer(self._folder / WORDS, fresh=fresh)
        try:
            for change in wanted:
                self._read_file(found, change, tables, writer)
            if not found.shards:
                raise InputError("; ".join(f"{path}: {why}" for path, why in found.skipped) or "no lines")
            open_shards = [shard for shard in found.shards if shard.open]
            writer.close()
        except BaseException:
            writer.abandon()
            raise
        used = [tables.tally["kind"], *(self._kinds_of(shard) for shard in open_shards)]
        named, found.next_template = naming.name(
            tables.kinds.masked, pl.concat(used).unique(), tables.before, found.next_template
        )
        found.cut_kinds += tables.kinds.cut
        for name, frame in (("kinds.parquet", named), ("tally.parquet", tables.tally)):
            with replacing(self._folder / name) as partial:
                frame.write_parquet(partial, compression="zstd", compression_level=1)
        (self._folder / COUNTS).unlink(missing_ok=True)
        for shard in found.shards:
            if not fresh:
                sync(self._folder / shard.name)
        found.shards.sort(key=lambda shard: (shard.source, shard.first))
        manifest.write(self._folder, found)

    def _kinds_of(self, shard: Shard) -> pl.Series:
        return pl.read_parquet(self._folder / shard.name, columns=["kind"], memory_map=False)["kind"].drop_nulls()

    def _size(self, found: Manifest, change: Change) -> float:
        size = change.file.path.stat().st_size if change.file.path.is_file() else 0
        if change.what == "grown" and change.source is not None:
            size -= found.sources[change.source].settled_bytes
        return size * (1 + PLAN_SHARE)

    def _read_file(self, found: Manifest, change: Change, tables: "Tables", writer: Writer) -> None:
        file = change.file
        if change.what != "grown" and (why := why_not_text(file.path)):
            found.skipped = [one for one in found.skipped if one[0] != file.name]
            found.skipped.append((file.name, why))
            return
        number, source = self._source(found, change)
        start = Stream(file.path, source.settled_bytes, source.settled_lines + 1, self._block_bytes)
        start.size = source.fingerprint.size
        layouts, headed = shards.plan(self._watched(start.again(), PLAN_SHARE))
        if change.what != "grown":
            source.headed = headed
        source.layouts = headers.ordered([*source.layouts, *layouts])
        self._shards(found, number, start, tables, writer)
        source.fault, source.cut = start.fault, source.cut + start.cut

    def _source(self, found: Manifest, change: Change) -> tuple[int, Source]:
        state = fingerprint(change.file.path)
        if change.source is None or change.what == "replaced":
            name = self._names.get(change.file.name, change.file.name)
            found.sources.append(Source(name, change.file.name, state, [], True, State()))
            return len(found.sources) - 1, found.sources[-1]
        source = found.sources[change.source]
        gone = [
            shard
            for shard in found.shards
            if shard.source == change.source and (shard.open or change.what == "rewritten")
        ]
        found.shards = [shard for shard in found.shards if shard not in gone]
        source.fingerprint = state
        if change.what == "rewritten":
            source.state, source.settled_lines, source.settled_bytes, source.cut = State(), 0, 0, 0
            source.layouts = []
        return change.source, source

    def _shards(self, found: Manifest, number: int, start: Stream, tables: "Tables", writer: Writer) -> None:
        source = found.sources[number]
        threads = max(1, min(MOST_THREADS, os.cpu_count() or 1))
        with ThreadPoolExecutor(threads, "parse") as pool:
            writing: deque[Future[None]] = deque()
            for parsed in _in_order(pool, threads, self._watched(start, 1.0), source.layouts):
                block = parsed.block
                frame, state = shards.finish(parsed, tables.kinds, source.state, headed=source.headed)
                shard = Shard(found.next_shard, number, block.first, frame.height, block.end, block.open)
                found.next_shard += 1
                found.shards.append(shards.describe(frame, shard))
                writing.append(pool.submit(shards.write, frame, self._folder, shard))
                writer.add(shard.number, parsed.words)
                if not block.open:
                    source.state, source.settled_bytes = state, block.end
                    source.settled_lines = block.first + frame.height - 1
                    tables.add(shards.tally(frame, number))
                while len(writing) > threads:
                    writing.popleft().result()
            for one in writing:
                one.result()

    def _watched(self, stream: Stream, share: float) -> Stream:
        """The stream, with its progress reported; `share` is what its bytes count."""
        before = self._done

        def report(done: int) -> None:
            self._done = before + share * done
            self._on_progress(self._done, self._total)

        stream.on_read = report
        return stream


class Tables:
    """What grows while blocks are read: kinds of messages, and the tally of each."""

    def __init__(self, masked: list[str], tallies: list[pl.DataFrame], before: pl.Series | None = None) -> None:
        self.kinds = Kinds(masked)
        self.before = pl.Series([], dtype=pl.Int64) if before is None else before
        self._tallies = [shards.EMPTY_TALLY, *tallies]
        self._rows = 0

    def add(self, tally: pl.DataFrame) -> None:
        """Take up the tally of one more shard."""
        self._tallies.append(tally)
        self._rows += tally.height
        if self._rows > MOST_TALLY_ROWS:
            self._tallies, self._rows = [self.tally], 0

    @property
    def tally(self) -> pl.DataFrame:
        """All tallies as one."""
        return shards.merge(self._tallies)


def _in_order(pool: ThreadPoolExecutor, threads: int, stream: Stream, layouts: list[str]) -> Iterator[shards.Parsed]:
    """Blocks parsed in several threads, given in the order of the log; at most one more than threads are held."""
    waiting: deque[Future[shards.Parsed]] = deque()
    for block in stream.blocks():
        waiting.append(pool.submit(shards.parse, block, layouts))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _spooled(paths: Sequence[Path]) -> Iterator[tuple[list[File], Path]]:
    """The files behind paths, and the folder of the cache for them.

    What can be read only once (standard input, pipes) lies in a file of its own.
    """
    files = reader.expand(paths)
    passing = [path for path in files if path == reader.STDIN or not path.is_file()]
    if not passing:
        yield [File(str(path), path) for path in files], cache.folder_of(paths)
        return
    cache.root().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache.root(), prefix=".stdin-") as folder:
        spools, digests = {}, []
        for number, path in enumerate(passing):
            spools[path], digest = _spool(path, Path(folder) / f"stdin{number}")
            digests.append(Path(digest))
        made = [File(str(path), spools.get(path, path)) for path in files]
        yield made, cache.folder_of([*paths, *digests])


def _spool(path: Path, spool: Path) -> tuple[Path, str]:
    """Copy what comes from a pipe into a file, named by its compression; that file, and the hash of its content."""
    digest = hashlib.sha256()
    try:
        opened = nullcontext(sys.stdin.buffer) if path == reader.STDIN else path.open("rb")
        with opened as source, spool.open("wb") as out:
            while piece := source.read(1 << 20):
                digest.update(piece)
                out.write(piece)
    except OSError as fault:
        raise InputError(f"{path}: {fault.strerror or fault}") from None
    with spool.open("rb") as written:
        suffix = compression(written.read(8))
    return spool.rename(spool.with_suffix(suffix)), digest.hexdigest()
