"""Logs that can be asked about: files below one configured folder, and stored files; read, mined and kept while in use.

`facts` is what a person sees before any model: lines, time span, levels over time and the templates.
"""

import datetime
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from loglore.api.answers import ERRORS
from loglore.api.errors import known, not_found
from loglore.api.places import below
from loglore.errors import InputError
from loglore.hub import files
from loglore.store.database import Database

if TYPE_CHECKING:
    import polars as pl

    from loglore.logs.templates import Mined, Template

KEPT = 4
LISTED = 500
BUCKETS = 60
TOP_TEMPLATES = 8
MOST_LINES = 500
MOST_DIFFERENCES = 12


class LogReference(BaseModel):
    """A log: `path` below the configured folder, or `file`, the id of a stored file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "LogReference":
        if (self.path is None) == (self.file is None):
            raise ValueError("give either `path` or `file`")
        return self


class LogsBody(BaseModel):
    """The logs to look into."""

    logs: list[LogReference] = Field(min_length=1, max_length=20)


class LinesBody(LogsBody):
    """Which lines to see: of a template, of a span of time (UTC, ISO 8601), or around a line of a source."""

    model_config = ConfigDict(extra="forbid")

    template: str | None = Field(None, max_length=20)
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    source: str | None = Field(None, max_length=1000)
    around: int | None = Field(None, ge=1, description="a line; `context` lines before and after it are shown")
    context: int = Field(5, ge=0, le=100)
    levels: list[str] = Field(default_factory=list, max_length=10, description="only lines of these levels")
    last: bool = Field(False, description="the last `limit` lines instead of the first")
    limit: int = Field(50, ge=1, le=MOST_LINES)


class WindowsBody(LogsBody):
    """Two parts of a log to compare: before and from `middle` (UTC, ISO 8601); without it the two halves by lines."""

    model_config = ConfigDict(extra="forbid")

    middle: datetime.datetime | None = None


@dataclass
class Kept:
    """A mined log with its facts, which a page asks for at every click."""

    mined: "Mined"
    facts: dict[str, Any]


class Logs:
    """Reads logs, and keeps the last `KEPT` of them mined: a follow-up question does not read a gigabyte again."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self._database = database
        self._kept: OrderedDict[object, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def listed(self) -> list[dict[str, Any]]:
        """Files below the folder (the first `LISTED`), hidden ones left out."""
        found = []
        for path in sorted(self.root.rglob("*")) if self.root.is_dir() else []:
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and below(self.root, name):
                found.append({"path": name, "bytes": path.stat().st_size})
            if len(found) == LISTED:
                break
        return found

    def paths(self, references: list[LogReference]) -> list[Path]:
        """Where the logs lie.

        Raises:
            ApiError: 404 for one that is not there, or not below the folder.
        """
        return [self._path(reference) for reference in references]

    def read(self, paths: list[Path]) -> Kept:
        """Read and mine, or take what is kept; `source` is the file's name.

        Raises:
            InputError: unreadable, damaged, or not one line.
        """
        stats = [path.stat() for path in paths]
        key = tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in zip(paths, stats, strict=True))
        with self._lock:
            if key not in self._kept:
                mined = _read(paths)
                self._kept[key] = Kept(mined, facts(mined))
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]

    def _path(self, reference: LogReference) -> Path:
        if reference.file is not None:
            name = reference.file
            return known(lambda: files.local_path(self._database, name))
        found = below(self.root, str(reference.path))
        if found is None or not found.is_file():
            raise not_found(f"log {reference.path!r} below {self.root}")
        return found


def router(logs: Logs) -> APIRouter:
    """Routes under `/v1/studio/logs`."""
    routes = APIRouter(prefix="/v1/studio/logs", tags=["logs"], responses=ERRORS)

    @routes.get("")
    def list_logs() -> dict[str, Any]:
        """The logs that can be named by `path`."""
        return {"object": "list", "data": logs.listed(), "root": str(logs.root)}

    @routes.post("/facts")
    def read_facts(wish: LogsBody) -> dict[str, Any]:
        """What a log says before any model: lines, levels over time, frequent and rare templates."""
        return logs.read(logs.paths(wish.logs)).facts

    @routes.post("/lines")
    def read_lines(wish: LinesBody) -> dict[str, Any]:
        """Lines of a log as they are, in their order; `total` says how many there would be."""
        found = _lines(logs.read(logs.paths(wish.logs)).mined.table, wish)
        chosen = found.tail(wish.limit) if wish.last else found.head(wish.limit)
        shown = chosen.select("source", "line", "level", "template", "text")
        return {"object": "list", "data": shown.to_dicts(), "total": found.height}

    @routes.post("/windows")
    def compare_windows(wish: WindowsBody) -> dict[str, Any]:
        """What is more, less, new or gone in the second part of a log: counted, no model."""
        return _windows(logs.read(logs.paths(wish.logs)).mined, wish.middle)

    return routes


