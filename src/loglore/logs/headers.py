"""Header fields of many lines at once: find which layouts a log uses, then run only those, in Polars.

Trying all layouts on every line would cost eighty regular expressions a line; a sample tells which few occur. In a log
larger than the sample a layout that the sample lacks is missed, so the sample is spread over the whole log.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache

import polars as pl

from loglore.logs import levels, stream, structured, timestamps, w3c
from loglore.logs.layouts import CLOCKS, LAYOUTS, TWO_LINES, WRAPPING, expression, header, opening
from loglore.logs.patterns import expand

SAMPLE_LINES = 8192
FEW_LINES = 300
LONGEST_HEADER = 500
FIELDS = ("time", "host", "pid", "level", "priority", "component", "lead", "message")
COLUMNS = ("row", "text", "message", "time", "yearless", "level", "component", "host", "pid", "layout", "fields")
# What `docker compose logs` and `kubectl logs --prefix` put before every line.
_CONTAINER = r"^(?P<prefix>(?:(?P<name>[A-Za-z0-9][\w.-]*) +\| |\[pod/(?P<pod>[\w./-]+)\] ))"
_NO_FIELDS = pl.lit(None, dtype=pl.String).alias("fields")
_NO_TIME = (pl.lit(None, dtype=pl.Datetime("us")).alias("time"), pl.lit(value=False).alias("yearless"))


def sample_step(lines: int) -> int:
    """Which lines of a source tell its layouts: every first, second, fourth, … so that at most `SAMPLE_LINES` do.

    Powers of two, so that a stream of unknown length can thin its sample out as it goes and end with the same lines.
    """
    step = 1
    while (lines + step - 1) // step > SAMPLE_LINES:
        step *= 2
    return step


def parse(text: pl.Series, layouts: Sequence[str] | None = None) -> pl.DataFrame:
    """Split lines into header fields and message.

    Args:
        text: the lines of one source, in order.
        layouts: names of the layouts that may occur, in the order of `LAYOUTS`, then the directives of a W3C log; None
            finds both, the layouts in a sample. JSON, logfmt, CEF and LEEF are told line by line and need no name.

    Returns:
        One row a line: `text`, `message`, `time`, `yearless`, `level`, `component`, `host`, `pid`, `layout` (null: no
        header found; then `message` is the text), `fields` (see `structured`).
    """
    frame = pl.DataFrame({"text": text}).with_row_index("row")
    named = frame.filter(pl.col("text").str.contains(_CONTAINER))
    if named.is_empty():
        return _parse(frame, layouts).sort("row").drop("row")
    behind = _behind_names(named)
    rest = frame.join(behind.select("row"), on="row", how="anti", maintain_order="left")
    return pl.concat([behind, _parse(rest, layouts)]).sort("row").drop("row")


def _parse(frame: pl.DataFrame, layouts: Sequence[str] | None = None) -> pl.DataFrame:
    """As `parse`, of `row` and `text`, in any order; a container's name counts as text."""
    sample = frame.gather_every(sample_step(frame.height)) if layouts is None else frame.clear()
    parts = []
    likely = frame.select(found=structured.candidates(pl.col("text")))["found"]
    if likely.any():
        records = _records(frame.filter(likely))
        parts.append(_wrapped(records))
        frame, sample = _without(frame, records), _without(sample, records)
    directives = _directives(frame["text"]) if layouts is None else [name for name in layouts if name not in LAYOUTS]
    if directives:
        parts.append(w3c.read(frame, directives).select(COLUMNS))
        frame, sample = _without(frame, parts[-1]), _without(sample, parts[-1])
    if layouts is None:
        assigned = _assign(sample, _possible(sample["text"]))
        layouts = present(assigned)
        whole = assigned.height == frame.height and layouts == ordered(assigned["layout"].drop_nulls())
        assigned = assigned if whole else _assign(frame, layouts)
    else:
        layouts = [name for name in layouts if name in LAYOUTS]
        assigned = _assign(frame, layouts)
    lines = [_fields(assigned.filter(pl.col("layout") == name), name) for name in layouts]
    lines.append(_plain(assigned.filter(pl.col("layout").is_null())))
    headed = _payloads(pl.concat(lines))
    parts.append(_wrapped(headed) if "container" in layouts else headed)
    return _second_lines(pl.concat(parts)) if TWO_LINES[0] in layouts else pl.concat(parts)


def _without(frame: pl.DataFrame, taken: pl.DataFrame) -> pl.DataFrame:
    return frame.join(taken.select("row"), on="row", how="anti", maintain_order="left")


def _directives(text: pl.Series) -> list[str]:
    return w3c.directives(text.filter(text.str.starts_with(w3c.DIRECTIVE)))


def present(frame: pl.DataFrame) -> list[str]:
    """The layouts that occur in a frame with the column `layout`, in the order of `LAYOUTS`."""
    found = set(frame["layout"].drop_nulls())
    # A sample of every second line may see nothing but the first lines of records of two.
    found |= set(TWO_LINES) if TWO_LINES[0] in found else set()
    # Among lines that have a date, one that begins with a clock is rather what a program printed.
    return ordered(found - set(CLOCKS) if any(_dated(name) for name in found) else found)


