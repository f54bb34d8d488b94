r"""The word index of a log table: SQLite FTS5 without content, one row for `BLOCK_LINES` lines of a shard.

A row a line costs four times the time and ten times the space (docs/LOG.md); blocks say where a word may stand, and
`search` looks at those lines themselves, so nothing is found that is not there and nothing missed. Words are runs of
ASCII letters and digits in lower case; other characters part them (a word in another script is looked for in every
line). Numbers joined by dots (10.0.0.5) are indexed as a whole, too: their parts stand in every block.
"""

import queue
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import polars as pl

BLOCK_LINES = 1024
MOST_BLOCKS = 1 << 24
DOTTED = r"[0-9]+(?:\.[0-9]+)+"
# Memory for postings before FTS5 writes a segment, and SQLite's page cache in KiB.
HASH_BYTES = 32 << 20
CACHE_KIB = 32 << 10
_WAITING = 2


def texts(lines: pl.Series) -> list[str]:
    """What is indexed of the lines of a shard: one text for `BLOCK_LINES` of them."""
    numbered = pl.DataFrame({"text": lines}).with_row_index("row")
    blocks = numbered.group_by(pl.col("row") // BLOCK_LINES, maintain_order=True).agg(pl.col("text").str.join("\n"))
    text = pl.col("text")
    if lines.str.len_bytes().sum() != lines.str.len_chars().sum():
        plain = text.str.len_bytes() == text.str.len_chars()
        text = pl.when(plain).then(text).otherwise(text.str.to_lowercase().str.replace_all(r"[^\x00-\x7f]+", " "))
    text = text.str.replace_all("\x00", " ", literal=True)
    dotted = pl.col("text").str.extract_all(DOTTED).list.unique().list.join(" ").str.replace_all(".", "z", literal=True)
    return blocks.select(pl.concat_str(text, dotted, separator="\n"))["text"].to_list()


def dotted_word(number: str) -> str:
    """The word that stands for a number with dots."""
    return number.replace(".", "z")


class Writer:
    """Adds blocks in a thread of its own (SQLite works outside Python's lock); one transaction, ended by `close`.

    Args:
        path: of the database; created when it is not there.
        fresh: whether nobody else sees the file yet, so that no journal is needed.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        self._fresh = fresh
        self._queue: queue.Queue[tuple[int, Sequence[str]] | None] = queue.Queue(_WAITING)
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="word index", daemon=True)
        self._thread.start()

    def add(self, shard: int, blocks: Sequence[str]) -> None:
        """Index the texts of a shard; waits when the index is behind."""
        if self._fault is not None:
            raise self._fault
        self._queue.put((shard, blocks))

    def close(self) -> None:
        """Commit; raises what went wrong."""
        self._queue.put(None)
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def abandon(self) -> None:
        """Stop without a commit."""
        self._fault = self._fault or InterruptedError("abandoned")
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
                self._begin(database)
                while (item := self._queue.get()) is not None:
                    shard, blocks = item
                    rows = ((shard * MOST_BLOCKS + number, text) for number, text in enumerate(blocks))
                    database.executemany("INSERT INTO lines(rowid, words) VALUES (?, ?)", rows)
                database.execute("ROLLBACK" if self._fault else "COMMIT")
        except (sqlite3.Error, OSError) as fault:
            self._fault = fault
            while self._queue.get() is not None:
                pass

    def _begin(self, database: sqlite3.Connection) -> None:
        if self._fresh:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        database.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS lines USING fts5(words, content='', detail=none, tokenize='ascii')"
        )
        database.execute("INSERT INTO lines(lines, rank) VALUES ('hashsize', ?)", (HASH_BYTES,))
        database.execute("BEGIN")


def blocks_with(path: Path, match: str) -> list[tuple[int, int]]:
    """The (shard, block) pairs whose words match an FTS5 expression, in order."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        found: Iterable[tuple[int]] = database.execute("SELECT rowid FROM lines WHERE lines MATCH ?", (match,))
        return sorted(divmod(rowid, MOST_BLOCKS) for (rowid,) in found)
