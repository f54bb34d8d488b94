"""What the API says about a log table, as JSON: facts, lines, parts set side by side. All of it is bounded, any log."""

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loglore.api.reading import Reading

if TYPE_CHECKING:
    import polars as pl

    from loglore.logs.changes import Moment
    from loglore.logs.evidence import Evidence
    from loglore.logs.looking import Begin, Window
    from loglore.logs.table import LogTable
    from loglore.logs.templates import Template

BUCKETS = 90
TOP_TEMPLATES = 12
MOST_BEGINS = 8
MOST_SOURCES = 50
MOST_NOTES = 10
MOST_DIFFERENCES = 12
CITED_LINES = 5
# Characters of a line or a template that are sent; the rest is counted.
LONGEST_LINE = 2000


def progress(reading: Reading) -> dict[str, Any]:
    """How far a reading is."""
    state = "reading" if not reading.ended.is_set() else "failed" if reading.fault else "ready"
    return {
        "object": "studio.reading",
        "state": state,
        "done": int(reading.done),
        "total": int(reading.total),
        "fault": str(reading.fault) if reading.ended.is_set() and reading.fault else None,
    }


def facts(log: "LogTable") -> dict[str, Any]:
    """What a log says before any model."""
    from loglore.logs import looking

    by_count = sorted(log.templates, key=lambda template: -template.count)
    rare = [template for template in by_count if template.count == 1]
    sources = log.facts().to_dicts()
    levels: dict[str, int] = {}
    for source in sources:
        for level, count in source["levels"].items():
            levels[level] = levels.get(level, 0) + count
    first = [source["first"] for source in sources if source["first"] is not None]
    last = [source["last"] for source in sources if source["last"] is not None]
    return {
        "object": "studio.facts",
        "lines": log.height,
        "bytes": log.bytes,
        "sources": [
            {"source": one["source"], "lines": one["lines"], "levels": one["levels"], "fault": one["fault"]}
            for one in sources[:MOST_SOURCES]
        ],
        "source_count": len(sources),
        "levels": dict(sorted(levels.items(), key=lambda one: -one[1])),
        "first": _clock(min(first, default=None)),
        "last": _clock(max(last, default=None)),
        "timeline": timeline(log),
        "templates": [_template(template) for template in by_count[:TOP_TEMPLATES]],
        "rare": [_template(template) for template in rare[:TOP_TEMPLATES]],
        "begins": [_begin(one, log) for one in looking.begins(log, MOST_BEGINS)],
        "template_count": len(log.templates),
        "rare_count": len(rare),
        "notes": log.notes[:MOST_NOTES],
    }


def timeline(
    log: "LogTable", since: datetime.datetime | None = None, until: datetime.datetime | None = None
) -> dict[str, Any] | None:
    """Lines by level over time, of all or of a span; None when there is nothing to draw."""
    from loglore.logs import looking

    span = None if since is None or until is None or since >= until else (since, until)
    found = looking.timeline(log, BUCKETS, span)
    if found is None:
        return None
    rows = [{"time": iso(start), "level": level, "lines": count} for start, level, count in found.rows]
    return {"bucket_seconds": found.seconds, "rows": rows}


def lines(rows: "pl.DataFrame", total: int) -> dict[str, Any]:
    """Lines, each cut where it is very long."""
    shown = [
        {**row, "time": None if row["time"] is None else iso(row["time"]), "text": cut(row["text"])}
        for row in rows.iter_rows(named=True)
    ]
    return {"object": "list", "data": shown, "total": total}


def windows(log: "LogTable", parts: "tuple[Window, Window] | datetime.datetime | None") -> dict[str, Any]:
    """Two parts side by side: two windows, before and from a time on, or the halves."""
    from loglore.logs import looking

    if parts is None:
        one, two = looking.halves(log)
    elif isinstance(parts, datetime.datetime):
        one, two = looking.window(log, None, parts), looking.window(log, parts, None)
    else:
        one, two = (looking.window(log, *part) for part in parts)
    return {
        "object": "studio.windows",
        "parts": [{"lines": each.lines, "levels": each.levels} for each in (one, two)],
        "differences": [
            {
                "template": each.template,
                "text": cut(log.by_id[each.template].text),
                "before": each.before,
                "after": each.after,
            }
            for each in one.differences(two)[:MOST_DIFFERENCES]
        ],
    }


def cut(text: str) -> str:
    """A text of at most `LONGEST_LINE` characters, with the number of those left out."""
    if len(text) <= LONGEST_LINE:
        return text
    return f"{text[:LONGEST_LINE]}… (+{len(text) - LONGEST_LINE:,} characters)"


def iso(moment: datetime.datetime) -> str:
    """A time of the log table as ISO 8601 in UTC, to the millisecond."""
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def _template(template: "Template") -> dict[str, Any]:
    return {
        "id": template.id,
        "text": cut(template.text),
        "count": template.count,
        "source": template.source,
        "first": template.first,
        "last": template.last,
    }


def _begin(one: "Begin", log: "LogTable") -> dict[str, Any]:
    template = log.by_id[one.template]
    return {
        **_template(template),
        "lines": one.count,
        "at": _place(one.at),
        "until": _place(one.until),
        "usual": one.usual,
    }


def _place(at: "Moment") -> str | int:
    """A time as ISO 8601, or the number of lines before it in a log without times."""
    return iso(at) if isinstance(at, datetime.datetime) else at


def _clock(moment: datetime.datetime | None) -> str | None:
    """A time as text; without the year where the log has none."""
    from loglore.logs.timestamps import shown

    return None if moment is None else shown(moment)


def evidence(chosen: "Evidence") -> dict[str, Any]:
    """A digest: its text, how many lines it has and leaves out, its tokens."""
    return {"text": chosen.text, "lines": len(chosen.lines), "omitted": chosen.omitted, "tokens": chosen.tokens}


def cited(claims: Sequence[Mapping[str, Any]], table: "LogTable") -> list[dict[str, Any]]:
    """Claims with `cited`: the first lines that each stands on (or falls by), with their text."""
    return [{**claim, "cited": _cited(claim, table)} for claim in claims]


def _cited(claim: Mapping[str, Any], table: "LogTable") -> list[dict[str, Any]]:
    names = [claim["source"]] if claim["source"] else table.sources
    rows = table.rows([(name, line) for name in names for line in claim["lines"][:CITED_LINES]])
    return [
        {"source": source, "line": line, "text": cut(text)}
        for source, line, text in rows.select("source", "line", "text").head(CITED_LINES).iter_rows()
    ]
