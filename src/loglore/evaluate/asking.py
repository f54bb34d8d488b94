"""Questions to answers from an endpoint: any OpenAI-compatible URL, through the resumable runner of `endpoint`.

Two journals in the run folder (`answers.jsonl`, `outcomes.jsonl`) keep each answer as it arrives, so a killed job asks
again only what was in flight, and a row is never paid for twice. An answer that ran into the token limit is an answer
here, and counted as cut off. A row that the endpoint refuses or fails has no answer: it is listed with the reason and
left out of every score, because a zero would say something about the model.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loglore.endpoint.items import Accept, Item
from loglore.endpoint.journal import digest
from loglore.endpoint.runner import Fanout
from loglore.endpoint.target import Answer, Request, Target
from loglore.evaluate.generate import Decoding, Output
from loglore.evaluate.questions import Question
from loglore.runs.folder import RunFolder

MOST_REASONS = 5


@dataclass(frozen=True)
class Asked:
    """Answers by question, None where there is none; `reasons` says why, by question's place in the list.

    speed: seconds and tokens per second of this call (what an earlier, killed one answered is not in it), tokens in
    all, cost in dollars.
    """

    outputs: list[Output | None]
    reasons: dict[int, str]
    speed: dict[str, Any]


def ask(targets: Sequence[Target], questions: Sequence[Question], decoding: Decoding, context: RunFolder) -> Asked:
    """Ask an endpoint, or replicas of it, every question that has no answer in the run folder yet.

    Raises:
        InputError: an endpoint that cannot work at all (URL, key, model).
        JobError: it stopped answering; what was answered is kept.
    """
    items = _items(questions, decoding)
    fanout = Fanout(targets, context.path / "answers.jsonl", context.path / "outcomes.jsonl", judge_cut_off=True)
    try:
        before = {item.id for item in items if (known := fanout.outcome(item.id)) and known["status"] == "accepted"}
        start = time.monotonic()
        with context.progress("ask", len(items), "answers", 0) as tick:
            tally = fanout.run(items, _keep, tick)
        seconds = time.monotonic() - start
        outcomes = [fanout.outcome(item.id) or {"status": "failed", "reason": "not asked"} for item in items]
    finally:
        fanout.close()
    outputs = [_output(row, outcome) for row, outcome in enumerate(outcomes)]
    new = sum(output.tokens for item, output in zip(items, outputs, strict=True) if output and item.id not in before)
    speed = {
        "generation_s": round(seconds, 3),
        "tokens": sum(output.tokens for output in outputs if output),
        "tokens_per_second": round(new / seconds, 1) if new else None,
        "cost": round(tally.cost, 6),
    }
    reasons = {row: str(outcome["reason"]) for row, outcome in enumerate(outcomes) if outcome["status"] != "accepted"}
    return Asked(outputs, reasons, speed)


def listed(reasons: dict[int, str], questions: Sequence[Question]) -> list[str]:
    """The reasons of unanswered rows, most frequent first, each with how many and the first row."""
    first: dict[str, int] = {}
    for row, reason in reasons.items():
        first.setdefault(reason, row)
    counted = Counter(reasons.values()).most_common(MOST_REASONS)
    return [f"{count} x {reason} (first: {questions[first[reason]].name})" for reason, count in counted]


def _items(questions: Sequence[Question], decoding: Decoding) -> list[Item]:
    """One item a question, named by what is asked: another dataset in the same folder finds no strange answers."""
    items = []
    repeats: Counter[str] = Counter()
    for question in questions:
        request = Request(
            messages=tuple(question.messages),
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            stop=decoding.stop,
            seed=decoding.seed,
        )
        mark = digest(request.asked())
        items.append(Item(f"{mark}.{repeats[mark]}", request))
        repeats[mark] += 1
    return items


def _keep(item: Item, answer: Answer, turn: int) -> Accept:
    return Accept({"text": answer.text.strip(), "finish": answer.finish_reason, "seconds": answer.seconds})


def _output(row: int, outcome: dict[str, Any]) -> Output | None:
    if outcome["status"] != "accepted":
        return None
    value = outcome["value"]
    return Output(
        row=row,
        text=value["text"],
        prompt_tokens=outcome["prompt_tokens"],
        tokens=outcome["completion_tokens"],
        finish="length" if value["finish"] == "length" else "stop",
        seconds=value["seconds"],
    )
