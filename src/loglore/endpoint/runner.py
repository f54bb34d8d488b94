"""Many requests to a few endpoints: bounded, paced, retried, journaled; killed at any time and continued.

    items (streamed) ── worker × concurrency ── cache? ── pace, hold, budget ── endpoint ── cache ── judge ── outcomes
                              ▲                                                                 │
                              └────────────── one more turn (a repair names the faults) ────────┘

Two journals (`journal.Journal`) carry everything: `cache` has each answer that arrived under the hash of what was
asked, written before anybody looks at it, so no answer is paid for twice, by whatever run; `outcomes` has what became
of each item. `kill -9` loses the requests in flight and nothing else. Both are synced to disk every second.

There is one task a connection, not one an item, and items are drawn from an iterator when a task is free: memory does
not grow with their number. `judge` runs in the event loop, so a slow one delays the reading of other answers.
Measured (bench/bench_runner.py, docs/LOG.md): throughput within 3 % of the bare `openai` client.
"""

import asyncio
import concurrent.futures
import contextlib
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from loglore.endpoint.items import ACCEPTED, FAILED, REJECTED, Accept, Item, Judge, Reject, Tally, Use
from loglore.endpoint.journal import Journal, digest
from loglore.endpoint.limits import LONGEST_RETRY_AFTER_S, Budget, Pace, backoff
from loglore.endpoint.redaction import Redactor
from loglore.endpoint.target import Answer, RefusedError, Request, Session, Target, UnavailableError
from loglore.errors import InputError, JobError
from loglore.runs import files
from loglore.runs.progress import Tick

ATTEMPTS = 6
# Beside the outcomes: a row for each answer that cost something, written when it arrived.
PAID = "paid.jsonl"
# An endpoint that gave nothing so many times in a row, none of it an answer, is given up.
DEAD_AFTER = 3
# One that refused so many requests with the same words before it answered any will refuse the others, too.
HOPELESS_AFTER = 20
SYNC_S = 1.0


@dataclass
class _Line:
    """An open endpoint with what its requests share. Times are of the monotonic clock."""

    session: Session
    requests: Pace
    tokens: Pace
    hold_until: float = 0.0
    misses: int = 0
    dead: str = ""
    answered: bool = False
    refusals: Counter[str] = field(default_factory=Counter)

    def refused(self, reason: str) -> None:
        """Note a refusal.

        Raises:
            InputError: nothing but this refusal has come so far.
        """
        self.refusals[reason] += 1
        if not self.answered and self.refusals[reason] >= HOPELESS_AFTER and len(self.refusals) == 1:
            url = self.session.target.url
            raise InputError(
                f"{url}: the first {HOPELESS_AFTER} requests were refused: {reason} (fields of the body can be changed "
                "or left out by `extra`)"
            )


@dataclass
class _Source:
    """Items to do: those given back first, then the next new one."""

    todo: Iterator[Item]
    done: Callable[[dict[str, Any]], None]
    returned: deque[Item] = field(default_factory=deque)
    over: bool = False
    fault: InputError | None = None

    def next(self) -> Item | None:
        return self.returned.popleft() if self.returned else next(self.todo, None)


class _OverBudgetError(Exception):
    """The next request may cost more than is left."""