def _dated(name: str) -> bool:
    return name in LAYOUTS and LAYOUTS[name].time not in (None, "CLOCKTIME")


def ordered(names: Iterable[str]) -> list[str]:
    """Layouts in the order of `LAYOUTS`, then W3C directives, each once; names of other shapes are left out."""
    found = dict.fromkeys(names)
    return [name for name in LAYOUTS if name in found] + [name for name in found if name.startswith(w3c.DIRECTIVE)]


def _records(likely: pl.DataFrame) -> pl.DataFrame:
    """Those of the lines that are JSON, logfmt, CEF or LEEF records."""
    parsed = pl.concat([likely, structured.parse(likely["text"])], how="horizontal")
    records = parsed.filter(pl.col("layout").is_not_null()).with_columns(message=pl.coalesce("message", "shown"))
    return records.with_columns(_level()).select(COLUMNS)


def _wrapped(records: pl.DataFrame) -> pl.DataFrame:
    """Lines of Docker and Kubernetes hold the program's own: its header tells level, component and message."""
    wrapped = pl.col("layout").is_in(WRAPPING)
    outer = records.filter(wrapped)
    if outer.is_empty():
        return records
    inner = parse(stream.plain(outer["message"])).select(pl.exclude("text").name.suffix("_inner"))
    both = pl.concat([outer, inner], how="horizontal")
    own = [pl.coalesce(f"{name}_inner", name).alias(name) for name in ("level", "component", "host", "pid")]
    # Two JSON objects as one: the end of the first and the start of the second give way to a comma.
    joined = pl.concat_str(pl.col("fields").str.head(-1), pl.lit(","), pl.col("fields_inner").str.tail(-1))
    fields = pl.coalesce(joined, "fields_inner", "fields").alias("fields")
    both = both.with_columns(*own, fields, message=pl.col("message_inner")).select(COLUMNS)
    return pl.concat([records.filter(~wrapped.fill_null(value=False)), both])


def _behind_names(named: pl.DataFrame) -> pl.DataFrame:
    """Those of the lines that have a header, or are a record, behind the name of a container: that is their host."""
    groups = named["text"].str.extract_groups(_CONTAINER).struct.unnest()
    rest = named.with_columns(pl.col("text").str.strip_prefix(groups["prefix"]))
    names = named.with_columns(name=groups["name"].fill_null(groups["pod"]))
    found = _parse(rest).drop("text").join(names, on="row", maintain_order="left")
    return (
        found.filter(pl.col("layout").is_not_null())
        .with_columns(
            layout=pl.lit("container-name"),
            host=pl.coalesce("host", "name"),
            component=pl.coalesce("component", "name"),
        )
        .select(COLUMNS)
    )


def _second_lines(frame: pl.DataFrame) -> pl.DataFrame:
    """Give the second line of a record of two, which has the message, the time and the component of the first."""
    frame = frame.sort("row")
    second = (pl.col("layout") == TWO_LINES[1]) & (pl.col("layout").shift(1) == TWO_LINES[0])
    return frame.with_columns(
        pl.when(second).then(pl.col(name).shift(1)).otherwise(name).alias(name) for name in ("time", "component")
    )


