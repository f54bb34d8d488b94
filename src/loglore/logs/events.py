"""Multi-line events: which line each line belongs to, for tracebacks, SQL statements and other continuations.

In a log whose lines have headers, a line without one continues the event before it, as most log shippers do it. In a
log without headers only lines that show it (indentation, parts of a Python or Java traceback) continue an event.
"""

from dataclasses import dataclass

import polars as pl

from loglore.logs.headers import sample_step
from loglore.logs.layouts import TWO_LINES, WRAPPING

# Begins or continues a traceback of Python, Java or Go, or is indented: never an event of its own when one precedes it.
_CONTINUES = (
    r"^(?:\s+\S|Traceback \(most recent call last\)|Caused by: |Suppressed: |\.{3} [0-9]+ more"
    r"|goroutine [0-9]+ \[|\[signal SIG|During handling of the above exception"
    r"|The above exception was the direct cause|[)\]}]+[,;]?$)"
)
_TRACEBACK = r"^Traceback \(most recent call last\)"
_CHAIN = r"^(?:During handling of the above exception|The above exception was the direct cause)"
# The last line of a Python traceback: `package.Name: what`, `NameError`.
_EXCEPTION = r"^[A-Za-z_][\w.]*(?:Error|Exception|Warning|Interrupt|Exit|Iteration|Timeout|Refused|Group)?(?:: .*)?$"
# PostgreSQL gives the further parts of a message a header of their own.
_PG_PART = r"^[^\[]*\[[0-9-]+\] (?:\S+ )?(?:DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE):"
# A line of a container that was cut, and one that holds a further line of a traceback.
_CUT = r"^\S+ std(?:out|err) P "
_WRAPPED = (
    r"^(?:\S+ std(?:out|err) [FP] |\{\"log\": ?\")"
    r"(?:(?:\s|\\t)+[^\s\\]|Traceback \(most recent call last\)|Caused by: |Suppressed: |\.{3} [0-9]+ more)"
)
# What Go and Java print when a program dies, whatever line of its log stands before it.
DEATH = r"^(?:panic: |fatal error: |Exception in thread \")"
# A log counts as one with headers when at least this share of its own lines (not indented, not blank) has one.
HEADER_SHARE = 0.5


@dataclass(frozen=True)
class Carry:
    """What the lines so far tell about the next ones of the same source, when it is read in blocks.

    rows: the last two rows, `pid` filled forward. event: the event of the last line. inside: whether a traceback was
    open before `rows`.
    """

    rows: pl.DataFrame
    event: int
    inside: bool


def join(frame: pl.DataFrame, headed: bool | None = None, before: Carry | None = None) -> pl.DataFrame:
    """Add `event` (first line of the event) to lines of one source and clear the level of continuing lines.

    The second line of a record of two continues the first and keeps its level: the first says none.

    Args:
        frame: `line`, `text`, `layout`, `pid`, `level` of one source in line order.
        headed: whether it is a log whose lines have headers; None finds out from the frame.
        before: what `carry` returned for the lines before these; None at the start of a source.
    """
    if headed is None:
        headed = is_headed(frame.gather_every(sample_step(frame.height)))
    whole, context = _with_context(frame, before)
    text = pl.col("text")
    if headed:
        continues = _bare(whole) | _postgresql_part(whole) | _wrapped_part(whole)
    else:
        whole = _marked(whole).with_columns(inside=_inside(before))
        ends = ~pl.col("shown") & text.str.contains(_EXCEPTION) & pl.col("inside").shift(1, fill_value=False)
        chained = pl.col("layout").shift(1).is_not_null() | text.shift(2).str.contains(_CHAIN)
        continues = pl.col("bare") & (pl.col("blank") | ends | (pl.col("shown") & (~pl.col("traceback") | chained)))
    continues = continues.fill_null(value=False)
    silent = continues
    if _has(whole, TWO_LINES[1]):
        second = (pl.col("layout") == TWO_LINES[1]).fill_null(value=False)
        continues |= second
        silent = continues & ~(second & (pl.col("layout").shift(1) == TWO_LINES[0]).fill_null(value=False))
    marks = whole.select(continues.alias("continues"), silent.alias("silent")).slice(context)
    frame = whole.slice(context).with_columns(marks)
    first = pl.when(pl.col("continues") & (pl.col("line") > 1)).then(None).otherwise(pl.col("line"))
    event = first.forward_fill()
    return frame.with_columns(
        event=event if before is None else event.fill_null(before.event),
        level=pl.when("silent").then(None).otherwise("level"),
    )


