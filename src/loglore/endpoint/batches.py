"""The same work through `/v1/batches`: upload, wait, fetch. Half the price at most providers, hours instead of minutes.

    items ── portions, one batch each, a few at once ── upload ── wait ── cache ── judge ── outcomes
                     ▲                                                        │
                     └─────────────── a repair is a batch of its own ─────────┘

Answers go through the same journals as those of `runner`, so both modes can be mixed. A batch is known by a hash of
what it asks: a run that is killed while it waits finds the batch again, by its id in the state file or, when the kill
came between its creation and that note, by the hash in its metadata. A batch that was fetched by a process whose cache
is not here (another node of a cluster) is fetched once more. Where a portion begins depends on the items alone, so that
a later run asks for the same.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.endpoint.items import FAILED, Item, Judge, Tally, Use
from loglore.endpoint.journal import Journal, digest
from loglore.endpoint.runner import Fanout, run_anywhere, together
from loglore.endpoint.target import Answer, Request, Session, Target, UnavailableError, answer_of
from loglore.errors import InputError, JobError
from loglore.runs import files
from loglore.runs.progress import Tick

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

# OpenAI takes 50,000 requests and 200 MB a batch; redaction and escapes may lengthen what is measured here.
MOST_REQUESTS = 20_000
MOST_BYTES = 150 << 20
# Batches at once. Their requests are in memory; with a budget there is one, which counts at its highest cost.
UNDER_WAY = 4
FIRST_POLL_S, POLL_S = 1.0, 30.0
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
        poll_s: longest time between looks at a batch; the first come sooner.

    Raises:
        InputError: more than one target, or one that cannot work.
        JobError: the endpoint failed a batch or has no batches.
    """
    if len(fanout.targets) != 1:
        raise InputError(f"batches: expected one endpoint, found {len(fanout.targets)}")
    fanout.tally = Tally()
    with Journal(state) as journal:
        run_anywhere(_Work(fanout, judge, journal, tick, poll_s).run(items))
    return fanout.tally


