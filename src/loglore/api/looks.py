"""`/v1/studio/looks`: a look at rows before they are used: what is wrong with them, and how long they are in tokens."""

from itertools import islice
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from pydantic import Field

from loglore.api import inputs
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError
from loglore.api.inputs import Named
from loglore.api.wishes import Strict
from loglore.errors import InputError
from loglore.store.database import Database

if TYPE_CHECKING:
    from loglore.data.check import FileReport

PURPOSES = (*inputs.PURPOSES, "user_data")
# A histogram of more rows looks the same, and a page waits for it.
MOST_ROWS = 2000


class CheckBody(Strict):
    """Rows to check: the id of a stored file, or a dataset of the hub."""

    rows: str = Field(min_length=1, max_length=200, examples=["dataset:incidents@1"])


class TokensBody(CheckBody):
    """Rows to count, with the tokenizer of a model; max_sequence_length is the tokens of a packed row."""

    model: str = Field(min_length=1, max_length=200, examples=["llama@1"])
    max_sequence_length: int = Field(8192, ge=2, le=2**20)


def router(database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/studio/looks", tags=["datasets"], responses=ERRORS)

    @routes.post("/check")
    def check_rows(wish: CheckBody) -> dict[str, Any]:
        """Everything that is wrong with rows: problems by kind, with the first rows of each."""
        from loglore.data import check

        path = inputs.rows(database, wish.rows, Named(), "rows", PURPOSES)
        try:
            (report,) = check.check([check.Input(str(path), "train")], near_duplicates=False).files
        except InputError as fault:
            raise _bad(fault, str(path), wish.rows) from None
        return {"object": "studio.check", **_report(report)}

    @routes.post("/tokens")
    def count_tokens(wish: TokensBody) -> dict[str, Any]:
        """Lengths in tokens: quantiles, a histogram, fill when packed; of the first `MOST_ROWS` rows."""
        from loglore.data import files, samples, stats
        from loglore.data.render import Renderer
        from loglore.jobs.names import model_path
        from loglore.models.load import load_tokenizer

        named = Named()
        path = inputs.rows(database, wish.rows, named, "rows", PURPOSES)
        model = inputs.model(database, wish.model, named)
        try:
            place = model_path(model, server=True)
            stage = samples.stage_of(files.placed_rows(path), wish.rows)
            placed = islice(files.placed_rows(path), MOST_ROWS)
            rendered = samples.render_rows(placed, stage, Renderer(load_tokenizer(place)))
            lengths, counted = stats.lengths_of(rendered)
            found = stats.describe(lengths, counted, stage, wish.max_sequence_length, stats.Step(64, 1))
        except InputError as fault:
            raise _bad(fault, str(path), wish.rows) from None
        return {"object": "studio.tokens", "stage": stage, "most_rows": MOST_ROWS, **found.as_json()}

    return routes


def _bad(fault: InputError, path: str, name: str) -> ApiError:
    """The same fault by the name that the caller knows."""
    return ApiError(400, f"rows: {str(fault).replace(path, name)}", "invalid_file", "rows")


def _report(report: "FileReport") -> dict[str, Any]:
    problems = [
        {
            "kind": each.kind,
            "severity": each.severity,
            "count": each.count,
            "examples": [{"row": one.row, "field": one.field, "message": one.message} for one in each.examples],
        }
        for each in report.problems.values()
    ]
    return {
        "rows": report.rows,
        "faulty": report.faulty,
        "formats": dict(report.formats),
        "problems": sorted(problems, key=lambda each: (each["severity"], -int(each["count"]))),
    }
