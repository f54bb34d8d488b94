"""Timestamps of many formats as UTC microseconds, in Polars, without a per-line Python call.

A timestamp is taken apart by one regular expression of its kind into date, clock, fraction and zone. Two choices that
keep the result a function of the bytes alone: a time without a zone counts as UTC, and one without a year takes the
latest year that other lines show, or else `UNKNOWN_YEAR` (a leap year, so that 29 February exists). Where a year-less
log goes from December to January the year goes up.

A clock alone is a time only where no line of the table says a date: the days are then those from `UNKNOWN_DAY` on, and
go up at midnight, so order, rates and `--from 10:00` work. Beside dated lines such times are left out, for nothing
tells which day they are of (a file's name or its time of change tell when it was rotated or copied).
"""

import datetime

import polars as pl

UNKNOWN_YEAR = 2000
UNKNOWN_DAY = datetime.date(1970, 1, 1)
# Times without a date lie before this, and no others do that lack a year.
DATED_FROM = datetime.datetime(UNKNOWN_DAY.year + 1, 1, 1)
_MIDNIGHT = datetime.timedelta(hours=-12)

_CLOCK = r"([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
# Two digits of offset (PostgreSQL's `+09`) only where no blank could make them the next word.
_ZONE = r"( ?(?:Z|[+-][0-9]{2}:?[0-9]{2})|[+-][0-9]{2}\b)?"

# kind -> (expression, what its groups are). Y year, M month, D day, h m s clock, f fraction, t thousandths, p AM or PM,
# z zone, e epoch seconds.
KINDS: dict[str, tuple[str, str]] = {
    "TIMESTAMP_ISO8601": (rf"^([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})[T ]{_CLOCK}{_ZONE}", "YMDhmsfz"),
    "SLASHTIMESTAMP": (rf"^([0-9]{{2,4}})/([0-9]{{2}})/([0-9]{{2}}) {_CLOCK}", "YMDhmsf"),
    "SYSLOGTIMESTAMP": (rf"^([A-Z][a-z]{{2}})[a-z]* +([0-9]{{1,2}}) (?:([0-9]{{4}}) )?{_CLOCK}", "MDYhmsf"),
    "HTTPDATE": (rf"^([0-9]{{1,2}})/([A-Z][a-z]{{2}})[a-z]*/([0-9]{{4}}):{_CLOCK}{_ZONE}", "DMYhmsfz"),
    "DJANGOTIMESTAMP": (rf"^([0-9]{{1,2}})/([A-Z][a-z]{{2}})[a-z]*/([0-9]{{4}}) {_CLOCK}", "DMYhmsf"),
    "DOTTEDTIMESTAMP": (rf"^([0-9]{{4}})\.([0-9]{{2}})\.([0-9]{{2}}) {_CLOCK}", "YMDhmsf"),
    "HAPROXYDATE": (rf"^([0-9]{{1,2}})/([A-Z][a-z]{{2}})[a-z]*/([0-9]{{4}}):{_CLOCK}", "DMYhmsf"),
    "BINDTIMESTAMP": (rf"^([0-9]{{1,2}})-([A-Z][a-z]{{2}})[a-z]*-([0-9]{{4}}) {_CLOCK}", "DMYhmsf"),
    "HTTPDERROR_DATE": (rf"^[A-Z][a-z]+ ([A-Z][a-z]{{2}})[a-z]* +([0-9]{{1,2}}) {_CLOCK} ([0-9]{{4}})", "MDhmsfY"),
    "RFC2822": (
        rf"^(?:[A-Z][a-z]{{2}}, )?([0-9]{{1,2}}) ([A-Z][a-z]{{2}}) ([0-9]{{4}}) {_CLOCK}(?: GMT| UTC|{_ZONE})",
        "DMYhmsfz",
    ),
    "REDISTIMESTAMP": (rf"^([0-9]{{1,2}}) ([A-Z][a-z]{{2}})[a-z]* (?:([0-9]{{4}}) )?{_CLOCK}", "DMYhmsf"),
    "MONTHDAYTIMESTAMP": (rf"^([0-9]{{2}})[-.]([0-9]{{2}}) {_CLOCK}", "MDhmsf"),
    "KLOGTIMESTAMP": (rf"^([0-9]{{4}})?([0-9]{{2}})([0-9]{{2}}) {_CLOCK}", "YMDhmsf"),
    "DOTTEDDAYTIMESTAMP": (rf"^([0-9]{{1,2}})\.([0-9]{{1,2}})\.([0-9]{{4}}),? {_CLOCK}", "DMYhmsf"),
    "CLOCKTIME": (rf"^{_CLOCK}", "hmsf"),
    "JULTIMESTAMP": (rf"^([A-Z][a-z]{{2}})[a-z]* ([0-9]{{1,2}}), ([0-9]{{4}}),? {_CLOCK}[ \u202f]([AP])M", "MDYhmsfp"),
    "COMPACTTIMESTAMP": (r"^([0-9]{2})([0-9]{2})([0-9]{2}) +([0-9]{1,2}):?([0-9]{2}):?([0-9]{2})", "YMDhms"),
    "HEALTHTIMESTAMP": (
        r"^([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,3})",
        "YMDhmst",
    ),
    "BGLTIMESTAMP": (r"^([0-9]{4})-([0-9]{2})-([0-9]{2})-([0-9]{2})\.([0-9]{2})\.([0-9]{2})\.([0-9]+)", "YMDhmsf"),
    "EPOCH": (r"^([0-9]{10})([0-9]{3})?(?:\.([0-9]+))?", "etf"),
}
_MONTHS = {
    name: f"{number:02d}"
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}


