"""Who writes the answers: the analyst, row after row, or endpoints, many at a time. Both pass the same gate.

A writer yields the rows of a split in the order of the plan, and keeps what it removed with the reason. The analyst
starts anew in a rerun (it takes seconds and repeats to the byte); endpoints go on from their journals.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from loglore.endpoint.items import ACCEPTED, FAILED, Accept, Again, Item, Reject
from loglore.endpoint.target import Answer, Request
from loglore.errors import InputError
from loglore.runs.progress import Tick
from loglore.synth import analyst, gate
from loglore.synth.asking import Call, Questions
from loglore.synth.material import Digests, Material, Source, whole
from loglore.synth.prompts import Task
from loglore.synth.rows import Asked, Row, row

# Tokens that a chat template puts around a prompt, at most.
FRAME_TOKENS = 64


@dataclass
class Workshop:
    """What both writers need.

    Attributes:
        tasks: by name. source: the logs. digests: by split, for rows with a digest. numbered: of plain rows.
        turns: pairs of a conversation.
        verdicts: claims of the rows written. removed: rows that the gate took out. notes: counts worth telling.
    """

    tasks: Mapping[str, Task]
    source: Source
    digests: Mapping[str, Digests]
    numbered: bool
    turns: int
    verdicts: Counter[str] = field(default_factory=lambda: Counter(supported=0, contradicted=0, unverifiable=0))
    removed: list[dict[str, Any]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def plain(self, asked: Asked) -> Material:
        """The chunk as its lines."""
        return whole(asked.chunk, self.source, self.numbered or self.tasks[asked.task].numbered)

    def candidates(self, asked: Asked, budget: int | None = None) -> Iterator[Material]:
        """What the row may show, best first: digests of windows where it asks for one, then the plain chunk."""
        digests = self.digests[asked.split]
        for first, last in digests.windows(asked.chunk, asked.task) if asked.digest else ():
            texts = self.source.between(asked.chunk.source, first, last)["text"].to_list()
            material = digests.of(asked.chunk, first, last, self.question(asked, texts))
            # Halves can only be compared where they are shown.
            if material and not (asked.task == "comparison" and material.shown.view is not None):
                yield material
        yield self.plain(asked)

    def question(self, asked: Asked, texts: Sequence[str]) -> str:
        """What the student asks about a log with these lines; a conversation's teacher asks its own questions."""
        wordings = self.tasks[asked.task].student.get(asked.language, ())
        return analyst.question(asked.task, texts, wordings, asked.language)

    def note_removed(self, identity: str, task: str, status: str, kind: str, reason: str, faults: Any = None) -> None:
        """Note a row that is not written: `status` and `kind` are counted, `reason` and `faults` explain."""
        self.removed.append(
            {"id": identity, "task": task, "status": status, "kind": kind, "reason": reason, "faults": faults}
        )


ByAnalyst = Callable[[Workshop, Sequence[Asked], Tick], Iterator[Row]]


def by_analyst(shop: Workshop, plan: Sequence[Asked], tick: Tick) -> Iterator[Row]:
    """Rows by the built-in teacher."""
    for asked in plan:
        task = shop.tasks[asked.task]
        for material in shop.candidates(asked):
            facts = material.facts
            if not analyst.can_tell(asked.task, facts):
                continue
            wordings = task.student.get(asked.language, ())
            said = analyst.converse(asked.task, facts, shop.turns, wordings, asked.language)
            checked = gate.check_pairs(task, said, material.shown, asked.language)
            if checked.faults:
                if not material.digest:
                    first, faults = checked.faults[0], [asdict(fault) for fault in checked.faults]
                    shop.note_removed(asked.id, asked.task, "gate", first.kind, first.text, faults)
                continue
            shop.notes["digests"] += material.digest
            shop.notes["digests_of_part"] += material.omitted > 0
            shop.notes["digests_too_small"] += asked.digest and not material.digest
            shop.verdicts.update(checked.grounding)
            yield row(asked, material, said, "analyst", analyst.VERSION, checked.grounding)
            break
        tick()


