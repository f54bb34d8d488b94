"""Everything that is wrong with data, found before GPU time: each file read once, faults by row number and field.

Errors would stop or spoil a training run: rows that cannot be read, wrong types, empty answers, turn order, unknown
roles, `nan` in a CSV, held-out rows that stand in the training files. Warnings are for a person to judge: duplicates,
near duplicates, damaged characters, rows longer than the limit, overlapping text, mixed formats.

Cost on one core besides reading: about 10 µs and 5 ns a byte a row; near duplicates as much again three times; leaks 10
ns a byte, only when held-out files are given along.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from loglore.data import files, leaks, looking, sources
from loglore.data.faults import Fault
from loglore.data.json_rows import Row
from loglore.data.looking import UNREADABLE, Look, Looks, Wish
from loglore.data.near import NearDuplicates
from loglore.data.too_long import Limit

Severity = Literal["error", "warning"]
WARNINGS = {
    "replacement",
    "mojibake",
    "control",
    "duplicate",
    "near-duplicate",
    "too-long",
    "overlap",
    "mixed-formats",
}
EXAMPLES = 5


@dataclass
class Problem:
    """All faults of one kind in one file: how many, and the first few."""

    kind: str
    severity: Severity
    count: int = 0
    examples: list[Fault] = field(default_factory=list)


@dataclass
class FileReport:
    """One file: `what` it was taken for, its role in the leak check, rows read, rows by format, problems by kind.

    lost_tokens: tokens that the policy for long rows leaves out; tokens: of all rows (0 where none were counted).
    most_examples: rows kept of each kind of problem.
    """

    name: str
    what: list[str]
    left_out: list[str]
    role: leaks.Role
    rows: int = 0
    faulty: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    problems: dict[str, Problem] = field(default_factory=dict)
    tokens: int = 0
    lost_tokens: int = 0
    most_examples: int = EXAMPLES

    def add(self, fault: Fault) -> None:
        """Count a fault, and keep it when it is among the first of its kind."""
        severity: Severity = "warning" if fault.kind in WARNINGS else "error"
        problem = self.problems.setdefault(fault.kind, Problem(fault.kind, severity))
        problem.count += 1
        if len(problem.examples) < self.most_examples:
            problem.examples.append(fault)


@dataclass
class Report:
    """What `check` found: one report a file, and leaks between them."""

    files: list[FileReport]
    leaks: list[leaks.Leak]
    near_duplicates: bool
    too_short_to_compare: int = 0

    @property
    def errors(self) -> int:
        """Number of errors in all files."""
        return sum(p.count for file in self.files for p in file.problems.values() if p.severity == "error")

    @property
    def warnings(self) -> int:
        """Number of warnings in all files."""
        return sum(p.count for file in self.files for p in file.problems.values() if p.severity == "warning")


@dataclass(frozen=True)
class Input:
    """A path to check and its role."""

    path: str
    role: leaks.Role


def parse_input(text: str) -> Input:
    """A path as given, `FILE` or `ROLE=FILE`; without a role the name says it (`leaks.role_of`).

    >>> parse_input("test=rows.jsonl"), parse_input("val_no_json.json").role
    (Input(path='rows.jsonl', role='test'), 'validation')
    """
    for role in leaks.ROLES:
        if text.startswith(f"{role}="):
            return Input(text.removeprefix(f"{role}="), role)
    return Input(text, leaks.role_of(text))


def check(
    inputs: Sequence[Input],
    near_duplicates: bool = True,
    limit: Limit | None = None,
    on_error: Callable[[Fault], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
    examples: int = EXAMPLES,
    looks: Looks = looking.here,
) -> Report:
    """Read every file once and report what is wrong with it.

    Args:
        inputs: files with their roles; leaks are looked for in later roles (corpus, train, validation, test).
        near_duplicates: also look for rows that share most of their text.
        limit: also count tokens, and report rows that are too long.
        on_error: told of every faulty row (for a side file).
        on_bytes: told how many stored bytes were read since the last call.
        examples: how many rows of each kind of problem to keep.
        looks: who looks at the rows.

    Raises:
        InputError: a path with nothing to read, or (with `limit`) a tokenizer without a usable chat template.
    """
    # Held-out files first: the training files then stream past them.
    order = sorted(range(len(inputs)), key=lambda number: inputs[number].role in ("corpus", "train"))
    held_out: list[leaks.HeldOut] = []
    reports: dict[int, FileReport] = {}
    short = 0
    for number in order:
        one = _One(inputs[number], NearDuplicates() if near_duplicates else None, held_out, on_error, examples)
        one.read(looks, limit, on_bytes)
        reports[number] = one.report
        short += one.near.short if one.near else 0
        if one.held_out is not None:
            held_out.append(one.held_out)
    for later in held_out:
        for earlier in held_out:
            if leaks.ROLES.index(earlier.role) < leaks.ROLES.index(later.role):
                for found in earlier.contents():
                    later.compare(earlier.name, *found)
    found_leaks = [leak for one_held_out in held_out for leak in one_held_out.leaks()]
    by_name = {report.name: report for report in reports.values()}
    for leak in found_leaks:
        _add_leak(by_name[leak.held_out], leak)
    return Report([reports[number] for number in range(len(inputs))], found_leaks, near_duplicates, short)


def good_rows(
    path: str, faulty: Container[tuple[str, int]], on_bytes: Callable[[int], None] | None = None
) -> Iterator[Row]:
    """The rows of a path without those that `check` called faulty (file and row of each `Fault` it told)."""
    for place, row in files.placed_rows(path, lambda fault: None, on_bytes):
        if tuple(place) not in faulty:
            yield row


def _add_leak(report: FileReport, leak: leaks.Leak) -> None:
    for place in leak.chunk:
        report.add(Fault(*place, "leak-chunk", f"its log lines also stand in {leak.seen_in}"))
    for place in leak.exact:
        report.add(Fault(*place, "leak-exact", f"the same text stands in {leak.seen_in}"))
    for place, share in zip(leak.overlapping, leak.shares, strict=True):
        message = f"{share:.0%} of its {leaks.WINDOW}-byte windows stand in {leak.seen_in}"
        report.add(Fault(*place, "overlap", message))


class _One:
    """The check of one file: its looks against each other and against held-out files, in the order of its rows."""

    def __init__(
        self,
        given: Input,
        near: NearDuplicates | None,
        held_out: list[leaks.HeldOut],
        on_error: Callable[[Fault], None] | None,
        examples: int,
    ) -> None:
        self.listing = sources.find(given.path)
        what = [str(file) for file in self.listing.files]
        self.report = FileReport(given.path, what, self.listing.left_out, given.role, most_examples=examples)
        self.near = near
        self.others = held_out if given.role in ("corpus", "train") else []
        self.held_out = None if given.role in ("corpus", "train") else leaks.HeldOut(given.path, given.role)
        self.on_error = on_error
        self.digests: dict[bytes, files.Place] = {}
        self.places: list[files.Place] = []

    def read(self, looks: Looks, limit: Limit | None, on_bytes: Callable[[int], None] | None) -> None:
        wish = Wish(
            csv=any(file.kind == "CSV" for file in self.listing.files),
            near=self.near is not None,
            origin=self.held_out is not None or bool(self.others),
            others=tuple(self.others),
            limit=limit,
        )
        for look in looks(self.report.name, self.listing, wish, self.digests, on_bytes):
            if look.bad and look.bad.kind == UNREADABLE:
                # Nothing after this can be read; what was found so far is still worth telling.
                number = self.report.rows + self.report.faulty + 1
                self.bad(Fault(self.report.name, number, UNREADABLE, look.bad.message))
                break
            self.row(look)
        if self.near:
            for pair in self.near.pairs():
                later, earlier = self.places[pair.later], self.places[pair.earlier]
                self.add(later, "near-duplicate", f"{pair.similarity:.0%} like {self.other(later, earlier)}")
        if len(self.report.formats) > 1:
            found = ", ".join(f"{name} {count:,}" for name, count in self.report.formats.most_common())
            self.report.add(Fault(self.report.name, 1, "mixed-formats", f"rows of several formats: {found}"))

    def bad(self, fault: Fault) -> None:
        self.report.faulty += 1
        self.report.add(fault)
        if self.on_error is not None:
            self.on_error(fault)

    def add(self, place: files.Place, kind: str, message: str) -> None:
        self.report.add(Fault(place.file, place.row, kind, message))

    @staticmethod
    def other(place: files.Place, earlier: files.Place) -> str:
        return f"row {earlier.row}" if place.file == earlier.file else str(earlier)

    def row(self, look: Look) -> None:
        self.report.tokens += look.length.tokens
        self.report.lost_tokens += look.length.lost
        if look.bad:
            self.bad(look.bad)
            return
        self.report.rows += 1
        self.report.formats[look.kind] += 1
        if look.length.fault:
            self.add(look.place, look.length.fault, look.length.message)
        for fault in look.damage:
            self.report.add(fault)
        self.compare(look)

    def compare(self, look: Look) -> None:
        place = look.place
        earlier = self.digests.setdefault(look.digest, place)
        if earlier is not place:
            self.add(place, "duplicate", f"the same text as {self.other(place, earlier)}")
        elif self.near:
            self.near.add(len(self.places), look.sketch)
            self.places.append(place)
        if self.held_out is not None:
            self.held_out.add(place, look.windows, look.digest, look.keys)
        for other in self.others:
            other.compare(self.report.name, look.windows, look.digest, look.keys)


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain JSON values."""
    return {
        "errors": report.errors,
        "warnings": report.warnings,
        "near_duplicates": report.near_duplicates,
        "too_short_to_compare": report.too_short_to_compare,
        "files": [
            {
                "name": file.name,
                "what": file.what,
                "left_out": file.left_out,
                "role": file.role,
                "rows": file.rows,
                "faulty": file.faulty,
                "formats": dict(file.formats),
                "tokens": file.tokens,
                "lost_tokens": file.lost_tokens,
                "problems": [
                    {
                        "kind": problem.kind,
                        "severity": problem.severity,
                        "count": problem.count,
                        "examples": [
                            {"file": one.file, "row": one.row, "field": one.field, "message": one.message}
                            for one in problem.examples
                        ],
                    }
                    for problem in file.problems.values()
                ],
            }
            for file in report.files
        ],
        "leaks": [_leak_as_json(leak) for leak in report.leaks],
    }


