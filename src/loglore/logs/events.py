"""Multi-line events: which line each line belongs to, for tracebacks, SQL statements and other continuations.

In a log whose lines have headers, a line without one continues the event before it, as most log shippers do it. In a
log without headers only lines that show it (indentation, parts of a Python or Java traceback) continue an event.
"""

import polars as pl

# Begins or continues a traceback, or is indented: never an event of its own when one precedes it.
_CONTINUES = (
    r"^(?:\s+\S|Traceback \(most recent call last\)|Caused by: |Suppressed: |\.{3} [0-9]+ more"
    r"|During handling of the above exception|The above exception was the direct cause|[)\]}]+[,;]?$)"
)
_TRACEBACK = r"^Traceback \(most recent call last\)"
_CHAIN = r"^(?:During handling of the above exception|The above exception was the direct cause)"
# The last line of a Python traceback: `package.Name: what`, `NameError`.
_EXCEPTION = r"^[A-Za-z_][\w.]*(?:Error|Exception|Warning|Interrupt|Exit|Iteration|Timeout|Refused|Group)?(?:: .*)?$"
# PostgreSQL gives the further parts of a message a header of their own.
_PG_PART = r"^[^\[]*\[[0-9-]+\] (?:\S+ )?(?:DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE):"
# A log counts as one with headers when at least this share of its own lines (not indented, not blank) has one.
HEADER_SHARE = 0.5


def join(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `event` (first line of the event) to the lines of one source and clear the level of continuing lines.

    Args:
        frame: `line`, `text`, `layout`, `pid`, `level` of one source in line order.
    """
    text = pl.col("text")
    frame = frame.with_columns(
        bare=pl.col("layout").is_null(),
        blank=text.str.contains(r"^\s*$"),
        shown=text.str.contains(_CONTINUES),
        traceback=text.str.contains(_TRACEBACK),
    )
    own = frame.filter(~pl.col("blank") & ~pl.col("shown"))
    headed = own.height > 0 and int(own["bare"].sum()) <= own.height * (1 - HEADER_SHARE)
    if headed:
        continues = pl.col("bare") | _postgresql_part()
    else:
        frame = frame.with_columns(inside=_inside_traceback())
        ends = ~pl.col("shown") & text.str.contains(_EXCEPTION) & pl.col("inside").shift(1, fill_value=False)
        chained = pl.col("layout").shift(1).is_not_null() | text.shift(2).str.contains(_CHAIN)
        continues = pl.col("bare") & (pl.col("blank") | ends | (pl.col("shown") & (~pl.col("traceback") | chained)))
    frame = frame.with_columns(continues=continues.fill_null(value=False))
    first = pl.when(pl.col("continues") & (pl.col("line") > 1)).then(None).otherwise(pl.col("line"))
    return frame.with_columns(
        event=first.forward_fill(),
        level=pl.when("continues").then(None).otherwise("level"),
    )


def _inside_traceback() -> pl.Expr:
    """True on the lines of a traceback: from its first line over the indented ones that follow."""
    block = (~pl.col("shown") | pl.col("traceback")).cum_sum()
    return pl.col("traceback").any().over(block) & pl.col("shown")


def _postgresql_part() -> pl.Expr:
    same = pl.col("pid") == pl.col("pid").forward_fill().shift(1)
    return (pl.col("layout") == "postgresql") & pl.col("text").str.contains(_PG_PART) & same
