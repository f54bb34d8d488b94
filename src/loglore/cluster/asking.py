"""Endpoint teachers asked by many processes: Ray Data over shards of what a synthesis asks, each with its own journals.

    questions ── shards ── askers (a CPU each) ── endpoints                  RUN/cluster/asked/NUMBER/
                             │  └─ ledger: one budget for all                   answers, outcomes, paid .jsonl
                             └─ tally of the shard ── in order ── rows, out of the outcomes on the shared storage

Each asker opens the same logs, finds the same questions, and takes its part of an endpoint's `concurrency` and limits a
minute, so that all together keep them. What is asked, judged and written is what one process asks, judges and writes.
A shard that was begun goes on from its journals. Only tallies go through the object store.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from loglore.cluster import order, shards
from loglore.endpoint.items import Tally
from loglore.endpoint.journal import Journal, digest
from loglore.endpoint.limits import Budget
from loglore.endpoint.runner import PAID, Fanout
from loglore.endpoint.target import Target
from loglore.errors import InputError, JobError
from loglore.jobs.kinds import spec_class
from loglore.runs import files
from loglore.runs.progress import Tick
from loglore.synth import asking, chat, nlplog
from loglore.synth.asking import OUTCOMES, Call, Outcomes, Questions

FOLDER = "asked"
ANSWERS, BILLED = "answers.jsonl", "billed.jsonl"
COUNTED = [field.name for field in fields(Tally) if field.name != "stopped"]
PORTION = 16  # requests for which an asker takes from the budget at once
QUESTIONS: dict[str, Callable[[Any], Questions]] = {"synth": chat.questions, "nlplog": nlplog.questions}


@dataclass(frozen=True)
class Sharded:
    """Takes the place of `synth.asking.here`; kind: of the job; shard: questions of each."""

    kind: str
    spec: Any
    shard: int

    def __call__(self, questions: Questions, call: Call, tick: Tick) -> tuple[Tally, Outcomes]:
        """Ask everything; returns the tally, and what became of the questions.

        Raises:
            InputError: an endpoint that cannot work. JobError: endpoints that stopped answering.
        """
        import ray

        shards.bound()
        folder = call.folder / order.FOLDER / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(questions.ids), self.shard)
        asked = [{"number": number, "start": start, "end": start + self.shard} for number, start in enumerate(starts)]
        # An asker takes a CPU, and has at least one request in flight at each endpoint.
        most = [target.concurrency for target in call.targets]
        workers = max(1, min(len(asked), int(ray.available_resources().get("CPU", 1)), *most))
        told = {
            "kind": self.kind,
            "spec": self.spec.model_dump(mode="json"),
            "folder": str(folder),
            "share": workers,
            "keys": {target.key_env: target.key() for target in call.targets if target.key_env},
            "known": str(call.cache),
            "ledger": _ledger(call, folder),
        }
        tally = Tally()
        if asked:
            pipeline = ray.data.from_items(asked, override_num_blocks=len(asked)).map_batches(
                _Asker, fn_constructor_kwargs=told, batch_size=1, concurrency=workers, num_cpus=1
            )
            with Journal(call.cache) as cache:
                for done in pipeline.iter_rows():
                    _take(done, tally, questions, folder, cache)
                    tick(int(done["rows"]), tally.note)
        return tally, lambda start, end: self._outcomes(questions, start, end, folder)

    def _outcomes(self, questions: Questions, start: int, end: int, folder: Path) -> Iterator[Mapping[str, Any] | None]:
        """What became of questions, in order; one shard's journal is open at a time."""
        while start < end:
            number = start // self.shard
            until = min((number + 1) * self.shard, end)
            with Journal(folder / _name(number) / OUTCOMES) as journal:
                yield from (journal.get(digest(identity)) for identity in questions.ids[start:until])
            start = until


def share(target: Target, askers: int) -> Target:
    """The part of an endpoint's limits that each of so many askers, at most `concurrency`, may use."""
    requests, tokens = target.requests_per_minute, target.tokens_per_minute
    changed = {
        "concurrency": target.concurrency // askers,
        "requests_per_minute": requests / askers if requests else None,
        "tokens_per_minute": tokens / askers if tokens else None,
    }
    return target.model_copy(update=changed)


def _name(number: int) -> str:
    return f"{number:06d}"


def _take(done: Mapping[str, Any], tally: Tally, questions: Questions, folder: Path, cache: Journal) -> None:
    """What a shard's asker tells: added up, billed, its answers kept where other runs find them."""
    if done["fault"]:
        raise (InputError if done["is_input"] else JobError)(done["fault"])
    for name in COUNTED:
        setattr(tally, name, getattr(tally, name) + done[name])
    tally.stopped = tally.stopped or str(done["stopped"])
    questions.notes.update(json.loads(done["notes"]))
    place = folder / _name(int(done["number"]))
    _bill(folder, int(done["number"]), place)
    with Journal(place / ANSWERS) as answers:
        for key in answers:
            if key not in cache:
                cache.put(key, answers.get(key))