def parse(texts: pl.Series, kind: str) -> pl.DataFrame:
    """Parse timestamps of one kind.

    Args:
        texts: strings that begin with the timestamp; null stays null.
        kind: a key of `KINDS`.

    Returns:
        `time` (naive datetime in µs; year `UNKNOWN_YEAR` where the text has none, `UNKNOWN_DAY` where it has no date;
        null where the text is no valid time, such as 30 February) and `yearless` (bool; true without a date, too).
    """
    distinct = texts.unique(maintain_order=True)
    if len(distinct) * 2 > len(texts):
        return _parse(texts, kind)
    # Many lines share a second: each text is parsed once.
    known = _parse(distinct, kind).with_columns(text=distinct)
    lines = texts.alias("text").to_frame()
    return lines.join(known, on="text", how="left", nulls_equal=True, maintain_order="left").drop("text")


def _parse(texts: pl.Series, kind: str) -> pl.DataFrame:
    pattern, letters = KINDS[kind]
    groups = texts.str.extract_groups(pattern).struct.rename_fields(list(letters)).struct.unnest()
    if "e" in letters:
        micros = pl.col("e").cast(pl.Int64) * 1_000_000 + _micros("t", 3) + _micros("f", 6)
        return groups.select(time=micros.cast(pl.Datetime("us")), yearless=pl.lit(False))
    year = _year(pl.col("Y")) if "Y" in letters else pl.lit(None, dtype=pl.String)
    clock = pl.concat_str(_hour(letters), pl.col("m").str.zfill(2), pl.col("s").str.zfill(2), separator=":")
    day = pl.lit(str(UNKNOWN_DAY))
    if "D" in letters:
        month = pl.col("M").replace(_MONTHS).str.zfill(2)
        day = pl.concat_str(year.fill_null(str(UNKNOWN_YEAR)), month, pl.col("D").str.zfill(2), separator="-")
    moment = pl.concat_str(day, clock, separator=" ").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    if "f" in letters:
        moment = moment + pl.duration(microseconds=_micros("f", 6))
    if "t" in letters:
        moment = moment + pl.duration(microseconds=_micros("t", 3))
    if "z" in letters:
        moment = moment - _offset(pl.col("z"))
    return groups.select(time=moment, yearless=year.is_null() & moment.is_not_null())


# Microseconds a unit of an epoch number with fewer digits than the first of the pair; with more they are nanoseconds.
_UNITS = ((12, 1_000_000), (15, 1_000), (18, 1))


def parse_any(texts: pl.Series) -> pl.DataFrame:
    """Parse timestamps of unknown kind: any of `KINDS` with a date, or a number of seconds, ms, µs or ns since 1970.

    The unit of a number is told by its size (seconds to the year 5138, and so on), as every log shipper does it.

    Args:
        texts: the timestamps alone; null stays null.

    Returns:
        `time` and `yearless` as `parse`; null where no kind fits.
    """
    frame = pl.DataFrame({"text": texts.str.strip_chars()}).with_row_index("row")
    number = pl.col("text").str.contains(r"^[0-9]{9,19}(?:\.[0-9]*)?$")
    numbers = frame.filter(number)
    done = [numbers.select("row", time=_epoch(pl.col("text")), yearless=pl.lit(value=False))]
    rest = frame.filter(~number)
    for kind in KINDS:
        if rest.is_empty():
            break
        if kind in ("EPOCH", "CLOCKTIME"):
            continue
        found = pl.concat([rest, parse(rest["text"], kind)], how="horizontal")
        done.append(found.filter(pl.col("time").is_not_null()).select("row", "time", "yearless"))
        rest = rest.filter(found["time"].is_null())
    known = pl.concat(done)
    placed = frame.select("row").join(known, on="row", how="left", maintain_order="left")
    return placed.select("time", pl.col("yearless").fill_null(value=False))


