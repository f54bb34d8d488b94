"""Logs that can be asked about: files below one configured folder, and stored files; read once and kept while in use.

`facts` is what a person sees before any model: lines, time span, levels over time, templates, and what begins when. A
large log is read by a process of its own; `reading` says how far it is, and the other routes wait for it.
"""

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from loglore.api import log_facts
from loglore.api.answers import ERRORS
from loglore.api.errors import known, not_found
from loglore.api.following import follow
from loglore.api.places import below
from loglore.api.reading import Reading, Readings
from loglore.hub import files
from loglore.store.database import Database

if TYPE_CHECKING:
    from loglore.logs.looking import Window
    from loglore.logs.table import LogTable

LISTED = 500
# A log that is read within this time is ready at the first question.
SOON_S = 0.5
MOST_LINES = 500
MOMENT = "UTC, as ISO 8601 or as a clock time of the log's last day"


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

    logs: list[LogReference] = Field(min_length=1, max_length=20, examples=[[{"path": "app.log"}]])


class SpanBody(LogsBody):
    """A span of time; `until` is not included."""

    model_config = ConfigDict(extra="forbid")

    since: str | None = Field(None, max_length=40, description=MOMENT)
    until: str | None = Field(None, max_length=40, description=MOMENT)

    def span(self, log: "LogTable") -> "tuple[datetime.datetime | None, datetime.datetime | None]":
        """Both ends as times of the log, None where there is no bound. Raises InputError for what is no time."""
        from loglore.logs.search import moment

        since, until = (None if text is None else moment(text, log) for text in (self.since, self.until))
        return since, until


class LinesBody(SpanBody):
    """Which lines to see: of a template, a span of time, a query, or around a line of a source."""

    template: str | None = Field(None, max_length=20)
    source: str | None = Field(None, max_length=1000)
    text: str = Field("", max_length=500, description='a query: words, "phrases", prefix*, OR, -not')
    around: int | None = Field(None, ge=1, description="a line; `context` lines before and after it are shown")
    context: int = Field(5, ge=0, le=200)
    levels: list[str] = Field(default_factory=list, max_length=10, description="only lines of these levels")
    last: bool = Field(False, description="the last `limit` lines instead of the first")
    limit: int = Field(50, ge=1, le=MOST_LINES)


class WindowsBody(LogsBody):
    """Two parts of a log to compare.

    before, after: two spans of time as `FROM..TO`. middle: instead, the time before and from it on. None of them: the
    two halves by lines.
    """

    model_config = ConfigDict(extra="forbid")

    before: str | None = Field(None, max_length=100, examples=["10:00..10:05"])
    after: str | None = Field(None, max_length=100, examples=["10:05..10:10"])
    middle: str | None = Field(None, max_length=40, description=MOMENT)

    @model_validator(mode="after")
    def _one_way(self) -> "WindowsBody":
        if self.middle is not None and (self.before is not None or self.after is not None):
            raise ValueError("give `middle`, or `before` and `after`")
        return self


class EvidenceBody(LogsBody):
    """What a model is to be shown of a log: `budget` in tokens, four characters each; what `question` names first."""

    model_config = ConfigDict(extra="forbid")

    budget: int = Field(2000, ge=50, le=200_000)
    question: str = Field("", max_length=4000, examples=["What happened to 10.0.0.5?"])