def carry(frame: pl.DataFrame, headed: bool, before: Carry | None = None) -> Carry:
    """What lines of a source and those before them tell about the next ones.

    Args:
        frame: lines that `join` returned, at least one.
        headed: as for `join`; with headers an open traceback decides nothing and is not looked for.
        before: what `join` was given for them.
    """
    whole, _ = _with_context(frame, before)
    open_before = before.inside if before else False
    if whole.height > 2 and not headed:
        open_before = bool(_marked(whole.head(whole.height - 2)).select(_inside(before).last()).item())
    rows = whole.with_columns(pl.col("pid").forward_fill()).tail(2).select(_CONTEXT)
    return Carry(rows, int(frame["event"][-1]), open_before)


def is_headed(frame: pl.DataFrame) -> bool:
    """Whether at least `HEADER_SHARE` of the lines that are not blank or indented have a header (`text`, `layout`)."""
    own = _marked(frame).filter(~pl.col("blank") & ~pl.col("shown"))
    return own.height > 0 and int(own["bare"].sum()) <= own.height * (1 - HEADER_SHARE)


_CONTEXT = ("line", "text", "layout", "pid")


def _marked(frame: pl.DataFrame) -> pl.DataFrame:
    text = pl.col("text")
    return frame.with_columns(
        bare=pl.col("layout").is_null(),
        blank=text.str.contains(r"^\s*$"),
        shown=text.str.contains(_CONTINUES),
        traceback=text.str.contains(_TRACEBACK),
    )


def _with_context(frame: pl.DataFrame, before: Carry | None) -> tuple[pl.DataFrame, int]:
    """The lines with the few before them in front, and how many those are."""
    if before is None:
        return frame, 0
    kinds = {name: frame.schema[name] for name in _CONTEXT}
    context = before.rows.select(pl.col(name).cast(kind) for name, kind in kinds.items())
    return pl.concat([context, frame], how="diagonal"), context.height


def _inside(before: Carry | None) -> pl.Expr:
    """True on the lines of a traceback: from its first line over the indented ones that follow."""
    starts = ~pl.col("shown") | pl.col("traceback")
    opened = pl.when(starts).then("traceback").forward_fill().fill_null(before.inside if before else False)
    return opened & pl.col("shown")


def _has(whole: pl.DataFrame, layout: str) -> bool:
    return bool((whole["layout"] == layout).any())


def _bare(whole: pl.DataFrame) -> pl.Expr:
    """Which lines have no header and are not the death of a program; only those without one are looked at."""
    bare = whole["layout"].is_null().to_numpy().copy()
    bare[bare] = ~whole["text"].filter(pl.Series(bare)).str.contains(DEATH).to_numpy()
    return pl.lit(pl.Series(bare))


def _wrapped_part(whole: pl.DataFrame) -> pl.Expr:
    """Which lines of containers go on a line that was cut, or are further lines of a traceback."""
    if not any(_has(whole, layout) for layout in WRAPPING):
        return pl.lit(value=False)
    own = whole["layout"].is_in(WRAPPING).fill_null(value=False)
    text = pl.col("text")
    cut = text.str.contains(_CUT).shift(1, fill_value=False)
    return pl.lit(own) & (cut | text.str.contains(_WRAPPED))


def _postgresql_part(whole: pl.DataFrame) -> pl.Expr:
    """Which lines are further parts of the PostgreSQL message before them; only that layout's lines are looked at."""
    own = (whole["layout"] == "postgresql").fill_null(value=False)
    if not own.any():
        return pl.lit(value=False)
    parts = own.to_numpy().copy()
    parts[parts] = whole.filter(own)["text"].str.contains(_PG_PART).to_numpy()
    same = pl.col("pid") == pl.col("pid").forward_fill().shift(1)
    return pl.lit(pl.Series(parts)) & same
