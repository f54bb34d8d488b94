"""`/v1/evals`: OpenAI's routes for evals, their runs and output items, over test jobs; `jsonl` runs need none."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from loglore.api import eval_objects as objects
from loglore.api import grading, inputs
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError, known
from loglore.api.eval_wishes import Completions, CreateEval, CreateRun, FileContent, Jsonl, UpdateEval
from loglore.api.grading import Answers
from loglore.api.idempotency import reserved
from loglore.api.inputs import Named
from loglore.api.making import Making, actor, make
from loglore.api.paging import After, Limit, page
from loglore.data import files as data_files
from loglore.errors import InputError
from loglore.jobs.queue import Order
from loglore.runs import files
from loglore.settings import load
from loglore.store import audit, evals, jobs, requests
from loglore.store.database import Database
from loglore.store.evals import Eval, EvalRun
from loglore.store.jobs import Job

LARGEST_FILE = 256 << 20
ROWS = "questions.jsonl"
# Graded while the client waits: some seconds.
MOST_GRADED = 20_000
MOST_RUNS = 1_000_000
Direction = Literal["asc", "desc"]
Status = Literal["queued", "in_progress", "completed", "canceled", "failed", "paused"]


def router(database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/evals", tags=["evals"], responses=ERRORS)

    @routes.post("", status_code=201)
    def create_eval(wish: CreateEval, request: Request) -> dict[str, Any]:
        """Say what is measured, and when an answer passes."""
        names = [each.name for each in wish.testing_criteria]
        if len(set(names)) < len(names):
            raise ApiError(400, "testing_criteria: two have the same name", "invalid_value", "testing_criteria")
        criteria = [each.model_dump(mode="json") for each in wish.testing_criteria]
        config = wish.data_source_config.model_dump(mode="json")
        made = evals.add(database, wish.name or "eval", config, criteria, wish.metadata or {}, actor(request))
        audit.audit(database, actor(request), "eval.create", made.id, {"name": made.name})
        return objects.eval_object(made)

    @routes.get("")
    def list_evals(
        after: After = None,
        limit: Limit = 20,
        order: Direction = "asc",
        order_by: Literal["created_at", "updated_at"] = "created_at",
    ) -> dict[str, Any]:
        """Evals."""
        found = evals.evals(database, after, limit + 1, order == "desc", order_by == "updated_at")
        return page([objects.eval_object(each) for each in found], limit)

    @routes.get("/{eval_id}")
    def read_eval(eval_id: str) -> dict[str, Any]:
        """One eval."""
        return objects.eval_object(known(lambda: evals.find(database, eval_id)))

    @routes.post("/{eval_id}")
    def update_eval(eval_id: str, wish: UpdateEval, request: Request) -> dict[str, Any]:
        """Give it another name or other metadata."""
        known(lambda: evals.find(database, eval_id))
        values = wish.model_dump(exclude_none=True)
        found = evals.update(database, eval_id, **values) if values else evals.find(database, eval_id)
        audit.audit(database, actor(request), "eval.update", eval_id)
        return objects.eval_object(found)

    @routes.delete("/{eval_id}")
    def delete_eval(eval_id: str, request: Request) -> dict[str, Any]:
        """Forget an eval with its runs; their jobs stay."""
        known(lambda: evals.find(database, eval_id))
        for run in evals.runs(database, eval_id, limit=MOST_RUNS):
            shutil.rmtree(_place(run.id), ignore_errors=True)
        evals.delete(database, eval_id)
        audit.audit(database, actor(request), "eval.delete", eval_id)
        return {"object": "eval.deleted", "deleted": True, "eval_id": eval_id}

    _add_runs(routes, database)
    _add_items(routes, database)
    return routes


def _add_runs(routes: APIRouter, database: Database) -> None:
    @routes.post("/{eval_id}/runs", status_code=201)
    def create_run(eval_id: str, wish: CreateRun, request: Request) -> dict[str, Any]:
        """Let a model answer every item, which a test job does; or, `jsonl`, grade the answers that are there."""
        found = known(lambda: evals.find(database, eval_id))
        source = wish.data_source
        run_id = f"evalrun_{reserved(request)}"
        if isinstance(source, Jsonl):
            results = graded(database, found, source, run_id)
            job_id, model = "", ""
        else:
            results = None
            job_id, model = make(database, request, making(database, found, wish, source)).id, source.model
        body = source.model_dump(mode="json", exclude_none=True)
        run = evals.add_run(
            database, eval_id, job_id, wish.name or found.name, model, body, wish.metadata or {}, run_id, results
        )
        audit.audit(database, actor(request), "eval.run.create", run.id, {"eval": eval_id, "job": job_id or None})
        return shown(database, found, run, request)

    @routes.get("/{eval_id}/runs")
    def list_runs(
        eval_id: str,
        request: Request,
        after: After = None,
        limit: Limit = 20,
        order: Direction = "asc",
        status: Status | None = None,
    ) -> dict[str, Any]:
        """Runs of an eval."""
        found = known(lambda: evals.find(database, eval_id))
        states = [objects.STATES.get(status, status)] if status else None
        listed = evals.runs(database, eval_id, states, after, limit + 1, order == "desc")
        return page([shown(database, found, each, request) for each in listed], limit)

    @routes.get("/{eval_id}/runs/{run_id}")
    def read_run(eval_id: str, run_id: str, request: Request) -> dict[str, Any]:
        """One run; `scores` has the means with their intervals."""
        return shown(database, *_run(database, eval_id, run_id), request)

    # The published description has the first path, the official client takes the second.
    @routes.post("/{eval_id}/runs/{run_id}")
    @routes.post("/{eval_id}/runs/{run_id}/cancel")
    def cancel_run(eval_id: str, run_id: str, request: Request) -> dict[str, Any]:
        """Stop a run."""
        found, run = _run(database, eval_id, run_id)
        if not run.job_id:
            raise ApiError(400, f"run {run_id} is completed: only a run that is not over can be cancelled")
        requests.cancel(database, run.job_id, actor(request))
        return shown(database, found, run, request)

    @routes.delete("/{eval_id}/runs/{run_id}")
    def delete_run(eval_id: str, run_id: str, request: Request) -> dict[str, Any]:
        """Forget a run; its job stays."""
        known(lambda: evals.delete_run(database, eval_id, run_id))
        shutil.rmtree(_place(run_id), ignore_errors=True)
        audit.audit(database, actor(request), "eval.run.delete", run_id)
        return {"object": "eval.run.deleted", "deleted": True, "run_id": run_id}


def _add_items(routes: APIRouter, database: Database) -> None:
    @routes.get("/{eval_id}/runs/{run_id}/output_items")
    def list_items(
        eval_id: str,
        run_id: str,
        after: After = None,
        limit: Limit = 20,
        order: Direction = "asc",
        status: Annotated[Literal["pass", "fail"] | None, Query()] = None,
    ) -> dict[str, Any]:
        """What was asked, answered and passed, item by item; empty until the run is completed."""
        found, run = _run(database, eval_id, run_id)
        answers = _answers(database, run)
        if answers is None:
            return page([], limit)
        passed = _counted(database, found, run, answers)["passed"]
        numbers = [number for number, good in enumerate(passed) if status in (None, "pass" if good else "fail")]
        if order == "desc":
            numbers.reverse()
        if after is not None:
            last = _number(run, after)
            numbers = [number for number in numbers if (number > last) == (order == "asc") and number != last]
        items = grading.item_objects(run, answers, grading.criteria_of(found), numbers[: limit + 1])
        return page(items, limit)

    @routes.get("/{eval_id}/runs/{run_id}/output_items/{item}")
    def read_item(eval_id: str, run_id: str, item: str) -> dict[str, Any]:
        """One item."""
        found, run = _run(database, eval_id, run_id)
        answers = _answers(database, run)
        number = _number(run, item)
        if answers is None or number >= len(answers.items):
            raise ApiError(404, f"output item {item!r}: no such id", "not_found")
        items: list[dict[str, Any]] = grading.item_objects(run, answers, grading.criteria_of(found), [number])
        return items[0]


def making(database: Database, found: Eval, wish: CreateRun, source: Completions) -> Making:
    """The test job of a run.

    Raises:
        ApiError: 400 for items that cannot be used, 404 for what is not there.
    """
    named = Named()
    items = [row["item"] for row in _rows(database, found, source, named)]
    chat = objects.chat_rows(source, items, grading.criteria_of(found))
    model = inputs.model(database, source.model, named, "data_source.model")

    def spec(folder: Path) -> dict[str, Any]:
        files.write_jsonl(folder / ROWS, chat)
        files.write_jsonl(folder / grading.ITEMS, items)
        values = {"model": model, "dataset": str(folder / ROWS), "turns": "last", "general_text": False}
        return values | _sampling(source)

    order = Order(
        name=wish.name or found.name, priority=wish.priority, depends_on=wish.depends_on, gpus=wish.gpus,
        metadata=wish.metadata or {},
    )  # fmt: skip
    body = {"eval_id": found.id, **wish.model_dump(mode="json", exclude_none=True)}
    if isinstance(source.source, FileContent):
        body["data_source"]["source"] = {"type": "file_content", "content": []}  # kept with the run already
    return Making("test", order, body, spec, named)


def graded(database: Database, found: Eval, source: Jsonl, run_id: str) -> dict[str, Any]:
    """Grade a run whose items have their answers, and keep them for its output items.

    Raises:
        ApiError: 400 for items that cannot be used, 404 for what is not there.
    """
    rows = _rows(database, found, source, Named())
    if len(rows) > MOST_GRADED:
        text = f"data_source: {len(rows):,} items, a run of the type `jsonl` may have {MOST_GRADED:,}"
        raise ApiError(400, text, "invalid_value", "data_source")
    try:
        results = grading.count(grading.given(rows), grading.criteria_of(found), "")
    except InputError as fault:
        raise ApiError(400, f"data_source: {fault}", "invalid_value", "data_source") from None
    files.write_jsonl(_place(run_id) / grading.ITEMS, rows)
    return results


def _place(run_id: str) -> Path:
    """Where the items of a run without a job are."""
    return load().home / "evals" / run_id


def _rows(database: Database, found: Eval, source: Completions | Jsonl, named: Named) -> list[dict[str, Any]]:
    """`item`, and `sample` where there is one, of each row."""
    given = source.source
    param = "data_source.source"
    if isinstance(given, FileContent):
        rows: list[dict[str, Any]] = [each.model_dump(exclude_none=True) for each in given.content]
    else:
        param = f"{param}.id"
        path = inputs.rows(database, given.id, named, param, inputs.PURPOSES)
        if path.is_file() and path.stat().st_size > LARGEST_FILE:
            raise ApiError(400, f"{param}: items of more than {LARGEST_FILE:,} bytes", "invalid_file", param)
        try:
            rows = objects.rows_of_file(data_files.read_rows(path), samples=isinstance(source, Jsonl))
        except InputError as fault:
            text = str(fault).replace(str(path), given.id)
            raise ApiError(400, f"{param}: {text}", "invalid_file", param) from None
    try:
        objects.check_items(found.config, [row["item"] for row in rows])
    except InputError as fault:
        raise ApiError(400, f"{param}: {fault}", "invalid_value", param) from None
    return rows


def _sampling(source: Completions) -> dict[str, Any]:
    given = source.sampling_params
    if given is None:
        return {}
    names = {"max_completion_tokens": "max_new_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed"}
    return {ours: value for theirs, ours in names.items() if (value := getattr(given, theirs)) is not None}


def shown(database: Database, found: Eval, run: EvalRun, request: Request) -> dict[str, Any]:
    """A run as an object, counted when it is over."""
    job = _job(database, run)
    scores: dict[str, Any] = {}
    if job is not None and job.state == "succeeded":
        report = job.report or {}
        scores = {**report.get("scores", {}), **report.get("measures", {})}
        if run.results is None and (answers := _answers(database, run)) is not None:
            _counted(database, found, run, answers)
            run = evals.find_run(database, run.eval_id, run.id)
    place = f"studio/jobs/{run.job_id}" if run.job_id else f"evals/{run.eval_id}/runs/{run.id}/output_items"
    url = str(request.base_url.replace(path=f"/v1/{place}"))
    return objects.run_object(run, job, url, scores)


def _counted(database: Database, found: Eval, run: EvalRun, answers: Answers) -> Mapping[str, Any]:
    if run.results is not None:
        return run.results
    results = grading.count(answers, grading.criteria_of(found), run.model)
    evals.keep_results(database, run.id, results)
    return results


def _answers(database: Database, run: EvalRun) -> Answers | None:
    if not run.job_id:
        return grading.given(files.read_jsonl_log(_place(run.id) / grading.ITEMS))
    job = _job(database, run)
    if job is None or job.state != "succeeded":
        return None
    try:
        return grading.read(job)
    except InputError as fault:
        raise ApiError(404, str(fault), "not_found") from None


def _job(database: Database, run: EvalRun) -> Job | None:
    try:
        return jobs.find(database, run.job_id)
    except InputError:
        return None


def _run(database: Database, eval_id: str, run_id: str) -> tuple[Eval, EvalRun]:
    found = known(lambda: evals.find(database, eval_id))
    return found, known(lambda: evals.find_run(database, eval_id, run_id))


def _number(run: EvalRun, item: str) -> int:
    prefix = grading.item_id(run, 0)[:-1]
    number = item.removeprefix(prefix)
    if not item.startswith(prefix) or not number.isascii() or not number.isdecimal() or len(number) > 9:
        raise ApiError(404, f"output item {item!r}: no such id", "not_found")
    return int(number)