class Fanout:
    """Asks endpoints about items.

    Args:
        targets: the endpoints; each takes what it can.
        cache: journal file of answers, shared by runs.
        outcomes: journal file of this run's items; what answers cost is appended to `paid.jsonl` beside it.
        budget: when to stop.
        redactor: used for targets that redact.
        attempts: how often a request is tried at an endpoint before its item fails.
        judge_cut_off: hand answers that ran into `max_tokens` to the judge, too; else their items fail.
        known: another journal file of answers, to look in and not to write to.

    Raises:
        InputError: a key is missing.
    """

    def __init__(
        self,
        targets: Iterable[Target],
        cache: Path,
        outcomes: Path,
        budget: Budget | None = None,
        redactor: Redactor | None = None,
        attempts: int = ATTEMPTS,
        judge_cut_off: bool = False,
        known: Path | None = None,
    ) -> None:
        self.targets = list(targets)
        for target in self.targets:
            target.key()
        self.cache = Journal(cache)
        self._caches = [self.cache, *([Journal(known)] if known else [])]
        self.outcomes = Journal(outcomes)
        self._paid = outcomes.with_name(PAID)
        files.repair_jsonl_log(self._paid)
        self.redactor = redactor or Redactor()
        self.tally = Tally()
        self.budget = budget or Budget()
        self._attempts = attempts
        self._judge_cut_off = judge_cut_off
        self._flying: dict[str, asyncio.Future[None]] = {}

    def run(self, items: Iterable[Item], judge: Judge, tick: Tick = lambda amount=1, note="": None) -> Tally:
        """Ask about every item that has no accepted or rejected outcome yet.

        Args:
            items: drawn as tasks become free; ids are unique.
            judge: says what becomes of an answer. It must depend on the item and the answer alone.
            tick: called for each item that is done, with the cost so far.

        Raises:
            InputError: an endpoint that cannot work at all (URL, key, model).
            JobError: every endpoint stopped answering.
        """
        self.tally = Tally()
        run_anywhere(self._run(items, judge, tick))
        return self.tally

    def outcome(self, identity: str) -> dict[str, Any] | None:
        """What became of an item: `status`, `value` or `reason` and `detail`, `turns`, tokens, `cost`, `model`."""
        found: dict[str, Any] | None = self.outcomes.get(digest(identity))
        return found

    def close(self) -> None:
        """Close the journals."""
        for cache in self._caches:
            cache.close()
        self.outcomes.close()

    async def _run(self, items: Iterable[Item], judge: Judge, tick: Tick) -> None:
        def done(outcome: dict[str, Any]) -> None:
            self.tally.count(outcome)
            tick(note=self.tally.note)

        source = _Source(self.todo(iter(items), done), done)
        async with self._lines() as lines, self._synced():
            for line in lines:
                await line.session.check()
            while True:
                live = [line for line in lines if not line.dead]
                if not live:
                    raise JobError(f"no endpoint answers any more: {'; '.join(line.dead for line in lines)}")
                await together(
                    self._work(line, source, judge, lines)
                    for line in live
                    for _ in range(line.session.target.concurrency)
                )
                if source.fault is not None:
                    raise source.fault
                if source.over or not source.returned:
                    break
        self.tally.unasked += len(source.returned) + sum(1 for _ in source.todo)

    @contextlib.asynccontextmanager
    async def _lines(self) -> AsyncIterator[list[_Line]]:
        lines = [
            _Line(
                Session(target, self.redactor if target.redacts else None),
                Pace(target.requests_per_minute),
                Pace(target.tokens_per_minute),
            )
            for target in self.targets
        ]
        try:
            yield lines
        finally:
            for line in lines:
                await line.session.close()

    @contextlib.asynccontextmanager
    async def _synced(self) -> AsyncIterator[None]:
        async def every_second() -> None:
            while True:
                await asyncio.sleep(SYNC_S)
                await asyncio.to_thread(self.cache.sync)
                await asyncio.to_thread(self.outcomes.sync)

        task = asyncio.create_task(every_second())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self.cache.sync()
            self.outcomes.sync()

    async def _work(self, line: _Line, source: _Source, judge: Judge, lines: list[_Line]) -> None:
        """One connection's work: item after item."""
        while not line.dead and not source.over:
            item = source.next()
            if item is None:
                return
            use = Use()
            try:
                outcome = await self._settle(item, line, judge, use, source)
            except _OverBudgetError:
                source.over, self.tally.stopped = True, "budget"
                source.returned.append(item)
                return
            except InputError as fault:
                # Requests in flight may still be answered, and are kept; then it is raised.
                source.over, source.fault = True, fault
                return
            except UnavailableError as fault:
                others = sum(not other.dead for other in lines if other is not line)
                if line.dead or item.passed_on < others:
                    source.returned.append(replace(item, passed_on=item.passed_on + 1))
                    continue
                outcome = {"status": FAILED, "reason": str(fault)}
            source.done(self.keep(item, use, outcome))

    async def _settle(self, item: Item, line: _Line, judge: Judge, use: Use, source: _Source) -> dict[str, Any]:
        """Ask, judge, and ask again while the judge says so."""
        request = item.request
        while True:
            try:
                answer = await self._answer(request, line, source)
            except RefusedError as fault:
                line.refused(str(fault))
                return {"status": FAILED, "reason": f"refused: {fault}"}
            step = self.step(item, request, answer, judge, use)
            if not isinstance(step, Request):
                return step
            request = step

    def step(self, item: Item, request: Request, answer: Answer, judge: Judge, use: Use) -> dict[str, Any] | Request:
        """What follows from an answer: the item's outcome, or the next request. Adds to `use` and the budget."""
        turn = use.turns
        use.add(answer)
        self.budget.spend(answer.cost, answer.prompt_tokens + answer.completion_tokens)
        if answer.finish_reason == "length" and not self._judge_cut_off:
            reason = f"cut off at {answer.completion_tokens} tokens (max_tokens is {request.max_tokens})"
            return {"status": FAILED, "reason": reason}
        step = judge(item, answer, turn)
        if isinstance(step, Accept):
            return {"status": ACCEPTED, "value": step.value}
        if isinstance(step, Reject):
            return {"status": REJECTED, "reason": step.reason, "detail": step.detail}
        more = ({"role": "assistant", "content": answer.text}, {"role": "user", "content": step.message})
        return replace(request, messages=(*request.messages, *more))

    def keep(self, item: Item, use: Use, outcome: dict[str, Any]) -> dict[str, Any]:
        """Write an item's outcome; returns it with what it took."""
        whole = {"id": item.id, "round": item.round, **asdict(use), **outcome}
        self.outcomes.put(digest(item.id), whole)
        return whole

    def bought(self, key: str, answer: Answer) -> None:
        """Keep an answer that was paid for just now."""
        self.tally.paid += answer.cost
        if answer.cost:
            # Before the answer itself: a bill is owed also by who is killed in between.
            files.append_jsonl(self._paid, {"dollars": answer.cost, "model": answer.model})
        self.cache.put(key, asdict(answer))

    def todo(self, items: Iterator[Item], seen: Callable[[dict[str, Any]], None]) -> Iterator[Item]:
        """The items without a lasting outcome; `seen` takes the outcomes of the others.

        An item whose answer was cut off is asked again with another seed.
        """
        for item in items:
            known = self.outcomes.get(digest(item.id))
            if known is None:
                yield item
            elif known["status"] == FAILED:
                rounds = known["round"] + bool(known["turns"])
                yield replace(item, round=rounds, request=replace(item.request, seed=item.request.seed + rounds))
            else:
                seen(known)

    async def _answer(self, request: Request, line: _Line, source: _Source) -> Answer:
        """The answer from the cache, from a request in flight that asks the same, or from the endpoint."""
        key = digest(request.identity(line.session.target))
        while key in self._flying:
            await self._flying[key]
        keys = [key, *(digest(request.identity(target)) for target in self.targets)]
        found = next((known for one in keys for cache in self._caches if (known := cache.get(one)) is not None), None)
        if found is not None:
            return Answer(**found)
        landed = self._flying[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await self._ask(request, line, source)
            self.bought(key, answer)
        finally:
            del self._flying[key]
            landed.set_result(None)
        return answer

    async def _ask(self, request: Request, line: _Line, source: _Source) -> Answer:
        """Ask one endpoint, several times if need be.

        Raises:
            UnavailableError: the last reason, when no attempt was answered.
        """
        tokens = request.estimate() + request.max_tokens
        cost = line.session.target.cost(request.estimate(), request.max_tokens)
        for attempt in itertools.count():
            if not self.budget.hold(cost, tokens):
                raise _OverBudgetError
            try:
                await _turn(line, tokens)
                self.tally.requests += 1
                answer = await line.session.ask(request)
            except UnavailableError as fault:
                wait = fault.wait_s or 0.0
                if attempt + 1 >= self._attempts or line.dead or source.over or wait > LONGEST_RETRY_AFTER_S:
                    line.misses += 1
                    if line.misses >= DEAD_AFTER:
                        line.dead = f"{line.session.target.url}: {fault}"
                    raise
                if fault.wait_s is not None:
                    line.hold_until = max(line.hold_until, time.monotonic() + wait)
                delay = backoff(attempt, fault.wait_s, random.random())
            else:
                line.misses, line.answered = 0, True
                line.tokens.correct(answer.prompt_tokens + answer.completion_tokens - tokens)
                return answer
            finally:
                self.budget.settle(cost, tokens)
            self.tally.retries += 1
            await asyncio.sleep(delay)
        raise AssertionError("unreachable")


def run_anywhere(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, in a thread of its own where a loop runs already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
    else:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, work).result()


async def together(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one fails, stop the others and raise."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _turn(line: _Line, tokens: int) -> None:
    """Wait until the endpoint's limits and its own wish to be left alone allow a request."""
    now = time.monotonic()
    start = max(line.requests.reserve(1, now), line.tokens.reserve(tokens, now))
    while (wait := max(start, line.hold_until) - time.monotonic()) > 0:
        await asyncio.sleep(wait)