class CheckBody(LogsBody):
    """A text that says something about logs."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=100_000, examples=["`disk full` is logged in 3 lines."])


class FollowBody(LogsBody):
    """How far each file was seen: `cursor` of the answer before, none at first; the language of the verdict."""

    model_config = ConfigDict(extra="forbid")

    cursor: list[tuple[NonNegativeInt, NonNegativeInt]] | None = Field(None, max_length=20)
    language: Literal["en", "ja"] = "en"


class Logs:
    """Finds logs by reference and reads them."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.readings = Readings()
        self._database = database

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
        """Where the logs lie, each once.

        Raises:
            ApiError: 404 for one that is not there, or not below the folder.
        """
        return list(dict.fromkeys(self._path(reference) for reference in references))

    def reading(self, references: list[LogReference]) -> Reading:
        """The reading of some logs. Raises as `paths`."""
        return self.readings.get(self.paths(references))

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

    @routes.post("/reading")
    def read_reading(wish: LogsBody) -> dict[str, Any]:
        """Begin to read logs, or say how far that is: `state` is `reading`, `ready` or `failed`."""
        found = logs.reading(wish.logs)
        found.ended.wait(SOON_S)
        return log_facts.progress(found)

    @routes.post("/facts")
    def read_facts(wish: LogsBody) -> dict[str, Any]:
        """What a log says before any model: lines, levels over time, templates, what begins late or jumps."""
        found: dict[str, Any] = logs.reading(wish.logs).once("facts", log_facts.facts)
        return found

    @routes.post("/timeline")
    def read_timeline(wish: SpanBody) -> dict[str, Any]:
        """Lines by level over time: of a span in finer steps."""
        with logs.readings.used(logs.paths(wish.logs)) as reading:
            return {
                "object": "studio.timeline",
                "timeline": log_facts.timeline(reading.table, *wish.span(reading.table)),
            }

    @routes.post("/lines")
    def read_lines(wish: LinesBody) -> dict[str, Any]:
        """Lines of a log as they are, in their order; `total` says how many there would be."""
        from loglore.logs import looking

        with logs.readings.used(logs.paths(wish.logs)) as reading:
            table = reading.table
            if wish.around is not None:
                rows = looking.around(table, wish.source, wish.around, wish.context)
                return log_facts.lines(rows, rows.height)
            since, until = wish.span(table)
            wanted = looking.Wanted(wish.template, since, until, tuple(wish.levels), wish.source, wish.text)
            return log_facts.lines(*looking.lines(table, wanted, wish.limit, last=wish.last))

    @routes.post("/windows")
    def compare_windows(wish: WindowsBody) -> dict[str, Any]:
        """What is more, less, new or gone in the second part of a log: counted, no model."""
        with logs.readings.used(logs.paths(wish.logs)) as reading:
            return log_facts.windows(reading.table, _parts(wish, reading.table))

    @routes.post("/follow")
    def follow_logs(wish: FollowBody) -> dict[str, Any]:
        """What growing files got since `cursor`: the newest lines, the severe ones, a verdict on them; no model."""
        return follow(logs.paths(wish.logs), wish.cursor, wish.language)

    _add_checks(routes, logs)
    return routes


def _add_checks(routes: APIRouter, logs: Logs) -> None:
    """What a model is shown of a log, and whether a text about it holds."""

    @routes.post("/evidence")
    def read_evidence(wish: EvidenceBody) -> dict[str, Any]:
        """A digest of a log for a question, with what it leaves out; no model."""
        from loglore.logs import evidence
        from loglore.logs.evidence import rough_tokens

        with logs.readings.used(logs.paths(wish.logs)) as reading:
            chosen = evidence.build(reading.log, wish.budget, rough_tokens, wish.question)
        return {"object": "studio.evidence", **log_facts.evidence(chosen)}

    @routes.post("/check")
    def check_text(wish: CheckBody) -> dict[str, Any]:
        """The claims of a text, each with its verdict and the lines it stands on or falls by; no model."""
        from loglore.logs import grounding

        with logs.readings.used(logs.paths(wish.logs)) as reading:
            claims = [asdict(claim) for claim in grounding.check(wish.text, reading.table)]
            return {"object": "list", "data": log_facts.cited(claims, reading.table)}


def _parts(wish: WindowsBody, table: "LogTable") -> "tuple[Window, Window] | Any | None":
    """Two windows, the time between two parts, or None for the halves."""
    from loglore.logs import search

    if wish.middle is not None:
        return search.moment(wish.middle, table)
    return search.windows(wish.before, wish.after, table)