def _payloads(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines with a header whose message is such a record: fields, and what the header does not say."""
    likely = lines.select(found=structured.candidates(pl.col("message"), behind_header=True))["found"]
    if not likely.any():
        return lines
    taken = lines.filter(likely)
    inner = structured.parse(taken["message"]).select(pl.all().name.suffix("_inner"))
    both = pl.concat([taken, inner], how="horizontal")
    # Pairs without a message are one as they stand; a JSON object is easier to read, and to mine, as pairs.
    spoken = pl.when(pl.col("layout_inner") == "json").then(pl.coalesce("message_inner", "shown_inner"))
    own = [pl.coalesce(f"{name}_inner", name).alias(name) for name in ("level", "component", "host", "pid")]
    both = both.with_columns(
        *own,
        message=pl.coalesce(spoken.otherwise("message_inner"), "message"),
        yearless=pl.when(pl.col("time").is_null()).then("yearless_inner").otherwise("yearless"),
        time=pl.coalesce("time", "time_inner"),
        fields=pl.col("fields_inner"),
    )
    return pl.concat([lines.filter(~likely), both.with_columns(_level()).select(COLUMNS)])


def place_years(table: pl.DataFrame) -> pl.DataFrame:
    """Put in what times lack and drop the column `yearless` (see `timestamps`).

    Year-less times move to the latest year that the table shows elsewhere; those without a date count their midnights,
    or are left out beside dated ones.
    """
    table = _place_days(table)
    dated = table.filter(pl.col("time").is_not_null() & ~pl.col("yearless"))
    if dated.is_empty() or not table["yearless"].any():
        year = timestamps.UNKNOWN_YEAR
    else:
        year = int(dated.select(pl.col("time").dt.year().max()).item())
    placed = [
        part.with_columns(time=timestamps.place_years(part["time"], part["yearless"], year))
        for part in table.partition_by("source", maintain_order=True)
    ]
    return pl.concat(placed or [table]).drop("yearless")


def _place_days(table: pl.DataFrame) -> pl.DataFrame:
    loose = table.select(loose=timestamps.dateless(pl.col("time"), pl.col("yearless")).fill_null(value=False))["loose"]
    if not loose.any():
        return table
    time = pl.when(loose).then(None).otherwise(pl.col("time"))
    if loose.sum() == table.height - table["time"].null_count():
        parts = [part["time"].drop_nulls() for part in table.partition_by("source", maintain_order=True)]
        days = pl.concat([timestamps.midnights(part) for part in parts])
        rows = loose.arg_true()
        moved = table["time"].gather(rows) + pl.select(pl.duration(days=pl.lit(days))).to_series()
        time = pl.lit(table["time"].clone().scatter(rows, moved))
    return table.with_columns(time=time, yearless=pl.col("yearless") & ~pl.lit(loose))


def _possible(text: pl.Series) -> list[str]:
    """Layouts worth trying: those whose kind of timestamp occurs at all, so that few of the many are compiled.

    For few lines, Python's cached expressions are faster than Polars compiling any.
    """
    if len(text) > FEW_LINES:
        starts = text.str.slice(0, LONGEST_HEADER)
        kinds = {layout.time for layout in LAYOUTS.values() if layout.time}
        # A clock stands in most lines, but at the start of few.
        shapes = {kind: (r"^\[?" if kind == "CLOCKTIME" else "") + expand(f"%{{{kind}}}") for kind in kinds}
        absent = {kind for kind, shape in shapes.items() if not starts.str.contains(shape).any()}
        found = [name for name, layout in LAYOUTS.items() if layout.time not in absent]
        two = TWO_LINES[0] in found and starts.str.contains(opening(TWO_LINES[0])).any()
    else:
        lines = [line[:LONGEST_HEADER] for line in text]
        found = [name for name, opens in _headers().items() if any(opens.match(line) for line in lines)]
        two = TWO_LINES[0] in found
    return found if two else [name for name in found if name not in TWO_LINES]


@cache
def _headers() -> dict[str, re.Pattern[str]]:
    return {name: re.compile(expand(layout.pattern)) for name, layout in LAYOUTS.items()}


def _assign(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Name for each line the first layout that matches it; lines already taken are not tried again."""
    rest, taken = frame, []
    for name in names:
        if rest.is_empty():
            break
        matches = rest["text"].str.contains(opening(name))
        if matches.any():
            taken.append(rest.filter(matches).with_columns(layout=pl.lit(name)))
            rest = rest.filter(~matches)
    taken.append(rest.with_columns(layout=pl.lit(None, dtype=pl.String)))
    return pl.concat(taken)


def _fields(part: pl.DataFrame, name: str) -> pl.DataFrame:
    groups = part["text"].str.extract_groups(header(name) or expression(name)).struct.unnest()
    if "header" in groups.columns:
        groups = groups.with_columns(
            message=part["text"].to_frame().select(pl.col("text").str.strip_prefix(groups["header"]))["text"]
        )
    missing = [field for field in FIELDS if field not in groups.columns]
    groups = groups.with_columns(pl.lit(None, dtype=pl.String).alias(field) for field in missing)
    kind = LAYOUTS[name].time
    times = timestamps.parse(groups["time"], kind) if kind else groups.with_columns(_NO_TIME).select("time", "yearless")
    message = pl.concat_str(pl.col("lead").fill_null(""), pl.col("message"))
    level = pl.coalesce(levels.normalise(pl.col("level")), levels.of_priority(pl.col("priority")))
    if status := LAYOUTS[name].status:
        level = pl.coalesce(level, levels.of_status(pl.col("message").str.extract(status)))
    fields = groups.select(message.alias("message"), level.alias("level"), "component", "host", "pid")
    return (
        pl.concat([part, times, fields.with_columns(_level())], how="horizontal")
        .with_columns(_NO_FIELDS)
        .select(COLUMNS)
    )


def _plain(part: pl.DataFrame) -> pl.DataFrame:
    empty = [pl.lit(None, dtype=pl.String).alias(field) for field in ("level", "component", "host", "pid")]
    lines = part.with_columns(pl.col("text").alias("message"), *_NO_TIME, *empty).with_columns(_level(), _NO_FIELDS)
    uncaught = pl.col("text").str.starts_with('Exception in thread "')
    return lines.with_columns(level=pl.when(uncaught).then(pl.lit("error")).otherwise("level")).select(COLUMNS)


def _level() -> pl.Expr:
    silent = pl.when(pl.col("level").is_null()).then(pl.col("message"))
    own = levels.normalise(silent.str.extract(levels.OWN_LEVEL))
    return pl.coalesce("level", own).alias("level")
