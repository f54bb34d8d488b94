"""NLPLog's five questions answered by an endpoint: one request an event, each answer checked on its own.

    event ── template, lines, neighbours ── endpoint ── JSON of five texts ─┬─ grok: compiled, matched on its lines
                                                                            └─ the others: logs.grounding

An answer that fails is named in one repair turn; then the other four are kept and it is left out.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from loglore.endpoint.items import Accept, Again, Item, Reject
from loglore.endpoint.target import Answer, Request
from loglore.errors import InputError
from loglore.logs import grok, grounding
from loglore.logs.lookup import fold
from loglore.synth import gate, prompts, strict
from loglore.synth.analyst import event as writer
from loglore.synth.analyst.occurrences import Event, Near
from loglore.synth.asking import Call, Questions

MOST_LINES = 8
MOST_NEIGHBOURS = 6


def prompt_file(path: Path | None) -> prompts.Task:
    """The teacher's prompt: the built-in one, or that of a file with the same keys.

    Raises:
        InputError: the file is no task, or its schema has not the five fields.
    """
    if path is None:
        return prompts.parse("nlplog", files(__package__).joinpath("nlplog.yaml").read_text(encoding="utf-8"), "nlplog")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    task = prompts.parse("nlplog", path.read_text(encoding="utf-8"), str(path))
    fields = set((task.schema or {}).get("properties", {}))
    if fields != set(writer.QUESTIONS):
        raise InputError(f"{path}: `schema` has the fields {sorted(fields)}, expected {sorted(writer.QUESTIONS)}")
    return task


class Teacher:
    """Answers of endpoints about events.

    Args:
        task: the prompt.
        table: the mined log table of all sources.
        events: all events by key, for their neighbours' texts.
        language: `en` or `ja`.
    """

    def __init__(self, task: prompts.Task, table: pl.DataFrame, events: Mapping[str, Event], language: str) -> None:
        self._task = task
        self._table = table
        self._events = events
        self._language = language
        self.version = f"{task.name}.{task.version}"

    @cached_property
    def _indexes(self) -> dict[str, grounding.LogIndex]:
        parts = self._table.partition_by("source", maintain_order=True)
        return {part["source"][0]: grounding.LogIndex(part) for part in parts}

    def questions(self, events: Sequence[Event], call: Call) -> Questions:
        """What is asked about events."""
        ids = [event.template.key for event in events]
        return Questions(ids, lambda place: self.item(events[place], call), self.judge)

    def item(self, event: Event, call: Call) -> Item:
        """The request about an event."""
        prompt = self._task.prompt(self.describe(event), self._language, False, 0)
        request = Request(
            messages=({"role": "user", "content": prompt},),
            max_tokens=call.max_tokens,
            temperature=call.temperature,
            seed=call.seed,
            schema=self._task.schema,
        )
        return Item(event.template.key, request, event)

    def describe(self, event: Event) -> str:
        """What the teacher is shown of an event."""
        lines = list(dict.fromkeys(writer.example(event, number).text for number in range(MOST_LINES)))
        parts = [
            f"Log: {event.domain}",
            f"Template: {event.template.text.strip()}",
            f"Logged {len(event.occurrences)} times. Lines:",
            *lines,
        ]
        for title, near in (("Before it", event.before), ("After it", event.after)):
            parts += self._neighbours(title, event, near)
        return "\n".join(parts)

    def _neighbours(self, title: str, event: Event, near: Near) -> Iterator[str]:
        keys = sorted(near.counts, key=lambda key: (-near.counts[key], key))[:MOST_NEIGHBOURS]
        for key in keys:
            share = f"{near.counts[key]} of {len(event.occurrences)} cases"
            yield f"{title}, within {event.window}, in {share}: {self._events[key].template.text.strip()}"

    def judge(self, item: Item, answer: Answer, turn: int) -> Accept | Again | Reject:
        """The good ones of the five answers, after one repair if some are not."""
        event: Event = item.payload
        shape = gate.parse_json(self._task, answer.text, 0)
        if shape.faults:
            if turn == 0:
                return Again(gate.repair(shape.faults))
            faults = [vars(fault) for fault in shape.faults]
            return Reject(f"form: {shape.faults[0].text}", faults)
        texts = {name: text.strip() for name, text in json.loads(shape.pairs[0][1]).items() if text and text.strip()}
        faults_of = {name: self.faults(name, text, event) for name, text in texts.items()}
        wrong = [fault for faults in faults_of.values() for fault in faults]
        if wrong and turn == 0:
            return Again(gate.repair(wrong))
        good = {name: text for name, text in texts.items() if not faults_of[name]}
        detail = [{"question": name, **vars(fault)} for name, faults in faults_of.items() for fault in faults]
        if not good:
            return Reject(
                "claim: no answer is left" if detail else "form: every field is null", detail or [{"kind": "form"}]
            )
        claims = [claim for name, text in good.items() if name != "grok" for claim in self._claims(text, event)]
        return Accept({"texts": good, "dropped": detail, "grounding": grounding.tally(claims)})

    def faults(self, question: str, text: str, event: Event) -> list[gate.Fault]:
        """What is wrong with one of the five answers."""
        if question == "grok":
            return _grok_faults(text, [one.text for one in event.occurrences[: writer.MOST_EXAMPLES]])
        found = [
            gate.Fault("claim", f'{question}: "{text[one.start : one.end]}" is not what the log says')
            for one in self._claims(text, event)
            if one.verdict == "contradicted"
        ]
        found += [
            gate.Fault("claim", f'{question}: "{text[one.start : one.end]}" {one.reason}')
            for one in strict.findings(text, self._indexes[event.template.source])
            if not self._is_template(text[one.start : one.end])
        ]
        if len(text) < self._task.least_characters:
            found.append(gate.Fault("form", f"{question}: {len(text)} characters; give an explanation or null"))
        return found + gate.language_faults(text, self._language)

    def _is_template(self, said: str) -> bool:
        """Whether a quotation is a part of a template; the teacher is shown them, and no line has `<*>`."""
        return "<*>" in said and fold(said.strip('`"')) in self._template_texts

    @cached_property
    def _template_texts(self) -> str:
        return "\n".join(fold(event.template.text) for event in self._events.values())

    def _claims(self, text: str, event: Event) -> list[grounding.Claim]:
        return grounding.check(text, self._indexes[event.template.source])


def _grok_faults(pattern: str, lines: Sequence[str]) -> list[gate.Fault]:
    try:
        missed = next((line for line in lines if grok.match(pattern.strip("`"), line) is None), None)
    except InputError as fault:
        return [gate.Fault("form", f"grok: {fault}")]
    return [] if missed is None else [gate.Fault("claim", f"grok: the pattern does not match the line: {missed}")]


def kinds(dropped: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many answers were left out, by question and kind of fault."""
    return dict(Counter(f"{one.get('question', 'all')}: {one['kind']}" for one in dropped))
