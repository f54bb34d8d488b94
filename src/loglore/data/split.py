"""Split rows into train, validation and test so that no log chunk stands on two sides.

Every decision comes from a hash of the seed and of what a row is about, never from its position: the same rows in
another order give the same three sets, and a share (not a quota) keeps its rows where they were when others are added.
Rows are grouped by where they come from: the field named by `--by`, else `meta.chunk`, `meta.source` with `meta.lines`,
`meta.template`, `log`, the log inside the first question, or the row's own text.

Quotas are per task (`meta.task`), as in the tutorial: 100 validation and 100 test rows of each. A chunk that is held
out is held out with all its tasks; its rows beyond a quota can go nowhere without leaking, and are left out, counted.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from loglore.data import files, sources, writing
from loglore.data.damage import said
from loglore.data.faults import Fault
from loglore.data.formats import RowError, detect, to_corpus, to_messages
from loglore.data.frame import log_asked
from loglore.data.json_rows import Row
from loglore.data.writing import dumped
from loglore.errors import InputError

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")
_LEFT_OUT = 3


@dataclass(frozen=True)
class Quotas:
    """How much is held out: rows of each task, or shares (0 to 1) of the groups; one of the two kinds.

    >>> Quotas(validation=100, test=100).per_task, Quotas(validation=0.01).per_task
    (True, False)
    """

    validation: float = 0
    test: float = 0

    @property
    def per_task(self) -> bool:
        """Whether these are numbers of rows of each task."""
        return max(self.validation, self.test) >= 1

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InputError: nothing is held out, a number is negative or mixes a share with a count, or nothing is left.
        """
        both = (self.validation, self.test)
        if min(both) < 0 or max(both) == 0:
            raise InputError(f"validation {self.validation:g}, test {self.test:g}: expected at least one above 0")
        if self.per_task and any(value != int(value) for value in both):
            raise InputError(
                f"validation {self.validation:g}, test {self.test:g}: give both as rows of a task, or both as shares"
            )
        if not self.per_task and sum(both) >= 1:
            raise InputError(f"validation {self.validation:g} + test {self.test:g}: no share is left for training")


@dataclass
class Outcome:
    """rows, groups: written by side; by_task: rows by side and task; left_out: rows by reason; short: unmet quotas."""

    rows: dict[str, int]
    groups: dict[str, int]
    by_task: dict[str, dict[str, int]]
    left_out: dict[str, int]
    short: list[str] = field(default_factory=list)


@dataclass
class _Plan:
    """What the first reading learns of each row, in order: hash of its group and of itself, number of its task."""

    groups: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    texts: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)


def split(
    path: Path | str,
    out: dict[Side, str],
    quotas: Quotas,
    seed: int = 0,
    by: str | None = None,
    unique: bool = False,
    on_fault: Callable[[Fault], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Outcome:
    """Read rows once to decide and once for each side to write it.

    Args:
        path: what `files.placed_rows` reads.
        out: where each side goes; a side without quota may be missing.
        quotas: how much is held out.
        seed: of the choice.
        by: field to group by (`meta.source`); None for the order in the header of this module.
        unique: leave out rows whose text occurred before; of several, the one with the smallest hash stays.
        on_fault: told of each faulty row, which is then left out; None raises the first.
        on_bytes: told how many stored bytes were read since the last call.

    Raises:
        InputError: a faulty row, quotas that leave nothing for training, or nothing to hold out.
    """
    quotas.check()
    listing = sources.find(path)
    plan = _read(listing, seed, by, on_fault, on_bytes)
    if not plan.rows:
        raise InputError(f"{path}: no rows")
    sides, left_out, short = _assign(plan, quotas, unique)
    if not (sides == 0).any():
        raise InputError(f"{path}: the quotas hold out every group; nothing is left for training")
    _write(listing, out, sides, by, on_bytes)
    names = list(plan.names)
    tasks = np.array(plan.tasks)
    groups = np.array(plan.groups, dtype=np.uint64)
    return Outcome(
        {side: int((sides == number).sum()) for number, side in enumerate(SIDES)},
        {side: len(np.unique(groups[sides == number])) for number, side in enumerate(SIDES)},
        {
            side: {names[task]: count for task, count in sorted(Counter(tasks[sides == number].tolist()).items())}
            for number, side in enumerate(SIDES)
        },
        left_out,
        short,
    )


def _read(
    listing: sources.Listing,
    seed: int,
    by: str | None,
    on_fault: Callable[[Fault], None] | None,
    on_bytes: Callable[[int], None] | None,
) -> _Plan:
    plan = _Plan()
    for place, row in files.placed_rows(listing, on_fault, on_bytes):
        try:
            group, text = group_of(row, by)
        except RowError as fault:
            found = Fault(place.file, place.row, fault.kind, fault.message, fault.field)
            if on_fault is None:
                raise found.error() from None
            on_fault(found)
            continue
        meta = row.get("meta")
        task = str(meta.get("task") or "") if isinstance(meta, dict) else ""
        plan.groups.append(_hash(seed, group))
        plan.texts.append(_hash(seed, text))
        plan.rows.append(_hash(seed, dumped(row, sort_keys=True)))
        plan.tasks.append(plan.names.setdefault(task, len(plan.names)))
    return plan


def group_of(row: Row, by: str | None = None) -> tuple[str, str]:
    """(group, text) of a row: what it is about, and all it says.

    Raises:
        RowError: a faulty row, or one without the field `by`.
    """
    kind = detect(row)
    messages = [] if kind == "corpus" else to_messages(row)
    text = said(messages) if messages else to_corpus(row)
    if by is not None:
        return f"{by}={_field(row, by)}", text
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    assert isinstance(meta, dict)
    source, lines = meta.get("source"), meta.get("lines")
    for name in ("chunk", "template"):
        if meta.get(name) is not None:
            return f"{name}={source}/{meta[name]}" if name == "chunk" else f"template={meta[name]}", text
        if name == "chunk" and source is not None and lines is not None:
            return f"lines={source}/{lines}", text
    if kind == "nlplog":
        return f"log={row['log']}", text
    log = log_asked(messages)
    return f"log={log}" if log else f"text={text}", text


def _field(row: Row, by: str) -> str:
    value: Any = row
    for name in by.split("."):
        if not isinstance(value, dict) or value.get(name) is None:
            raise RowError(f"the row has no field `{by}` to split by", "no-group", by)
        value = value[name]
    return str(value)


def _hash(seed: int, text: str | bytes) -> int:
    raw = text.encode("utf-8") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8, salt=seed.to_bytes(8, "little")).digest(), "little")