def _epoch(text: pl.Expr) -> pl.Expr:
    whole = text.str.extract(r"^([0-9]+)").cast(pl.Int64, strict=False)
    digits = text.str.extract(r"^([0-9]+)").str.len_bytes()
    fraction = ("0." + text.str.extract(r"\.([0-9]{1,9})").fill_null("0")).cast(pl.Float64)
    micros = whole // 1000
    for most, unit in reversed(_UNITS):
        micros = pl.when(digits < most).then(whole * unit + (fraction * unit).round().cast(pl.Int64)).otherwise(micros)
    return micros.cast(pl.Datetime("us"))


def place_years(times: pl.Series, yearless: pl.Series, year: int) -> pl.Series:
    """Move year-less times (of one source, in line order) so that the last of them lies in `year`.

    A step back of more than 180 days between neighbours is a turn of the year.
    """
    frame = pl.DataFrame({"time": times, "yearless": yearless}).with_row_index("row")
    loose = frame.filter("yearless")
    if loose.is_empty():
        return times
    turns = (pl.col("time").diff() < pl.duration(days=-180)).fill_null(value=False).cast(pl.Int32).cum_sum()
    loose = loose.with_columns(turns=turns)
    final = loose["turns"][-1]
    moved = loose.select(
        "row",
        moved=pl.col("time").dt.offset_by(
            (pl.lit(year - UNKNOWN_YEAR - final) + pl.col("turns")).cast(pl.String) + "y"
        ),
    )
    return frame.join(moved, on="row", how="left", maintain_order="left").select(
        pl.coalesce("moved", "time").alias("time")
    )["time"]


def dateless(time: pl.Expr, yearless: pl.Expr) -> pl.Expr:
    """Whether times are a clock without a date."""
    return yearless & (time < DATED_FROM)


def midnights(clocks: pl.Series, before: datetime.datetime | None = None) -> pl.Series:
    """How often midnight passed before each clock (times of one source without a date, in line order).

    A step back of more than 12 hours between neighbours is midnight.

    Args:
        clocks: the times, each on `UNKNOWN_DAY`.
        before: the one before the first; None at the start of a source.
    """
    steps = pl.concat([pl.Series([before], dtype=pl.Datetime("us")), clocks]).diff().slice(1)
    return (steps < _MIDNIGHT).fill_null(value=False).cast(pl.Int64).cum_sum()


def shown(moment: datetime.datetime, clock: str = "%H:%M:%S") -> str:
    """A time as a person reads it: without the year where the log has none, by its day's number without a date."""
    if moment < DATED_FROM:
        day = (moment.date() - UNKNOWN_DAY).days + 1
        return (f"day {day} " if day > 1 else "") + moment.strftime(clock)
    return moment.strftime(("%b %d " if moment.year == UNKNOWN_YEAR else "%Y-%m-%d ") + clock)


def _year(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.len_bytes() == 2).then(pl.lit("20") + text).otherwise(text)


def _hour(letters: str) -> pl.Expr:
    """Two digits of the hour; of the twelve-hour clock, 12 AM is 0 and 12 PM is 12."""
    if "p" not in letters:
        return pl.col("h").str.zfill(2)
    late = pl.when(pl.col("p") == "P").then(12).otherwise(0)
    return (pl.col("h").cast(pl.Int64, strict=False) % 12 + late).cast(pl.String).str.zfill(2)


def _micros(column: str, digits: int) -> pl.Expr:
    """A fraction (`f`: digits after the point; `t`: milliseconds) as µs, 0 when absent."""
    text = pl.col(column).fill_null("0")
    if digits == 3:
        return text.cast(pl.Int64) * 1000
    return text.str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)


def _offset(zone: pl.Expr) -> pl.Expr:
    sign = pl.when(zone.str.contains("-", literal=True)).then(-1).otherwise(1)
    hours = zone.str.extract(r"[+-]([0-9]{2})").cast(pl.Int64).fill_null(0)
    minutes = zone.str.extract(r"[+-][0-9]{2}:?([0-9]{2})$").cast(pl.Int64).fill_null(0)
    return pl.duration(minutes=sign * (hours * 60 + minutes))
