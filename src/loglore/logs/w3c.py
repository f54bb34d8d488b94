"""W3C extended logs (IIS, Exchange, Windows' firewall, proxies): a line `#Fields: …` names the columns of the others.

The directive is found once in a whole log and then belongs to its layouts, so a block of lines from the middle of it
is read as well. Of two directives with equally many columns in one log the first is taken. Times are UTC, as the
format says. The message is the columns as `name=value`; those without a value (`-`) are no `fields`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import polars as pl

from loglore.logs import levels, structured, timestamps

NAME = "w3c"
DIRECTIVE = "#Fields:"
_DIRECTIVE = re.compile(rf"^{DIRECTIVE}[ \t]*(\S[^\r\n]*)", re.MULTILINE)
# A log has one or a few; each one more is a try at every line.
MOST_DIRECTIVES = 16
MOST_COLUMNS = 200
_REMARK = r"^#[A-Z][A-Za-z-]*:"
_CELL = r"\"[^\"]*\"|\S+"
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def directives(texts: Iterable[str]) -> list[str]:
    """The distinct directives in texts of any number of lines, with the names of their columns cut by one blank."""
    found: dict[str, None] = {}
    for text in texts:
        for one in _DIRECTIVE.finditer(text) if DIRECTIVE in text else ():
            names = one[1].split()
            if 2 <= len(names) <= MOST_COLUMNS and len(found) < MOST_DIRECTIVES:
                found[" ".join([DIRECTIVE, *dict.fromkeys(names)])] = None
    return list(found)


def read(frame: pl.DataFrame, named: Sequence[str]) -> pl.DataFrame:
    """Those of some lines (`row`, `text`) that are of a log with these directives, with the columns of `headers.parse`.

    The directives themselves and other remarks (`#Software: …`) are among them: a remark is its own message.
    """
    remarks = frame.filter(pl.col("text").str.contains(_REMARK))
    done = [_filled(remarks, message=pl.col("text"))]
    rest = frame.join(remarks.select("row"), on="row", how="anti", maintain_order="left")
    rest = rest.with_columns(cells=pl.col("text").str.extract_all(_CELL))
    for directive in named:
        columns = directive.removeprefix(DIRECTIVE).split()
        fits = pl.col("cells").list.len() == len(columns)
        if "date" in columns:
            fits &= pl.col("cells").list.get(columns.index("date"), null_on_oob=True).str.contains(_DAY)
        taken = rest.filter(fits)
        done.append(_records(taken, columns))
        rest = rest.join(taken.select("row"), on="row", how="anti", maintain_order="left")
    return pl.concat(done)


def _records(taken: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    raw = taken.select(pl.col("cells").list.get(at).alias(name) for at, name in enumerate(columns))
    cells = raw.select(pl.when(pl.all() != "-").then(pl.all().str.replace(r'^"(.*)"$', "${1}")))
    told = [name for name in columns if name not in ("date", "time")]
    when = pl.concat_str("date", "time", separator=" ") if {"date", "time"} <= set(columns) else pl.lit(None, pl.String)
    times = timestamps.parse(cells.select(when=when)["when"], "TIMESTAMP_ISO8601")
    message = pl.concat_str((pl.lit(f"{name}=") + pl.col(name) for name in told), separator=" ")
    pairs = pl.concat_str((_pair(name) for name in told), separator=",", ignore_nulls=True)
    first = {name: pl.col(name) if name in columns else None for name in _ROLES}
    shown = raw.select(message=message)
    rest = cells.select(
        fields=pl.when(pairs != "").then(pl.lit("{") + pairs + pl.lit("}")),
        level=levels.of_status(_or_null(first["sc-status"])),
        host=pl.coalesce(_or_null(first["s-computername"]), _or_null(first["s-ip"])),
        component=_or_null(first["s-sitename"]),
    )
    lines = pl.concat([taken.select("row", "text"), shown, times, rest], how="horizontal")
    return _filled(lines)


_ROLES = ("sc-status", "s-computername", "s-ip", "s-sitename")


def _or_null(column: pl.Expr | None) -> pl.Expr:
    return pl.lit(None, dtype=pl.String) if column is None else column


def _pair(name: str) -> pl.Expr:
    """One column as a member of a JSON object; null without a value."""
    value = pl.col(name).str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
    value = value.str.replace_all(r"[\x00-\x1f]", "\ufffd")
    return pl.lit(orjson.dumps(name).decode() + ':"') + value + pl.lit('"')


# What other structured lines say, and the line itself.
_COLUMNS: dict[str, Any] = {"row": pl.UInt32, "text": pl.String, **structured.SCHEMA}


def _filled(lines: pl.DataFrame, **told: pl.Expr) -> pl.DataFrame:
    """Lines with every column, null where nothing is said."""
    lines = lines.with_columns(layout=pl.lit(NAME), **told)
    if "yearless" not in lines.columns:
        lines = lines.with_columns(yearless=pl.lit(value=False))
    return lines.select(
        (pl.col(name) if name in lines.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in _COLUMNS.items()
    )
