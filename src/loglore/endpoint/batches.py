"""The same work through `/v1/batches`: upload, wait, fetch. Half the price at most providers, hours instead of minutes.

Answers go through the same journals as those of `runner`, so both modes can be mixed. A batch is known by a hash of
what it asks: a run that is killed while it waits finds the batch again, by its id in the state file or, when the kill
came between its creation and that note, by the hash in its metadata.
"""

import asyncio
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.endpoint.items import FAILED, Item, Judge, Tally, Use
from loglore.endpoint.journal import Journal, digest
from loglore.endpoint.runner import Fanout, run_anywhere
from loglore.endpoint.target import Answer, Request, Session, Target, UnavailableError, answer_of
from loglore.errors import InputError, JobError
from loglore.runs import files
from loglore.runs.progress import Tick

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

MOST_REQUESTS = 20_000
POLL_S = 30.0
RETRIES = 6
_OVER = ("completed", "failed", "expired", "cancelled")


def run_batches(
    fanout: Fanout, items: Iterable[Item], judge: Judge, state: Path, tick: Tick, poll_s: float = POLL_S
) -> Tally:
    """Ask about every item as `Fanout.run` does, in batches; a repair turn goes into a batch of its own.

    Args:
        fanout: with one target.
        items: as in `Fanout.run`.
        judge: as in `Fanout.run`.
        tick: as in `Fanout.run`.
        state: file that remembers the batches.
        poll_s: seconds between looks at a batch.

    Raises:
        InputError: more than one target, or one that cannot work.
        JobError: the endpoint failed a batch or has no batches.
    """
    if len(fanout.targets) != 1:
        raise InputError(f"batches: expected one endpoint, found {len(fanout.targets)}")
    fanout.tally = Tally()
    with Journal(state) as journal:
        run_anywhere(_run(fanout, items, judge, journal, tick, poll_s))
    return fanout.tally


async def _run(fanout: Fanout, items: Iterable[Item], judge: Judge, state: Journal, tick: Tick, poll_s: float) -> None:
    target = fanout.targets[0]
    session = Session(target, fanout.redactor if target.redacts else None)

    def done(outcome: dict[str, Any]) -> None:
        fanout.tally.count(outcome)
        tick(note=fanout.tally.note)

    import openai

    try:
        await session.check()
        todo = fanout.todo(iter(items), done)
        while part := list(itertools.islice(todo, MOST_REQUESTS)):
            turns = [(item, item.request, Use()) for item in part]
            while turns:
                missing = _missing(fanout, [request for _, request, _ in turns])
                faults = await _fetch(fanout, session, missing, state, poll_s) if missing else {}
                for request in missing.values():
                    fanout.budget.settle(*_most(target, request))
                turns = [
                    (item, following, use)
                    for item, request, use in turns
                    if (following := _next(fanout, item, request, use, judge, faults, done)) is not None
                ]
    except openai.APIError as fault:
        raise JobError(f"{target.url}: {fault.message}; the same command goes on with the batch") from None
    finally:
        await session.close()
        fanout.cache.sync()
        fanout.outcomes.sync()


def _patient(session: Session) -> "AsyncOpenAI":
    """The client with retries of its own: a batch is worth waiting for."""
    return session.client.with_options(max_retries=RETRIES)


def _missing(fanout: Fanout, requests: Iterable[Request]) -> dict[str, Request]:
    """Requests without an answer, by key, as far as the budget goes; what they may cost is held."""
    target = fanout.targets[0]
    missing: dict[str, Request] = {}
    for request in requests:
        key = digest(request.identity(target))
        if key in fanout.cache or key in missing:
            continue
        if not fanout.budget.hold(*_most(target, request)):
            break
        missing[key] = request
    return missing


def _most(target: Target, request: Request) -> tuple[float, int]:
    """Dollars and tokens that a request may take."""
    prompt = request.estimate()
    return target.cost(prompt, request.max_tokens), prompt + request.max_tokens


