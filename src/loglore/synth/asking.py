"""Endpoints as teachers: what a job asks, how, and what the answers took. This process asks, or all of a cluster.

    spec, logs ── Questions (an item a place) ── here, or cluster.asking ── outcomes by place ── rows

Questions follow from the spec and the logs alone, so whoever opens the same has the same, in the same order.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag

from loglore import settings
from loglore.endpoint.batches import run_batches
from loglore.endpoint.items import Item, Judge, Tally
from loglore.endpoint.journal import Journal
from loglore.endpoint.limits import Budget
from loglore.endpoint.redaction import Redactor
from loglore.endpoint.runner import Fanout
from loglore.endpoint.target import Session, Target
from loglore.runs.progress import Tick

# Who answers: `analyst`, or endpoints; one endpoint needs no list.
_Named = Annotated[
    Annotated[Literal["analyst"], Tag("name")] | Annotated[list[Target], Tag("endpoints")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "endpoints"),
]
Teacher = Annotated[_Named, BeforeValidator(lambda value: [value] if isinstance(value, Mapping) else value)]
OUTCOMES = "outcomes.jsonl"

# What became of the questions from one place to another, None of those that were not asked.
Outcomes = Callable[[int, int], Iterator[Mapping[str, Any] | None]]


@dataclass(frozen=True)
class Questions:
    """What a job asks, in order.

    Attributes:
        ids: names of the items.
        item: makes the one at a place.
        judge: of answers.
        notes: counts worth telling, of the items made.
    """

    ids: Sequence[str]
    item: Callable[[int], Item]
    judge: Judge
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Call:
    """How endpoints are asked: longest answer in tokens, temperature, seed, and where their journals are."""

    targets: Sequence[Target]
    max_tokens: int
    temperature: float
    seed: int
    budget_dollars: float | None
    budget_tokens: int | None
    batches: bool
    cache: Path
    folder: Path


AskAll = Callable[[Questions, Call, Tick], tuple[Tally, Outcomes]]


def call_of(spec: Any, folder: Path) -> Call:
    """How a spec (of the chat or the NLPLog job) wants endpoints to be asked; answers are cached under LOGLORE_HOME."""
    return Call(
        targets=spec.teacher,
        max_tokens=spec.max_answer_tokens,
        temperature=spec.temperature,
        seed=spec.seed,
        budget_dollars=spec.budget_dollars,
        budget_tokens=spec.budget_tokens,
        batches=spec.batches,
        cache=settings.load().home / "answers.jsonl",
        folder=folder,
    )


def here(questions: Questions, call: Call, tick: Tick) -> tuple[Tally, Outcomes]:
    """Ask everything from this process; returns the tally and what became of the questions.

    Raises:
        InputError: an endpoint that cannot work. JobError: endpoints that stopped answering.
    """
    # Kept only for batches, which another process may fetch.
    redactor = Redactor(call.folder / "redaction.json" if call.batches else None)
    budget = Budget(call.budget_dollars, call.budget_tokens, *used([call.folder / OUTCOMES]))
    fanout = Fanout(call.targets, call.cache, call.folder / OUTCOMES, budget, redactor)
    items = map(questions.item, range(len(questions.ids)))
    if call.batches:
        tally = run_batches(fanout, items, questions.judge, call.folder / "batches.jsonl", tick)
    else:
        tally = fanout.run(items, questions.judge, tick)
    return tally, lambda start, end: map(fanout.outcome, questions.ids[start:end])


def used(outcomes: Iterable[Path]) -> tuple[float, int]:
    """Dollars and tokens that earlier attempts of a run used, by their journals; they count against its budget."""
    dollars, tokens = 0.0, 0
    for path in outcomes:
        if not path.exists():
            continue
        with Journal(path) as journal:
            for key in journal:
                outcome = journal.get(key)
                dollars += outcome["cost"]
                tokens += outcome["prompt_tokens"] + outcome["completion_tokens"]
    return dollars, tokens


def preview(questions: Questions, targets: Sequence[Target], count: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The first requests of each endpoint as they would be sent: id, URL, JSON body. Nothing is sent."""
    redactor = Redactor()
    for target in targets:
        session = Session(target, redactor if target.redacts else None)
        for place, identity in enumerate(questions.ids[:count]):
            yield identity, target.url, session.body(questions.item(place).request)


def account(tally: Tally, unit: str, failures: int, notes: Sequence[str]) -> dict[str, Any]:
    """What endpoints did and cost, for the report and in words."""
    first = tally.accepted - tally.repaired
    asked = tally.accepted + tally.rejected + tally.failed
    parts = [
        f"{asked} {unit} asked: {first} accepted at once, {tally.repaired} after a repair, {tally.rejected} removed by "
        f"the gate, {tally.failed} failed",
        f"{tally.prompt_tokens:,} + {tally.completion_tokens:,} tokens, ${tally.cost:.4f} (now: ${tally.paid:.4f})",
        *notes,
    ]
    if tally.stopped:
        parts.append(f"stopped by the {tally.stopped}: {tally.unasked} {unit} not asked")
    if failures:
        parts.append(f"{failures} {unit} in failures.jsonl; the same command asks for them again")
    return {"teaching": dict(vars(tally)), "unfinished": tally.unfinished, "summary": "; ".join(parts) + "."}
