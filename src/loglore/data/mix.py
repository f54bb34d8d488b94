"""Several datasets in one, by weight, with a share of general text against forgetting.

A weight is a share of the characters, because tokens cost compute and change weights, not rows (a log sample is 100
times as long as a corpus row). Without a total the mix is as large as it can be with nothing repeated; with a larger
total, datasets start again in another order, and the report says how often each was read. Equal seeds and files give
equal bytes.

Rows are kept in memory as JSON: about the size of the files.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from loglore.data import files, general_text, writing
from loglore.data.convert import convert
from loglore.data.damage import texts
from loglore.data.faults import Fault
from loglore.data.formats import Format, RowError, detect
from loglore.data.json_rows import Row
from loglore.errors import InputError


@dataclass(frozen=True)
class Part:
    """One dataset and its weight (any positive number; weights are divided by their sum)."""

    path: str
    weight: float


@dataclass(frozen=True)
class Drawn:
    """What a part gave: rows and characters in the mix, rows it has, how often it was read (2.5: half a third time)."""

    name: str
    share: float
    rows: int
    characters: int
    available_rows: int
    times: float


@dataclass(frozen=True)
class _Pool:
    name: str
    share: float
    rows: list[bytes]
    sizes: list[int]


def parse_part(text: str) -> Part:
    """`FILE` or `FILE=WEIGHT`; the weight is 1 when missing.

    Raises:
        InputError: the weight is no positive number.

    >>> parse_part("a.jsonl=2.5")
    Part(path='a.jsonl', weight=2.5)
    """
    path, equals, weight = text.rpartition("=")
    if not equals:
        return Part(text, 1.0)
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"{text}: expected FILE or FILE=WEIGHT with a weight above 0, found {weight!r}")
    return Part(path, value)


def mix(
    parts: Sequence[Part],
    out: Path | str,
    seed: int = 0,
    characters: int | None = None,
    replay: float = 0.0,
    on_fault: Callable[[Fault], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> list[Drawn]:
    """Write a mix of datasets and report what was drawn from where.

    Args:
        parts: datasets; the first row says the format, into which all others are converted.
        out: file to write.
        seed: of the order and, where not all rows fit, the choice.
        characters: total; None for the largest without repetition.
        replay: share of the characters, 0 to below 1, that is general text (corpus only).
        on_fault: told of each faulty row, which is then left out; None raises the first.
        on_bytes: told how many stored bytes were read since the last call.

    Raises:
        InputError: a faulty row, a row without a conversion, an empty dataset, or `replay` in a chat mix.
    """
    if not parts:
        raise InputError("nothing to mix: expected at least one FILE=WEIGHT")
    if not 0 <= replay < 1:
        raise InputError(f"replay {replay:g}: expected a share from 0 to below 1")
    total_weight = sum(part.weight for part in parts)
    target: Format | None = None
    pools = []
    for part in parts:
        share = (1 - replay) * part.weight / total_weight
        pool, target = _load(part.path, share, target, on_fault, on_bytes)
        pools.append(pool)
    if replay:
        if target != "corpus":
            raise InputError(
                f"replay is general text for a corpus; {parts[0].path} holds {target} rows: mix in chat rows instead"
            )
        pools.append(_general(replay))
    total = characters or min(sum(pool.sizes) / pool.share for pool in pools)
    drawn = [_draw(pool, total * pool.share, seed, number) for number, pool in enumerate(pools)]
    order = _interleave([[pool.sizes[row] for row in rows] for pool, rows in zip(pools, drawn, strict=True)])
    writing.write_rows(out, (orjson.loads(pools[part].rows[drawn[part][place]]) for part, place in order))
    return [
        Drawn(
            pool.name,
            pool.share,
            len(rows),
            sum(pool.sizes[row] for row in rows),
            len(pool.rows),
            round(len(rows) / len(pool.rows), 3),
        )
        for pool, rows in zip(pools, drawn, strict=True)
    ]


def _load(
    path: str,
    share: float,
    target: Format | None,
    on_fault: Callable[[Fault], None] | None,
    on_bytes: Callable[[int], None] | None,
) -> tuple[_Pool, Format]:
    rows: list[bytes] = []
    sizes: list[int] = []
    for place, row in files.placed_rows(path, on_fault, on_bytes):
        try:
            target = target or _mixed_as(detect(row))
            wanted = convert(row, target)
        except RowError as problem:
            fault = Fault(place.file, place.row, problem.kind, problem.message, problem.field)
            if on_fault is None:
                raise fault.error() from None
            on_fault(fault)
            continue
        rows.append(writing.dumped(wanted))
        sizes.append(_size(wanted))
    if not rows or target is None:
        raise InputError(f"{path}: no rows to mix")
    return _Pool(path, share, rows, sizes), target


def _mixed_as(kind: Format) -> Format:
    """What a mix that starts with this format is made of: nlplog is for pretraining."""
    return "corpus" if kind == "nlplog" else kind


def _size(row: Row) -> int:
    return sum(len(text) for _, text in texts(row))


def _general(share: float) -> _Pool:
    pieces = general_text.replayed()
    source = general_text.source()
    rows: list[dict[str, Any]] = [{"text": text, "meta": {"source": source}} for text in pieces]
    return _Pool(source, share, [writing.dumped(row) for row in rows], [len(text) for text in pieces])


def _draw(pool: _Pool, characters: float, seed: int, number: int) -> list[int]:
    """Row numbers whose sizes add up to `characters` (short of it by less than a row), pass after pass."""
    rows: list[int] = []
    left = characters + 0.5
    turn = 0
    whole = sum(pool.sizes)
    if not whole:
        raise InputError(f"{pool.name}: its rows hold no text")
    while True:
        for row in _order(len(pool.rows), seed, number, turn):
            left -= pool.sizes[row]
            if left < 0 and rows:
                return rows
            rows.append(row)
        if left < min(pool.sizes):
            return rows
        turn += 1


def _order(count: int, seed: int, number: int, turn: int) -> list[int]:
    name = hashlib.blake2b(f"{seed}/{number}/{turn}".encode(), digest_size=8).digest()
    order: list[int] = np.random.default_rng(int.from_bytes(name, "little")).permutation(count).tolist()
    return order


def _interleave(sizes: list[list[int]]) -> list[tuple[int, int]]:
    """(part, place) in an order in which every stretch of the mix has about the shares of the whole."""
    keyed = []
    for part, values in enumerate(sizes):
        ends = np.cumsum(values)
        middle = (ends - np.array(values) / 2) / max(int(ends[-1]), 1)
        keyed += [(float(value), part, place) for place, value in enumerate(middle)]
    return [(part, place) for _, part, place in sorted(keyed)]