def _next(
    fanout: Fanout, item: Item, request: Request, use: Use, judge: Judge, faults: Mapping[str, str], done: Any
) -> Request | None:
    """The item's next request; None when it has its outcome, or no room in the budget."""
    key = digest(request.identity(fanout.targets[0]))
    found = fanout.cache.get(key)
    if found is None and key not in faults:
        fanout.tally.unasked += 1
        fanout.tally.stopped = "budget"
        return None
    if found is None:
        step: dict[str, Any] | Request = {"status": FAILED, "reason": faults[key]}
    else:
        step = fanout.step(item, request, Answer(**found), judge, use)
    if isinstance(step, Request):
        return step
    done(fanout.keep(item, use, step))
    return None


async def _fetch(
    fanout: Fanout, session: Session, missing: Mapping[str, Request], state: Journal, poll_s: float
) -> dict[str, str]:
    """Have the requests answered into the cache; returns why some were not, by key."""
    mark = digest(sorted(missing))
    known = state.get(mark)
    if known is None or known["over"]:
        found = None if known else await _find(session, mark)
        if found:
            # Placeholders are numbered in the order of the requests, so those of a lost file come back.
            for request in missing.values():
                session.body(request)
        batch = found or await _submit(fanout, session, missing, mark, state.path.parent)
        state.put(mark, {"batch": batch.id, "over": False})
        state.sync()
    else:
        batch = await _patient(session).batches.retrieve(known["batch"])
    while batch.status not in _OVER:
        await asyncio.sleep(poll_s)
        batch = await _patient(session).batches.retrieve(batch.id)
    if batch.status == "failed":
        state.put(mark, {"batch": batch.id, "over": True})
        said = batch.errors.data[0].message if batch.errors and batch.errors.data else "no reason given"
        raise JobError(f"{session.target.url}: batch {batch.id} failed: {said}")
    faults = dict.fromkeys(missing, f"batch {batch.id} is {batch.status} without an answer")
    for name in (batch.output_file_id, batch.error_file_id):
        if name:
            content = await _patient(session).files.content(name)
            for line in content.text.splitlines():
                _take(fanout, session, missing, json.loads(line), faults)
    state.put(mark, {"batch": batch.id, "over": True})
    return faults


async def _find(session: Session, mark: str) -> "Batch | None":
    """A batch that was created but not noted."""
    import openai

    try:
        page = await _patient(session).batches.list(limit=100)
    except openai.APIStatusError as fault:
        raise JobError(f"{session.target.url}: no /batches here ({fault.status_code}); leave `batches` out") from None
    return next((batch for batch in page.data if (batch.metadata or {}).get("loglore") == mark), None)


async def _submit(fanout: Fanout, session: Session, missing: Mapping[str, Request], mark: str, folder: Path) -> "Batch":
    rows = (
        {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": session.body(request)}
        for key, request in missing.items()
    )
    upload = folder / f"batch-{mark[:8]}.jsonl"
    fanout.tally.requests += files.write_jsonl(upload, rows)
    # Before anything is sent: whoever fetches the answers has to restore them.
    fanout.redactor.save()
    sent = await _patient(session).files.create(file=upload, purpose="batch")
    batch = await _patient(session).batches.create(
        input_file_id=sent.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"loglore": mark},
    )
    upload.unlink()
    return batch


def _take(
    fanout: Fanout, session: Session, missing: Mapping[str, Request], row: dict[str, Any], faults: dict[str, str]
) -> None:
    """One line of a batch's output: into the cache, or its fault noted."""
    key, response = str(row.get("custom_id")), row.get("response") or {}
    if key not in missing:
        return
    body = response.get("body") or {}
    if response.get("status_code") != 200:
        error = row.get("error") or body.get("error") or {}
        faults[key] = f"batch: {response.get('status_code', '')} {error.get('message', 'no answer')}".strip()
        return
    try:
        answer = answer_of(body, session.target, session.redactor, missing[key], 0.0)
    except UnavailableError as fault:
        faults[key] = str(fault)
        return
    fanout.bought(key, answer)
    faults.pop(key, None)
