"""Logs to interpretable text for continual pretraining: five questions about each event, in NLPLog's row format.

Each event gives at most `variants` rows a question, however often it is logged, so rare events weigh as much as
frequent ones. A rerun starts anew (seconds of work) and the file appears whole or not at all.

Idea and format: Ji et al., "Adapting Large Language Models to Log Analysis with Interpretable Domain Knowledge",
CIKM 2025 (SuperLog, NLPLog). The texts are our own.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from pydantic import Field

from loglore.data.corpus import held_out_templates
from loglore.errors import InputError
from loglore.logs import reader, templates
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec
from loglore.synth.analyst import event as writer
from loglore.synth.analyst.occurrences import Event, events
from loglore.synth.analyst.wording import Wording

Question = Literal["grok", "insight", "root_cause", "components", "forecast"]
Row = dict[str, Any]

# `{log}` is the line itself. The wording of NLPLog's own questions is not used.
_INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    "grok": (
        "Write a grok pattern for this log event: {log}",
        "Which grok pattern parses the following log line?\n{log}",
        "How can this log line be split into fields with grok?\n{log}",
        "Give the grok expression that matches: {log}",
        "Parse the log event below with a grok pattern.\n{log}",
    ),
    "insight": (
        "What does this log event mean? {log}",
        "Explain the following log line.\n{log}",
        "Describe the event and its variables: {log}",
        "What information does this log line carry?\n{log}",
        "Interpret this log event: {log}",
    ),
    "root_cause": (
        "What may have caused this log event? {log}",
        "Give possible root causes of the following event.\n{log}",
        "Why would a system log this? {log}",
        "What leads to this log line?\n{log}",
        "Explain the cause behind this event: {log}",
    ),
    "components": (
        "Which other events or components are related to this one? {log}",
        "What usually stands near this log line?\n{log}",
        "With which events does this one occur together? {log}",
        "Name components and events connected with the following line.\n{log}",
        "How is this event related to others in the log? {log}",
    ),
    "forecast": (
        "Which failures may follow this log event? {log}",
        "What could go wrong after this line is logged?\n{log}",
        "Is a failure to be expected after this event? {log}",
        "What does this event announce?\n{log}",
        "Predict what follows the log line below.\n{log}",
    ),
}


class NlplogSpec(Spec):
    """What to write about which logs.

    Attributes:
        logs: files, folders or globs.
        questions: which of the five are asked.
        variants: at most so many rows an event and question, each with another line or other neighbours.
        per_domain: at most so many rows a domain (a log's name): one of each event first, then a second one.
        held_out: a `chunks.jsonl` of the chat job; templates of its test and validation chunks are neither described
            nor mentioned. None describes all.
        max_characters: events with longer lines are left out.
    """

    logs: list[Path] = Field(min_length=1)
    questions: list[Question] = Field(list(get_args(Question)), min_length=1)
    variants: int = Field(2, ge=1, le=10)
    per_domain: int | None = Field(None, ge=1)
    held_out: Path | None = None
    max_characters: int = Field(400, ge=1)


def run(spec: NlplogSpec, context: RunFolder) -> dict[str, Any]:
    """Write `nlplog.jsonl`.

    Raises:
        InputError: unreadable input, or nothing left to write about.
    """
    mined = templates.mine(reader.read_table(spec.logs))
    held_out = held_out_templates(spec.held_out) if spec.held_out else set()
    found = events(mined.table, mined.templates, held_out)
    rows: dict[str, list[tuple[int, Row]]] = {}
    asked = [event for event in found if len(event.occurrences[0].text) <= spec.max_characters]
    by_key = {event.template.key: event for event in found}
    with context.progress("log events", len(asked), "events") as tick:
        for event in asked:
            rows.setdefault(event.domain, []).extend(rows_of(event, spec.questions, spec.variants, by_key))
            tick()
    kept = [row for members in rows.values() for row in _capped(members, spec.per_domain)]
    if not kept:
        raise InputError(f"no event to write about in {', '.join(map(str, spec.logs))}")
    files.write_jsonl(context.path / "nlplog.jsonl", kept)
    return {
        "outputs": {"nlplog": "nlplog.jsonl"},
        "rows": len(kept),
        "events": len(asked),
        "events_held_out": len(mined.templates) - len(found),
        "events_too_long": len(found) - len(asked),
        "rows_by_question": dict(Counter(row["meta"]["question"] for row in kept)),
        "rows_by_domain": dict(Counter(row["domain"] for row in kept)),
    }


def rows_of(
    event: Event, questions: Sequence[str], variants: int, by_key: Mapping[str, Event]
) -> Iterator[tuple[int, Row]]:
    """Rows about an event with the number of their variant; questions without facts give none."""
    for question in questions:
        said: set[str] = set()
        for number in range(variants):
            log = writer.example(event, number).text
            words = Wording(f"{question}\n{event.template.key}\n{number}\n{log}")
            answer = writer.QUESTIONS[question](event, words, number, by_key)
            if answer is None or answer.text in said:
                continue
            said.add(answer.text)
            yield (
                number,
                {
                    "instruction": words.say("instruction", _INSTRUCTIONS[question], {"log": log}),
                    "log": log,
                    "output": answer.text,
                    "domain": event.domain,
                    "meta": {
                        "source": PurePath(event.template.source).name,
                        "template": event.template.key,
                        "templates": list(dict.fromkeys(answer.templates)),
                        "question": question,
                    },
                },
            )


def _capped(members: list[tuple[int, Row]], limit: int | None) -> list[Row]:
    """The rows of a domain, cut to the limit so that each event keeps one row before any keeps a second.

    Which question an event keeps longest differs from event to event, so the questions stay in balance.
    """
    places = sorted(range(len(members)), key=lambda place: (*_precedence(*members[place]), place))
    return [members[place][1] for place in sorted(places[:limit])]


def _precedence(variant: int, row: Row) -> tuple[int, int, str]:
    key, question = row["meta"]["template"], row["meta"]["question"]
    names = list(writer.QUESTIONS)
    return variant, (names.index(question) - int(key, 16)) % len(names), key
