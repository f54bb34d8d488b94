"""What the terminal shows, as plain text: the log's header, an answer's checked claims, and what was left out.

Log lines and answers are foreign text: control characters (which could drive the terminal) and direction marks (which
could reorder what is read) become U+FFFD, and so does what the terminal's encoding lacks.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from loglore.logs.view import facts

if TYPE_CHECKING:
    from loglore.ask.answer import Answer
    from loglore.logs.evidence import Evidence
    from loglore.logs.grounding import Claim
    from loglore.logs.table import LogTable
    from loglore.logs.view import SourceFacts

MARKS = {"supported": "✓", "contradicted": "✗", "unverifiable": "?"}
PLAIN_MARKS = {"supported": "+", "contradicted": "x", "unverifiable": "?"}
LEVELS = ("fatal", "error", "warning", "notice", "info", "debug", "trace")
# Green, red and grey, as ANSI knows them.
COLOURS = {"supported": "32", "contradicted": "31", "unverifiable": "90"}
CUT = {"length": " (cut at the length limit)", "repeats": " (ended and cut: it went in circles)"}
CITED_LINES = 3
CITED_CHARACTERS = 160
DIRECTION_MARKS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def cleaner(encoding: str | None) -> Callable[[str], str]:
    """A function that makes foreign text safe to write to a terminal with this encoding."""
    name = encoding or "utf-8"

    def clean(text: str) -> str:
        safe = "".join(each if _is_safe(each) else "\ufffd" for each in text)
        return safe.encode(name, "replace").decode(name)

    return clean


def marks(encoding: str | None) -> dict[str, str]:
    """The mark of each verdict, in characters that the encoding has."""
    try:
        "".join(MARKS.values()).encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return PLAIN_MARKS
    return MARKS


def header(table: "pl.DataFrame | LogTable") -> list[str]:
    """One line per log file (at most ten): lines, time range, levels."""
    parts = list(facts(table))
    lines = [_source(part) for part in parts[:10]]
    if len(parts) > len(lines):
        lines.append(f"and {len(parts) - len(lines)} more files; {table.height:,} lines in all")
    return lines


def left_out(evidence: "Evidence") -> str:
    """What of the log the model saw and what it did not, in one line."""
    omitted = evidence.omitted
    total = omitted["lines_total"]
    seen = f"The model saw {len(evidence.lines):,} of {total:,} lines ({evidence.tokens:,} tokens)"
    if not omitted["lines"] and not omitted["shortened"]:
        return f"{seen}: all of the log."
    parts = [f"{omitted['lines']:,} lines", f"{omitted['templates']:,} of {omitted['templates_total']:,} templates"]
    shortened = f"; {omitted['shortened']:,} long lines were cut" if omitted["shortened"] else ""
    return f"{seen}; left out: {', '.join(parts)}{shortened}."


def verdicts(answer: "Answer", table: "pl.DataFrame | LogTable", mark: dict[str, str]) -> list[str]:
    """The answer's claims with their verdict and the lines they stand on; says so when there are none."""
    if not answer.claims:
        return ["Nothing in this answer can be checked against the log: no line, quote, count, time or entity."]
    counts = {verdict: sum(claim.verdict == verdict for claim in answer.claims) for verdict in MARKS}
    summary = ", ".join(f"{mark[verdict]} {count} {verdict}" for verdict, count in counts.items() if count)
    lines = [f"Checked against the log: {summary}"]
    shown: set[str] = set()
    for claim in answer.claims:
        rows = _claim(claim, answer.text, table, mark)
        if rows[0] not in shown:
            shown.add(rows[0])
            lines += rows
    return lines


def painted(line: str, mark: dict[str, str], *, on_terminal: bool) -> str:
    """A clean line of `verdicts` in the colour of its mark, where it goes to a terminal that has not refused colour."""
    if not on_terminal or os.environ.get("NO_COLOR"):
        return line
    for verdict, sign in mark.items():
        if line.startswith(f"  {sign} "):
            return f"\x1b[{COLOURS[verdict]}m{line}\x1b[0m"
    return line


def markdown(question: str, answer: str, checked: Sequence[str]) -> str:
    """A question with its answer and what was checked, as Markdown in which foreign text stays text."""
    longest = max((len(run) for run in re.findall("`+", "\n".join((question, answer, *checked)))), default=0)
    fence = "`" * max(3, longest + 1)
    blocks = (question, answer, "\n".join(checked))
    return "\n".join(f"{fence}\n{block}\n{fence}\n" for block in blocks)


def speed(answer: "Answer") -> str:
    """Tokens and times, in one line."""
    reply = answer.reply
    cut = CUT.get(reply.finish_reason, "")
    return (
        f"{reply.completion_tokens:,} tokens{cut}, {reply.tokens_per_second:.0f} tokens/s, first after "
        f"{reply.first_token_s:.1f} s; prompt {reply.prompt_tokens:,} tokens, {reply.cached_tokens:,} of them cached"
    )


def _claim(claim: "Claim", text: str, table: "pl.DataFrame | LogTable", mark: dict[str, str]) -> list[str]:
    actual = f"; the log says: {claim.actual}" if claim.verdict == "contradicted" and claim.actual else ""
    quoted = " ".join(text[claim.start : claim.end].split())
    rows = [f"  {mark[claim.verdict]} {claim.kind}: {quoted}{actual}"]
    lines = list(claim.lines)
    wanted, several = _cited(table, claim.source, lines[:CITED_LINES])
    for source, line, content in wanted.select("source", "line", "text").head(CITED_LINES).iter_rows():
        place = f"{source}:L{line}" if several else f"L{line}"
        rows.append(f"      {place}| {_short(content)}")
    if len(lines) > CITED_LINES:
        rows.append(f"      … and {len(lines) - CITED_LINES:,} more lines")
    return rows


def _cited(table: "pl.DataFrame | LogTable", source: str, lines: list[int]) -> tuple[pl.DataFrame, bool]:
    """The rows of some lines, and whether the log has several sources."""
    if not isinstance(table, pl.DataFrame):
        names = [source] if source else table.sources
        return table.rows([(name, line) for name in names for line in lines]), len(table.sources) > 1
    wanted = table.filter(pl.col("line").is_in(lines))
    return wanted.filter(pl.col("source") == source) if source else wanted, table["source"].n_unique() > 1


def _source(part: "SourceFacts") -> str:
    levels = ", ".join(f"{level} {part.levels[level]:,}" for level in LEVELS if level in part.levels)
    span = f", {_clock(part.first)} to {_clock(part.last)} UTC" if part.first is not None else ", no times"
    partial = ", partial" if part.fault else ""
    return f"{part.name}: {part.lines:,} lines{span}" + (f", {levels}" if levels else "") + partial


def _clock(moment: object) -> str:
    return str(moment)[:19]


def _short(text: str) -> str:
    return text if len(text) <= CITED_CHARACTERS else text[: CITED_CHARACTERS - 1] + "…"


def _is_safe(character: str) -> bool:
    if character in "\n\t":
        return True
    return unicodedata.category(character) not in ("Cc", "Cs") and character not in DIRECTION_MARKS


def wrap_commands(commands: Sequence[tuple[str, str]]) -> str:
    """Commands with their meaning, one a line."""
    width = max(len(name) for name, _ in commands)
    return "\n".join(f"  {name.ljust(width)}  {meaning}" for name, meaning in commands)