def _lines(table: "pl.DataFrame", wish: LinesBody) -> "pl.DataFrame":
    import polars as pl

    wanted = pl.lit(True)
    if wish.source is not None:
        wanted &= pl.col("source") == wish.source
    if wish.template is not None:
        wanted &= pl.col("template") == wish.template
    if wish.levels:
        wanted &= pl.col("level").is_in(wish.levels)
    if wish.since is not None:
        wanted &= pl.col("time") >= _utc(wish.since)
    if wish.until is not None:
        wanted &= pl.col("time") < _utc(wish.until)
    if wish.around is not None:
        wanted &= pl.col("line").is_between(wish.around - wish.context, wish.around + wish.context)
    return table.filter(wanted)


def _windows(mined: "Mined", middle: datetime.datetime | None) -> dict[str, Any]:
    import polars as pl

    from loglore.logs import changes

    table = mined.table.with_row_index("place")
    late = pl.col("place") >= table.height // 2 if middle is None else pl.col("time") >= _utc(middle)
    parts = [table.filter(~late), table.filter(late)]
    counted = [dict(part.drop_nulls("template").group_by("template").len().iter_rows()) for part in parts]
    known = mined.by_id
    return {
        "object": "studio.windows",
        "parts": [{"lines": each.height, "levels": _levels(each)} for each in parts],
        "differences": [
            {"template": each.template, "text": known[each.template].text, "before": each.before, "after": each.after}
            for each in changes.differences(*counted)[:MOST_DIFFERENCES]
        ],
    }


def _utc(moment: datetime.datetime) -> datetime.datetime:
    """Without a zone, as the table has it; a time without one is taken for UTC."""
    return moment.astimezone(datetime.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def facts(mined: "Mined") -> dict[str, Any]:
    """Facts of a mined log as JSON: `lines`, `sources`, `levels`, `first`, `last`, `timeline`, `templates`, `rare`."""
    table = mined.table
    by_count = sorted(mined.templates, key=lambda template: -template.count)
    rare = [template for template in by_count if template.count == 1]
    return {
        "object": "studio.facts",
        "lines": table.height,
        "sources": [_source(part) for part in table.partition_by("source", maintain_order=True)],
        "levels": _levels(table),
        "first": _clock(table["time"].min()),
        "last": _clock(table["time"].max()),
        "timeline": _timeline(table),
        "templates": [_template(template) for template in by_count[:TOP_TEMPLATES]],
        "rare": [_template(template) for template in rare[:TOP_TEMPLATES]],
        "template_count": len(mined.templates),
        "rare_count": len(rare),
    }


def _read(paths: list[Path]) -> "Mined":
    from loglore.logs import reader, templates

    table = reader.read_table(paths)
    if table.height == 0:
        raise InputError(f"{', '.join(path.name for path in paths)}: no lines to ask about")
    names = _names(paths)
    return templates.mine(table.with_columns(source=table["source"].replace(names)))


def _names(paths: list[Path]) -> dict[str, str]:
    """File names instead of paths of this machine; the second `app.log` becomes `app.log (2)`."""
    names: dict[str, str] = {}
    for path in paths:
        same = sum(each.name == path.name for each in map(Path, names))
        names.setdefault(str(path), path.name if not same else f"{path.name} ({same + 1})")
    return names


def _source(part: "pl.DataFrame") -> dict[str, Any]:
    return {"source": part["source"][0], "lines": part.height, "levels": _levels(part)}


def _levels(table: "pl.DataFrame") -> dict[str, int]:
    return dict(table["level"].drop_nulls().value_counts(sort=True).iter_rows())


def _timeline(table: "pl.DataFrame") -> dict[str, Any] | None:
    """Lines by level in `BUCKETS` equal spans of time; None when the log has no times, or only one."""
    import polars as pl

    moment = pl.col("time").dt.epoch("us")
    start, end = table.select(start=moment.min(), end=moment.max()).row(0)
    if start is None or start == end:
        return None
    width = (end - start) // BUCKETS + 1
    timed = table.filter(pl.col("time").is_not_null())
    bucket = (moment - start) // width
    counted = timed.group_by(bucket.alias("bucket"), pl.col("level").fill_null("none")).len().sort("bucket", "level")
    begin = pl.from_epoch(pl.col("bucket") * width + start, "us")
    rows = counted.select(time=begin.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"), level="level", lines="len")
    return {"bucket_seconds": width / 1e6, "rows": rows.to_dicts()}


def _template(template: "Template") -> dict[str, Any]:
    return {
        "id": template.id,
        "text": template.text,
        "count": template.count,
        "source": template.source,
        "first": template.first,
        "last": template.last,
    }


def _clock(moment: Any) -> str | None:
    """A time as text; without the year where the log has none."""
    from loglore.logs.timestamps import UNKNOWN_YEAR

    if moment is None:
        return None
    return str(moment.strftime("%b %d %H:%M:%S" if moment.year == UNKNOWN_YEAR else "%Y-%m-%d %H:%M:%S"))