def _leak_as_json(leak: leaks.Leak) -> dict[str, Any]:
    places = {name: [place._asdict() for place in getattr(leak, name)] for name in ("chunk", "exact", "overlapping")}
    return {**vars(leak), **places, "window_bytes": leaks.WINDOW}


def lines(report: Report) -> list[str]:
    """The report for a person: per file what it is and the first rows of each kind of problem, then the leaks."""
    shown = []
    for file in report.files:
        formats = ", ".join(f"{name} {count:,}" for name, count in file.formats.most_common()) or "none"
        shown.append(f"{file.name}: {file.rows:,} good rows ({formats}), {file.faulty:,} faulty; taken as {file.role}")
        shown += [f"  read as {what}" for what in file.what[:EXAMPLES]]
        if file.left_out:
            shown.append(
                f"  not read (no data): {', '.join(file.left_out[:EXAMPLES])}" + " …" * (len(file.left_out) > EXAMPLES)
            )
        if file.lost_tokens:
            share = file.lost_tokens / file.tokens
            shown.append(f"  {file.lost_tokens:,} of {file.tokens:,} tokens ({share:.1%}) would be left out")
        for problem in sorted(file.problems.values(), key=lambda problem: (problem.severity, -problem.count)):
            shown.append(f"  {problem.severity} {problem.kind}: {problem.count:,}")
            shown += [f"    {one}" for one in problem.examples]
            if problem.count > len(problem.examples):
                shown.append(f"    … and {problem.count - len(problem.examples):,} more")
    for leak in report.leaks:
        shown.append(
            f"{leak.held_out} in {leak.seen_in}: of {leak.rows:,} rows {len(leak.chunk):,} share log lines, "
            f"{len(leak.exact):,} are the same text, {len(leak.overlapping):,} overlap by {leaks.OVERLAP:.0%} or more "
            f"({leaks.WINDOW}-byte windows: mean {leak.mean_overlap:.1%}, most {leak.max_overlap:.1%})"
        )
    if not report.near_duplicates:
        shown.append("near duplicates were not looked for")
    shown.append(f"{report.errors:,} errors, {report.warnings:,} warnings")
    return shown