def portions(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items in order, as many at a time as fit into a batch."""
    found: list[Item] = []
    size = 0
    for item in items:
        length = len(json.dumps(item.request.asked()))
        if found and (len(found) == MOST_REQUESTS or size + length > MOST_BYTES):
            yield found
            found, size = [], 0
        found.append(item)
        size += length
    if found:
        yield found


class _Work:
    """Batches of one run. `faults`: why requests have no answer, by key."""

    def __init__(self, fanout: Fanout, judge: Judge, state: Journal, tick: Tick, poll_s: float) -> None:
        self._fanout, self._judge, self._state, self._tick, self._poll_s = fanout, judge, state, tick, poll_s
        self._target = fanout.targets[0]
        self._session = Session(self._target, fanout.redactor if self._target.redacts else None)
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._faults: dict[str, str] = {}

    async def run(self, items: Iterable[Item]) -> None:
        import openai

        left = portions(items)
        budget = self._fanout.budget
        is_limited = budget.dollars is not None or budget.tokens is not None
        try:
            await self._session.check()
            await together(self._portions(left) for _ in range(1 if is_limited else UNDER_WAY))
        except openai.APIError as fault:
            raise JobError(f"{self._target.url}: {fault.message}; the same command goes on with the batch") from None
        finally:
            await self._session.close()
            self._fanout.cache.sync()
            self._fanout.outcomes.sync()

    async def _portions(self, left: Iterator[list[Item]]) -> None:
        """One portion after the other, each to its end."""
        for portion in left:
            turns = [(item, item.request, Use()) for item in self._fanout.todo(iter(portion), self._done)]
            while turns:
                await self._answer([request for _, request, _ in turns])
                turns = [
                    (item, following, use)
                    for item, request, use in turns
                    if (following := self._next(item, request, use)) is not None
                ]

    def _done(self, outcome: dict[str, Any]) -> None:
        self._fanout.tally.count(outcome)
        self._tick(note=self._fanout.tally.note)

    def _next(self, item: Item, request: Request, use: Use) -> Request | None:
        """The item's next request; None when it has its outcome, or no room in the budget."""
        fanout, key = self._fanout, digest(request.identity(self._target))
        found = fanout.cache.get(key)
        if found is None and key not in self._faults:
            fanout.tally.unasked += 1
            fanout.tally.stopped = "budget"
            return None
        if found is None:
            step: dict[str, Any] | Request = {"status": FAILED, "reason": self._faults[key]}
        else:
            step = fanout.step(item, request, Answer(**found), self._judge, use)
        if isinstance(step, Request):
            return step
        self._done(fanout.keep(item, use, step))
        return None

    async def _answer(self, requests: Iterable[Request]) -> None:
        """Have requests answered into the cache, or their faults noted, as far as the budget goes."""
        budget = self._fanout.budget
        missing: dict[str, Request] = {}
        elsewhere: list[asyncio.Future[None]] = []
        for request in requests:
            key = digest(request.identity(self._target))
            if key in self._asked:  # by another batch
                elsewhere.append(self._asked[key])
            elif key not in self._fanout.cache and key not in missing:
                if not budget.hold(*_most(self._target, request)):
                    break
                missing[key] = request
        if missing:
            landed = asyncio.get_running_loop().create_future()
            self._asked |= dict.fromkeys(missing, landed)
            try:
                await self._fetch(missing)
            finally:
                for key, request in missing.items():
                    del self._asked[key]
                    budget.settle(*_most(self._target, request))
                landed.set_result(None)
        for each in elsewhere:
            await each

    async def _fetch(self, missing: Mapping[str, Request]) -> None:
        """Have the requests answered by a batch: one that is under way or was fetched before, else a new one."""
        mark, known = digest(sorted(missing)), self._state.get(digest(sorted(missing)))
        if known is not None and known["over"]:
            left = await self._fetch_again(known["batch"], missing)
            if len(left) < len(missing):
                return await self._fetch(left) if left else None
        if known is None or known["over"]:
            batch = (None if known else await self._find(mark, missing)) or await self._submit(missing, mark)
            self._state.put(mark, {"batch": batch.id, "over": False})
            self._state.sync()
        else:
            batch = await self._patient.batches.retrieve(known["batch"])
        pause = min(FIRST_POLL_S, self._poll_s)
        while batch.status not in _OVER:
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._poll_s)
            batch = await self._patient.batches.retrieve(batch.id)
        if batch.status == "failed":
            self._state.put(mark, {"batch": batch.id, "over": True})
            said = batch.errors.data[0].message if batch.errors and batch.errors.data else "no reason given"
            raise JobError(f"{self._target.url}: batch {batch.id} failed: {said}")
        self._faults |= dict.fromkeys(missing, f"batch {batch.id} is {batch.status} without an answer")
        await self._take(batch, missing, self._fanout.bought)
        self._state.put(mark, {"batch": batch.id, "over": True})
        return None

    async def _fetch_again(self, name: str, missing: Mapping[str, Request]) -> dict[str, Request]:
        """Take answers of a batch that was billed before; returns what it has no answer to."""
        import openai

        try:
            batch = await self._patient.batches.retrieve(name)
            await self._take(batch, missing, lambda key, answer: self._fanout.cache.put(key, vars(answer)))
        except openai.NotFoundError:  # providers keep files for some weeks
            pass
        return {key: request for key, request in missing.items() if key not in self._fanout.cache}

    @property
    def _patient(self) -> "AsyncOpenAI":
        """The client with retries of its own: a batch is worth waiting for."""
        return self._session.client.with_options(max_retries=RETRIES)

    async def _find(self, mark: str, missing: Mapping[str, Request]) -> "Batch | None":
        """A batch that was created but not noted."""
        import openai

        try:
            page = await self._patient.batches.list(limit=100)
        except openai.APIStatusError as fault:
            raise JobError(f"{self._target.url}: no /batches here ({fault.status_code}); leave `batches` out") from None
        found = next((batch for batch in page.data if (batch.metadata or {}).get("loglore") == mark), None)
        if found is not None:
            # Placeholders are numbered in the order of the requests, so those of a lost file come back.
            for request in missing.values():
                self._session.body(request)
        return found

    async def _submit(self, missing: Mapping[str, Request], mark: str) -> "Batch":
        rows = (
            {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": self._session.body(request)}
            for key, request in missing.items()
        )
        upload = self._state.path.parent / f"batch-{mark[:8]}.jsonl"
        self._fanout.tally.requests += files.write_jsonl(upload, rows)
        # Before anything is sent: whoever fetches the answers has to restore them.
        self._fanout.redactor.save()
        sent = await self._patient.files.create(file=upload, purpose="batch")
        batch = await self._patient.batches.create(
            input_file_id=sent.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"loglore": mark},
        )
        upload.unlink()
        return batch

    async def _take(self, batch: "Batch", missing: Mapping[str, Request], keep: Any) -> None:
        """A batch's answers into the cache, faults noted."""
        for name in (batch.output_file_id, batch.error_file_id):
            if name:
                content = await self._patient.files.content(name)
                for line in content.text.splitlines():
                    self._take_one(json.loads(line), missing, keep)

    def _take_one(self, row: Mapping[str, Any], missing: Mapping[str, Request], keep: Any) -> None:
        key, response = str(row.get("custom_id")), row.get("response") or {}
        if key not in missing or key in self._fanout.cache:
            return
        body = response.get("body") or {}
        if response.get("status_code") != 200:
            error = row.get("error") or body.get("error") or {}
            self._faults[key] = f"batch: {response.get('status_code', '')} {error.get('message', 'no answer')}".strip()
            return
        try:
            answer = answer_of(body, self._target, self._session.redactor, missing[key], 0.0)
        except UnavailableError as fault:
            self._faults[key] = str(fault)
            return
        keep(key, answer)
        self._faults.pop(key, None)


def _most(target: Target, request: Request) -> tuple[float, int]:
    """Dollars and tokens that a request may take."""
    prompt = request.estimate()
    return target.cost(prompt, request.max_tokens), prompt + request.max_tokens