def _assign(plan: _Plan, quotas: Quotas, unique: bool) -> tuple["np.ndarray[Any, Any]", dict[str, int], list[str]]:
    """Side of each row (index in `SIDES`; 3 is left out), rows left out by reason, and quotas that were not met."""
    count = len(plan.rows)
    sides = np.zeros(count, dtype=np.int8)
    left_out: Counter[str] = Counter()
    groups: dict[int, list[int]] = {}
    kept: dict[int, int] = {}
    # In the order of the rows' hashes everything below is independent of the order of the input.
    for row in sorted(range(count), key=lambda number: plan.rows[number]):
        if unique and kept.setdefault(plan.texts[row], row) != row:
            sides[row] = _LEFT_OUT
            left_out["the same text as another row"] += 1
        else:
            groups.setdefault(plan.groups[row], []).append(row)
    if quotas.per_task:
        short = _by_quota(plan, quotas, groups, sides, left_out)
        return sides, dict(left_out), short
    for group, rows in groups.items():
        place = group / 2**64
        side = 2 if place < quotas.test else 1 if place < quotas.test + quotas.validation else 0
        sides[rows] = side
    return sides, dict(left_out), []


def _by_quota(
    plan: _Plan,
    quotas: Quotas,
    groups: dict[int, list[int]],
    sides: "np.ndarray[Any, Any]",
    left_out: Counter[str],
) -> list[str]:
    waiting = sorted(groups)
    short = []
    for side, quota in ((2, int(quotas.test)), (1, int(quotas.validation))):
        room = dict.fromkeys(range(len(plan.names)), quota)
        later = []
        for group in waiting:
            rows = groups[group]
            if not any(room[plan.tasks[row]] for row in rows):
                later.append(group)
                continue
            for row in rows:
                if room[plan.tasks[row]]:
                    room[plan.tasks[row]] -= 1
                    sides[row] = side
                else:
                    sides[row] = _LEFT_OUT
                    left_out[f"beyond the quota, of a group in {SIDES[side]}"] += 1
        waiting = later
        short += [
            f"{SIDES[side]}: {quota - left} of {quota} rows of task {name or '(none)'}"
            for name, number in plan.names.items()
            if (left := room[number])
        ]
    return short


def _write(
    listing: sources.Listing,
    out: dict[Side, str],
    sides: "np.ndarray[Any, Any]",
    by: str | None,
    on_bytes: Callable[[int], None] | None,
) -> None:
    """Read again for each side; all files appear together at the end."""
    with contextlib.ExitStack() as stack:
        partials = {side: stack.enter_context(writing.target(path)) for side, path in out.items()}
        for side, partial in partials.items():
            chosen = sides == SIDES.index(side)
            rows = (row for taken, row in zip(chosen.tolist(), _good(listing, by, on_bytes), strict=True) if taken)
            writing.write_into(partial, out[side], rows)


def _good(listing: sources.Listing, by: str | None, on_bytes: Callable[[int], None] | None) -> Iterator[Row]:
    """The rows that the first reading took, in the same order."""
    for _, row in files.placed_rows(listing, lambda fault: None, on_bytes):
        with contextlib.suppress(RowError):
            group_of(row, by)
            yield row