def _bill(folder: Path, number: int, place: Path) -> None:
    """Append to the run's bill what a shard paid and was not yet billed for."""
    rows = files.read_jsonl_log(folder / BILLED)
    before = sum(row["rows"] for row in rows if row["shard"] == number)
    paid = files.read_jsonl_log(place / PAID)[before:]
    if paid:
        for row in paid:
            files.append_jsonl(folder.parents[1] / PAID, row)
        files.append_jsonl(folder / BILLED, {"shard": number, "rows": len(paid)})


def _ledger(call: Call, folder: Path) -> Any:
    """The actor with the budget, less what earlier attempts of this run used; None where nothing is limited."""
    import ray

    if call.budget_dollars is None and call.budget_tokens is None:
        return None
    spent = asking.used(folder.glob(f"*/{OUTCOMES}"))
    return ray.remote(num_cpus=0)(Ledger).remote(call.budget_dollars, call.budget_tokens, *spent)


class Ledger:
    """One budget for all askers: what it has given to them is spent, or comes back. None limits nothing."""

    def __init__(self, dollars: float | None, tokens: int | None, used_dollars: float, used_tokens: int) -> None:
        self._budget = Budget(dollars, tokens, used_dollars, used_tokens)

    def draw(self, dollars: float, tokens: int) -> bool:
        """Whether so much is left; it is the asker's then."""
        if not self._budget.hold(dollars, tokens):
            return False
        self._budget.settle(dollars, tokens)
        self._budget.spend(dollars, tokens)
        return True

    def give_back(self, dollars: float, tokens: int) -> None:
        """An asker has not used so much of what it drew (negative: it used more)."""
        self._budget.spend(-dollars, -tokens)

    def limits(self) -> tuple[bool, bool]:
        """Whether dollars and tokens are limited."""
        return self._budget.dollars is not None, self._budget.tokens is not None


class Allotted(Budget):
    """A budget that draws from the ledger, for several requests at once, and gives back what is left."""

    def __init__(self, ledger: Any) -> None:
        import ray

        self._ledger, self._ask = ledger, ray.get
        has_dollars, has_tokens = ray.get(ledger.limits.remote())
        super().__init__(0.0 if has_dollars else None, 0 if has_tokens else None)

    def hold(self, dollars: float, tokens: int) -> bool:
        """As `Budget.hold`; waits for the ledger where what was drawn is used up."""
        if super().hold(dollars, tokens):
            return True
        short = self.spent_dollars + self._held_dollars - (self.dollars or 0.0)
        short_tokens = self.spent_tokens + self._held_tokens - (self.tokens or 0)
        for times in (PORTION, 1):
            wanted = max(short + dollars * times, 0.0), max(short_tokens + tokens * times, 0)
            if self._ask(self._ledger.draw.remote(*wanted)):
                self.dollars = None if self.dollars is None else self.dollars + wanted[0]
                self.tokens = None if self.tokens is None else self.tokens + wanted[1]
                return super().hold(dollars, tokens)
        return False

    def close(self) -> None:
        """Give back what is left; nothing may be in flight."""
        left = (self.dollars or 0.0) - self.spent_dollars, (self.tokens or 0) - self.spent_tokens
        self._ask(self._ledger.give_back.remote(*left))


class _Asker:
    """A worker: it opens the logs once, and asks about one shard after the other."""

    def __init__(
        self, kind: str, spec: dict[str, Any], folder: str, share: int, keys: dict[str, str], known: str, ledger: Any
    ) -> None:
        os.environ |= keys
        self._spec, self._folder, self._known = spec_class(kind, kind).parse(spec, kind), Path(folder), Path(known)
        self._share, self._ledger = share, ledger
        self._questions = QUESTIONS[kind](self._spec)

    def __call__(self, asked: dict[str, Any]) -> dict[str, list[Any]]:
        """The shard's tally, or the fault that ends the job."""
        (number,), (start,), (end,) = asked["number"], asked["start"], asked["end"]
        places = range(len(self._questions.ids))[int(start) : int(end)]
        self._questions.notes.clear()
        tally, fault = Tally(), None
        try:
            tally = self._ask(self._folder / _name(int(number)), places)
        except (InputError, JobError) as found:
            fault = found
        done = {
            **asdict(tally), "number": int(number), "rows": len(places), "fault": str(fault or ""),
            "is_input": isinstance(fault, InputError), "notes": json.dumps(self._questions.notes),
        }  # fmt: skip
        return {name: [value] for name, value in done.items()}

    def _ask(self, place: Path, places: range) -> Tally:
        place.mkdir(exist_ok=True)
        call = asking.call_of(self._spec, place)
        targets = [share(target, self._share) for target in call.targets]
        budget = Allotted(self._ledger) if self._ledger is not None else Budget()
        known = self._known if self._known.exists() else None
        fanout = Fanout(targets, place / ANSWERS, place / OUTCOMES, budget, known=known)
        try:
            return fanout.run(map(self._questions.item, places), self._questions.judge)
        finally:
            fanout.close()
            if isinstance(budget, Allotted):
                budget.close()
