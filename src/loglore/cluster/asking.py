"""Endpoint teachers asked by many processes: Ray Data over shards of a synthesis' plan, each with journals of its own.

    plan ── shards ── askers (a CPU each) ── endpoints                       RUN/cluster/asked/NUMBER/
                        │  └─ ledger: one budget for all                        answers, outcomes, paid .jsonl
                        └─ tally of the shard ── in order ── rows, out of the outcomes on the shared storage

Each asker opens the same logs, plans the same rows, and takes its part of an endpoint's `concurrency` and limits a
minute, so that all together keep them. What is asked, judged and written is what one process asks, judges and writes.
A shard that was begun goes on from its journals. Only tallies go through the object store.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from loglore.cluster import order, shards
from loglore.endpoint.items import Tally
from loglore.endpoint.journal import Journal, digest
from loglore.endpoint.limits import Budget
from loglore.endpoint.runner import PAID
from loglore.endpoint.target import Target
from loglore.errors import InputError, JobError
from loglore.runs import files
from loglore.runs.progress import Tick
from loglore.synth import chat, writers
from loglore.synth.chat import ChatSpec
from loglore.synth.rows import Asked
from loglore.synth.writers import ByEndpoints, Call, RowsOf, Workshop

FOLDER = "asked"
ANSWERS, OUTCOMES, BILLED = "answers.jsonl", "outcomes.jsonl", "billed.jsonl"
COUNTED = [field.name for field in fields(Tally) if field.name != "stopped"]
PORTION = 16  # requests for which an asker takes from the budget at once


@dataclass(frozen=True)
class Sharded:
    """Takes the place of `writers.by_endpoints`; shard: rows of each."""

    spec: ChatSpec
    shard: int

    def __call__(self, shop: Workshop, call: Call, plan: Sequence[Asked], tick: Tick) -> tuple[Tally, RowsOf]:
        """Ask for all rows; returns the tally, and what yields the rows of a split.

        Raises:
            InputError: an endpoint that cannot work. JobError: endpoints that stopped answering.
        """
        import ray

        shards.bound()
        folder = call.folder / order.FOLDER / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(plan), self.shard)
        asked = [{"number": number, "start": start, "end": start + self.shard} for number, start in enumerate(starts)]
        # An asker takes a CPU, and has at least one request in flight at each endpoint.
        most = [target.concurrency for target in call.targets]
        workers = max(1, min(len(asked), int(ray.available_resources().get("CPU", 1)), *most))
        told = {
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
                    _take(done, tally, shop, folder, cache)
                    tick(int(done["rows"]), tally.note)
        writer = ByEndpoints(shop, call)
        return tally, lambda part: writer.rows(part, self._outcomes(part, plan, folder))

    def _outcomes(
        self, part: Sequence[Asked], plan: Sequence[Asked], folder: Path
    ) -> Iterator[Mapping[str, Any] | None]:
        """What became of the rows of a split, which stand together in the plan; one shard's journal is open."""
        first = next((number for number, one in enumerate(plan) if part and one is part[0]), 0)
        number, journal = -1, None
        for place, one in enumerate(part, first):
            if place // self.shard != number:
                if journal is not None:
                    journal.close()
                number = place // self.shard
                journal = Journal(folder / _name(number) / OUTCOMES)
            assert journal is not None
            yield journal.get(digest(one.id))
        if journal is not None:
            journal.close()


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


def _take(done: Mapping[str, Any], tally: Tally, shop: Workshop, folder: Path, cache: Journal) -> None:
    """What a shard's asker tells: added up, billed, its answers kept where other runs find them."""
    if done["fault"]:
        raise (InputError if done["is_input"] else JobError)(done["fault"])
    for name in COUNTED:
        setattr(tally, name, getattr(tally, name) + done[name])
    tally.stopped = tally.stopped or str(done["stopped"])
    shop.notes["too_long_for_the_teacher"] += int(done["too_long"])
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
    dollars, tokens = 0.0, 0
    for path in folder.glob(f"*/{OUTCOMES}"):
        with Journal(path) as outcomes:
            for key in outcomes:
                outcome = outcomes.get(key)
                dollars += outcome["cost"]
                tokens += outcome["prompt_tokens"] + outcome["completion_tokens"]
    return ray.remote(num_cpus=0)(Ledger).remote(call.budget_dollars, call.budget_tokens, dollars, tokens)


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
        self, spec: dict[str, Any], folder: str, share: int, keys: dict[str, str], known: str, ledger: Any
    ) -> None:
        os.environ |= keys
        self._spec, self._folder, self._share, self._ledger = ChatSpec.parse(spec, "synth"), Path(folder), share, ledger
        self._known = Path(known)
        self._shop, plan = chat.opened(self._spec)
        self._plan = [one for name in chat.SPLITS for one in plan[name]]

    def __call__(self, asked: dict[str, Any]) -> dict[str, list[Any]]:
        """The shard's tally, or the fault that ends the job."""
        (number,), (start,), (end,) = asked["number"], asked["start"], asked["end"]
        part = self._plan[int(start) : int(end)]
        self._shop.notes.clear()
        tally, fault = Tally(), None
        try:
            tally = self._ask(self._folder / _name(int(number)), part)
        except (InputError, JobError) as found:
            fault = found
        done = {
            **asdict(tally), "number": int(number), "rows": len(part), "fault": str(fault or ""),
            "is_input": isinstance(fault, InputError), "too_long": self._shop.notes["too_long_for_the_teacher"],
        }  # fmt: skip
        return {name: [value] for name, value in done.items()}

    def _ask(self, place: Path, part: Sequence[Asked]) -> Tally:
        place.mkdir(exist_ok=True)
        call = writers.call_of(self._spec, place)
        targets = [share(target, self._share) for target in call.targets]
        writer = ByEndpoints(self._shop, replace(call, targets=targets, cache=place / ANSWERS))
        budget = Allotted(self._ledger) if self._ledger is not None else Budget()
        fanout = writer.fanout(budget, self._known if self._known.exists() else None)
        try:
            return fanout.run(map(writer.item, part), writer.judge)
        finally:
            fanout.close()
            if isinstance(budget, Allotted):
                budget.close()
