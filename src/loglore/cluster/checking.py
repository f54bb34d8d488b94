"""`loglore data check` on all nodes: rows are looked at in parts of their files, and compared with each other here.

    files ── cut at line ends ── Ray Data: read, look (`data.looking`) ── in order ── `data.check` ── report

A look is a few hundred bytes a row, however long the row: a digest, a sketch, and those hashes of its windows that
stand in a held-out file. The hashes of held-out files lie in a file that all nodes map. Plain JSON Lines are cut; any
other file is one part, so that many files are as good.
"""

import json
import os
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from loglore.cluster import order, shards
from loglore.data import check, files, leaks, looking, sources, streams
from loglore.data.faults import Skipped
from loglore.data.long_rows import Policy
from loglore.data.looking import Look, Wish
from loglore.data.too_long import Limit
from loglore.errors import InputError
from loglore.runs.files import write_text
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec

PART = 16 << 20  # bytes of a file
ROWS = 500  # looks that travel together
FAULTS, REPORT = "faults.jsonl", "check.json"


class CheckSpec(Spec):
    """What `loglore data check` was asked for.

    Attributes:
        beside: folder in which relative paths are looked up.
        given: FILE or ROLE=FILE, as on the command line.
        near_duplicates, examples: as there.
        tokenizer, max_sequence_length, long_rows: whose tokens are counted, and against which limit; None counts none.
    """

    beside: Path
    given: list[str]
    near_duplicates: bool = True
    tokenizer: Path | None = None
    max_sequence_length: int = 8192
    long_rows: Policy = "shorten_log"
    examples: int = check.EXAMPLES


def run(spec: CheckSpec, context: RunFolder) -> dict[str, Any]:
    """Check files; Ray is joined already. Writes `faults.jsonl` (every faulty row) and `check.json` (the report).

    Raises:
        InputError: as `data.check.check`.
    """
    os.chdir(spec.beside)
    given = [check.parse_input(text) for text in spec.given]
    size = sum(file.size for one in given for file in sources.find(one.path).files)
    with Skipped("skip", context.path / FAULTS) as faulty, context.progress("check", size / 1e6, "MB") as tick:
        report = check.check(
            given, spec.near_duplicates, None, faulty, lambda count: tick(count / 1e6), spec.examples,
            _Sharded(spec, context.path / order.FOLDER),
        )  # fmt: skip
    found = {"json": check.as_json(report), "lines": check.lines(report), "errors": report.errors}
    # In the order of the report, which is that of what was found first.
    write_text(context.path / REPORT, json.dumps(found, ensure_ascii=False))
    return {"outputs": {"report": REPORT}, "errors": report.errors, "faulty": faulty.count}


@dataclass(frozen=True)
class _Sharded:
    """Takes the place of `looking.here`; folder: for the hashes of held-out files, on shared storage."""

    spec: CheckSpec
    folder: Path

    def __call__(
        self,
        path: str,
        listing: sources.Listing,
        wish: Wish,
        known: Container[bytes],
        on_bytes: Callable[[int], None] | None = None,
    ) -> Iterator[Look]:
        """Looks in the order of the rows; a sketch is left out only where its own part has the same text before."""
        import ray

        shards.bound()
        asked = [
            {"path": path, "number": number, "part": [part.start, part.size, part.first] if part else []}
            for number, file in enumerate(listing.files)
            for part in files.parts(file, PART)
        ]
        told = self._told(wish)
        pipeline = ray.data.from_items(asked, override_num_blocks=len(asked)).flat_map(_look, fn_args=(told,))
        for row in pipeline.iter_rows():
            if row["fault"]:
                raise InputError(row["fault"])
            if on_bytes:
                on_bytes(row["bytes"])
            yield from row["looks"].looks

    def _told(self, wish: Wish) -> dict[str, Any]:
        among = self.folder / "windows.npy"
        if wish.others:
            np.save(among, np.unique(np.concatenate([other.table.values for other in wish.others])))
        spec = self.spec
        return {
            "beside": str(spec.beside),
            "csv": wish.csv,
            "near": wish.near,
            "origin": wish.origin,
            "among": str(among) if wish.others else "",
            "tokenizer": str(spec.tokenizer or ""),
            "limit": (spec.max_sequence_length, spec.long_rows),
        }


@dataclass(frozen=True)
class _Looks:
    """Some looks, as one thing to Ray Data."""

    looks: list[Look]


def _look(asked: dict[str, Any], told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One part, on some node: a row for every few looks."""
    os.chdir(told["beside"])
    file = _listing(str(asked["path"])).files[int(asked["number"])]
    part = streams.Part(*(int(number) for number in asked["part"])) if len(asked["part"]) else None
    wish = Wish(
        csv=told["csv"],
        near=told["near"],
        origin=told["origin"],
        among=leaks.Table(np.load(told["among"], mmap_mode="r")) if told["among"] else None,
        limit=_limit(told["tokenizer"], *told["limit"]) if told["tokenizer"] else None,
    )
    read = [0]

    def count(size: int) -> None:
        read[0] += size

    known: set[bytes] = set()
    looks = _noted(looking.look(files.entries(file, count, part), wish, known), known)
    while True:
        try:
            some = list(islice(looks, ROWS))
        except InputError as fault:
            yield {"looks": _Looks([]), "bytes": 0, "fault": str(fault)}
            return
        if not some:
            return
        size, read[0] = read[0], 0
        yield {"looks": _Looks(some), "bytes": size, "fault": ""}


def _noted(looks: Iterator[Look], known: set[bytes]) -> Iterator[Look]:
    for each in looks:
        known.add(each.digest)
        yield each


@lru_cache(maxsize=2)
def _listing(path: str) -> sources.Listing:
    return sources.find(path)


@lru_cache(maxsize=1)
def _limit(tokenizer: str, capacity: int, policy: Policy) -> Limit:
    from loglore.data.render import Renderer
    from loglore.models.load import load_tokenizer

    return Limit(Renderer(load_tokenizer(Path(tokenizer))), capacity, policy)
