"""`/v1/studio/jobs/{job}/rows` and `/outputs`: what a job found, row by row and file by file."""

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError, known, not_found
from loglore.api.files import CONTENT
from loglore.api.paging import Limit
from loglore.api.runs import CONTENT_POLICY, SHOWN
from loglore.jobs import queue
from loglore.store import jobs
from loglore.store.database import Database
from loglore.store.jobs import Job

COLUMNS = ("row", "turn", "key", "task", "source", "input", "truth", "output", "finish", "tokens", "latency_s")
METRICS = ("fuzzy_match", "bleu", "rouge1", "rouge2", "rougeL", "rougeLsum")
Metric = Literal["fuzzy_match", "bleu", "rouge1", "rouge2", "rougeL", "rougeLsum"]
LONGEST = 20_000


def router(database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/studio/jobs", tags=["jobs"], responses=ERRORS)

    @routes.get("/{job}/rows")
    def read_rows(
        job: str,
        metric: Metric = "rougeL",
        against: Annotated[str | None, Query(max_length=60, description="another test job of the same rows")] = None,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """Rows of a test job, the worst by `metric` first; with `against` by change, the largest loss first."""
        import polars as pl

        table = _table(known(lambda: jobs.find(database, job)), metric)
        if against is not None:
            other = _table(known(lambda: jobs.find(database, against)), metric)
            same = other.select("key", pl.col(metric).alias("before"), pl.col("output").alias("output_before"))
            table = table.join(same.unique("key"), on="key").with_columns(change=pl.col(metric) - pl.col("before"))
        order = "change" if against is not None else metric
        chosen = table.sort(order, "row", nulls_last=True).slice(offset, limit)
        rows = [_row(each) for each in chosen.iter_rows(named=True)]
        return {"object": "list", "data": rows, "total": table.height, "has_more": offset + limit < table.height}

    @routes.get("/{job}/outputs/{output}", responses=CONTENT, response_class=FileResponse)
    def read_output(job: str, output: str) -> FileResponse:
        """One file that a job wrote, by the name of the output: a report, a picture, a JSON file."""
        found = known(lambda: jobs.find(database, job))
        path = queue.outputs_of(found).get(output, Path())
        if path.suffix not in SHOWN or not path.is_file():
            raise not_found(f"output {output!r} of {job}")
        headers = {"Content-Security-Policy": CONTENT_POLICY, "X-Content-Type-Options": "nosniff"}
        return FileResponse(path, media_type=SHOWN[path.suffix], headers=headers)

    return routes


def _table(job: Job, metric: str) -> Any:
    import polars as pl

    path = Path(job.folder) / "rows.parquet"
    if job.kind != "test" or not path.is_file():
        raise ApiError(
            404, f"job {job.id} has no rows: it is a job of the kind {job.kind} that {job.state}", "not_found"
        )
    table = pl.read_parquet(path)
    if metric not in table.columns:
        raise ApiError(404, f"job {job.id} has no {metric}: it was written by another version", "not_found")
    return table.select(*COLUMNS, *(name for name in METRICS if name in table.columns))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row without endless text."""
    return {name: value[:LONGEST] if isinstance(value, str) else value for name, value in row.items()}