class ByEndpoints:
    """Rows by language models."""

    def __init__(self, shop: Workshop, call: Call) -> None:
        self.shop = shop
        self.call = call

    def questions(self, plan: Sequence[Asked]) -> Questions:
        """What is asked for rows."""
        ids = [asked.id for asked in plan]
        return Questions(ids, lambda place: self.item(plan[place]), self.judge, self.shop.notes)

    def rows(self, part: Sequence[Asked], outcomes: Iterable[Mapping[str, Any] | None]) -> Iterator[Row]:
        """The rows of a part of the plan, by what became of each."""
        for asked, outcome in zip(part, outcomes, strict=True):
            if outcome is None:
                reason = "not asked: the budget was used up"
                self.shop.note_removed(asked.id, asked.task, "unasked", "budget", reason)
            elif outcome["status"] == ACCEPTED:
                yield self.finished(outcome)
            elif outcome["status"] == FAILED:
                self.shop.note_removed(asked.id, asked.task, "failed", "no answer", outcome["reason"])
            else:
                faults = outcome["detail"]
                kind = faults[0]["kind"]
                self.shop.note_removed(asked.id, asked.task, "gate", kind, outcome["reason"], faults)

    def item(self, asked: Asked) -> Item:
        """The request for a row."""
        material, question = self.material(asked)
        task = self.shop.tasks[asked.task]
        prompt = task.prompt(material.teacher, asked.language, material.shown.numbered, self.shop.turns)
        request = Request(
            messages=({"role": "user", "content": prompt},),
            max_tokens=self.call.max_tokens,
            temperature=self.call.temperature,
            seed=self.call.seed,
            schema=task.answer_schema(self.shop.turns),
        )
        return Item(asked.id, request, (asked, material, question))

    def material(self, asked: Asked) -> tuple[Material, str]:
        """What the row shows and what its student asks; a log too long for the teacher is shown as a digest."""
        shop = self.shop
        room = min((target.context_tokens for target in self.call.targets if target.context_tokens), default=None)
        for material in shop.candidates(asked):
            prompt = shop.tasks[asked.task].prompt(material.teacher, asked.language, True, shop.turns)
            if room is None or tokens(prompt) + self.call.max_tokens + FRAME_TOKENS <= room:
                return material, shop.question(asked, material.shown.table["text"].to_list())
        shop.notes["too_long_for_the_teacher"] += 1
        frame = tokens(shop.tasks[asked.task].prompt("", asked.language, True, shop.turns))
        digests = shop.digests[asked.split]
        left = min((room or 0) - frame - self.call.max_tokens - FRAME_TOKENS, digests.budget)
        found = (
            replace(digests, budget=left).of(asked.chunk, asked.chunk.first, asked.chunk.last, "") if left > 0 else None
        )
        if found is None:
            raise InputError(
                f"context_tokens {room}: no room for a log beside max_answer_tokens ({self.call.max_tokens}) and the "
                f"prompt of task {asked.task} (about {frame} tokens)"
            )
        return found, shop.question(asked, found.shown.table["text"].to_list())

    def judge(self, item: Item, answer: Answer, turn: int) -> Accept | Again | Reject:
        """Through the gate: a row, one repair, or out."""
        asked, material, question = item.payload
        task = self.shop.tasks[asked.task]
        checked = gate.check(task, answer.text, material.shown, asked.language, self.shop.turns)
        if not checked.faults:
            pairs = [(given or question, said) for given, said in checked.pairs]
            made = row(asked, material, pairs, answer.model, f"{task.name}.{task.version}", checked.grounding)
            return Accept(made)
        if turn == 0:
            return Again(gate.repair(checked.faults))
        faults = [asdict(fault) for fault in checked.faults]
        return Reject(f"{checked.faults[0].kind}: {checked.faults[0].text}", faults)

    def finished(self, outcome: Mapping[str, Any]) -> Row:
        """A row with what it took."""
        made: Row = outcome["value"]
        self.shop.verdicts.update(made["meta"]["grounding"])
        self.shop.notes["digests"] += "evidence" in made["meta"]
        used = {"prompt": outcome["prompt_tokens"], "completion": outcome["completion_tokens"]}
        meta = {**made["meta"], "tokens": used, "cost": round(outcome["cost"], 8), "repaired": outcome["turns"] > 1}
        return {**made, "meta": meta}


def tokens(text: str) -> int:
    """About how many tokens a text has, on the high side: log text takes 2 bytes a token at worst."""
    return len(text.encode()) // 2
