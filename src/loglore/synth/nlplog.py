"""Logs to interpretable text for continual pretraining: five questions about each event, in NLPLog's row format.

Each event gives at most `variants` rows a question, however often it is logged, so rare events weigh as much as
frequent ones. With the analyst a rerun starts anew (seconds of work); endpoints are asked once an event for all five
questions and go on from their journals (`nlplog_teacher`). Files appear whole or not at all.

Idea and format: Ji et al., "Adapting Large Language Models to Log Analysis with Interpretable Domain Knowledge",
CIKM 2025 (SuperLog, NLPLog). The texts are our own.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from loglore.data.corpus import held_out_templates
from loglore.endpoint.items import FAILED, REJECTED
from loglore.errors import InputError
from loglore.logs import reader, templates
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.runs.spec import Spec
from loglore.synth import asking
from loglore.synth.analyst import event as writer
from loglore.synth.analyst.japanese import event as japanese
from loglore.synth.analyst.occurrences import Event, events
from loglore.synth.analyst.wording import Wording
from loglore.synth.nlplog_questions import INSTRUCTIONS
from loglore.synth.nlplog_teacher import Teacher, kinds, prompt_file
from loglore.synth.rows import write

Question = Literal["grok", "insight", "root_cause", "components", "forecast"]
Row = dict[str, Any]


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
        validation_share: part of the events, 0 to 0.5, whose rows go into a validation file; 0 writes one file.
        seed: of that choice and of an endpoint's answers.
        files: names of the row files: `jsonl`, or `tutorial` (JSON arrays `NLPLog_train.json`, `NLPLog_val.json`).
        teacher: `analyst`, or one endpoint or a list of them (`loglore.endpoint.target.Target`).
        prompt: file with a prompt of your own for endpoints (as `synth/nlplog.yaml`).
        language: of questions and answers: `en` or `ja`.
        max_answer_tokens, temperature, budget_dollars, budget_tokens, batches: as in the chat job.
    """

    logs: list[Path] = Field(min_length=1)
    questions: list[Question] = Field(list(get_args(Question)), min_length=1)
    variants: int = Field(2, ge=1, le=10)
    per_domain: int | None = Field(None, ge=1)
    held_out: Path | None = None
    max_characters: int = Field(400, ge=1)
    validation_share: float = Field(0.0, ge=0, le=0.5)
    seed: int = 0
    files: Literal["jsonl", "tutorial"] = "jsonl"
    teacher: asking.Teacher = "analyst"
    prompt: Path | None = None
    language: Literal["en", "ja"] = "en"
    max_answer_tokens: int = Field(1500, ge=16)
    temperature: float = Field(0.0, ge=0, le=2)
    budget_dollars: float | None = Field(None, gt=0)
    budget_tokens: int | None = Field(None, gt=0)
    batches: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "NlplogSpec":
        if self.teacher == []:
            raise ValueError("teacher is an empty list, expected `analyst` or endpoints")
        given = [name for name in ("batches", "budget_dollars", "budget_tokens", "prompt") if getattr(self, name)]
        if self.teacher == "analyst" and given:
            raise ValueError(f"{given[0]} is for endpoints, and the teacher is the analyst")
        return self


def run(spec: NlplogSpec, context: RunFolder, ask: asking.AskAll = asking.here) -> dict[str, Any]:
    """Write `nlplog.jsonl`, or a training and a validation file.

    With endpoints also `failures.jsonl` (events without an answer, which the same command asks for again) and
    `removed.jsonl` (answers that the gate took out); the result says `unfinished` then.

    Raises:
        InputError: unreadable input, or nothing left to write about; an endpoint that cannot work.
        JobError: endpoints that stopped answering.
    """
    mined, found, asked = _events(spec)
    by_key = {event.template.key: event for event in found}
    account: dict[str, Any] = {}
    with context.progress("log events", len(asked), "events") as tick:
        if spec.teacher == "analyst":
            rows = _by_analyst(spec, asked, by_key, tick)
        else:
            rows, account = _by_endpoints(spec, context, _teacher(spec, mined, found), asked, ask, tick)
    kept = [row for members in rows.values() for row in _capped(members, spec.per_domain)]
    if not kept and not account:
        raise InputError(f"no event to write about in {', '.join(map(str, spec.logs))}")
    outputs = _write(spec, kept, context.path)
    account["outputs"] = {**outputs, **account.get("outputs", {})}
    return {
        **account,
        "rows": len(kept),
        "events": len(asked),
        "events_held_out": len(mined.templates) - len(found),
        "events_too_long": len(found) - len(asked),
        "rows_by_question": dict(Counter(row["meta"]["question"] for row in kept)),
        "rows_by_domain": dict(Counter(row["domain"] for row in kept)),
    }


def preview(spec: NlplogSpec, count: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The first requests of each endpoint as they would be sent: event, URL, JSON body. Nothing is sent.

    Raises:
        InputError: see `run`; or the teacher is the analyst, to which nothing is sent.
    """
    if spec.teacher == "analyst":
        raise InputError("nothing would be sent: the teacher is the built-in analyst")
    yield from asking.preview(questions(spec), spec.teacher, count)


def questions(spec: NlplogSpec) -> asking.Questions:
    """What is asked of endpoints, as `run` asks it.

    Raises:
        InputError: see `run`.
    """
    mined, found, asked = _events(spec)
    return _teacher(spec, mined, found).questions(asked, asking.call_of(spec, Path()))


def _teacher(spec: NlplogSpec, mined: templates.Mined, found: Sequence[Event]) -> Teacher:
    by_key = {event.template.key: event for event in found}
    return Teacher(prompt_file(spec.prompt), mined.table, by_key, spec.language)


def _events(spec: NlplogSpec) -> tuple[templates.Mined, list[Event], list[Event]]:
    """The mined logs, their events without held-out ones, and those of them that are asked about."""
    mined = templates.mine(reader.read_table(spec.logs))
    held_out = held_out_templates(spec.held_out) if spec.held_out else set()
    found = events(mined.table, mined.templates, held_out)
    asked = [event for event in found if len(event.occurrences[0].text) <= spec.max_characters]
    if not asked:
        raise InputError(f"no event to write about in {', '.join(map(str, spec.logs))}")
    return mined, found, asked


def _by_analyst(
    spec: NlplogSpec, asked: Sequence[Event], by_key: Mapping[str, Event], tick: Tick
) -> dict[str, list[tuple[int, Row]]]:
    rows: dict[str, list[tuple[int, Row]]] = {}
    for event in asked:
        rows.setdefault(event.domain, []).extend(rows_of(event, spec.questions, spec.variants, by_key, spec.language))
        tick()
    return rows


def _by_endpoints(
    spec: NlplogSpec, context: RunFolder, teacher: Teacher, asked: Sequence[Event], ask: asking.AskAll, tick: Tick
) -> tuple[dict[str, list[tuple[int, Row]]], dict[str, Any]]:
    """Rows by domain, each as a first variant, and what the report says about the endpoints."""
    call = asking.call_of(spec, context.path)
    tally, outcomes = ask(teacher.questions(asked, call), call, tick)
    rows: dict[str, list[tuple[int, Row]]] = {}
    failures, removed = [], []
    for event, outcome in zip(asked, outcomes(0, len(asked)), strict=True):
        named = {"template": event.template.key, "text": event.template.text}
        if outcome is None or outcome["status"] == FAILED:
            failures.append({**named, "reason": outcome["reason"] if outcome else "not asked: the budget was used up"})
        elif outcome["status"] == REJECTED:
            removed.append({**named, "reason": outcome["reason"], "faults": outcome["detail"]})
        else:
            removed += [{**named, **fault} for fault in outcome["value"]["dropped"]]
            rows.setdefault(event.domain, []).extend((0, row) for row in _taught(spec, event, outcome, teacher.version))
    files.write_jsonl(context.path / "failures.jsonl", failures)
    files.write_jsonl(context.path / "removed.jsonl", removed)
    return rows, {
        "outputs": {"failures": "failures.jsonl", "removed": "removed.jsonl"},
        "removed": kinds([fault for one in removed for fault in one.get("faults") or [one]]),
        **asking.account(tally, "events", len(failures), []),
    }


def _taught(spec: NlplogSpec, event: Event, outcome: Mapping[str, Any], version: str) -> Iterator[Row]:
    """Rows of an endpoint's answers about an event; tokens and cost are shared out among them."""
    texts = {question: text for question, text in outcome["value"]["texts"].items() if question in spec.questions}
    near = [*event.before.counts, *event.after.counts]
    used = {"prompt": outcome["prompt_tokens"] // len(texts or "-"), "completion": outcome["completion_tokens"]}
    for question, text in texts.items():
        row = _row(event, question, 0, text, [event.template.key, *near], spec.language)
        row["meta"] |= {
            "language": spec.language,
            "teacher": outcome["model"],
            "prompt": version,
            "grounding": outcome["value"]["grounding"],
            "tokens": {**used, "completion": used["completion"] // len(texts)},
            "cost": round(outcome["cost"] / len(texts), 8),
        }
        yield row


def _write(spec: NlplogSpec, kept: list[Row], folder: Path) -> dict[str, str]:
    """Write the rows; returns the outputs. Validation rows are all rows of some events."""
    suffix = {"jsonl": "nlplog.jsonl", "tutorial": "NLPLog_train.json"}
    if spec.validation_share == 0:
        write(folder / suffix[spec.files], kept)
        return {"nlplog": suffix[spec.files]}
    keys = list(dict.fromkeys(row["meta"]["template"] for row in kept))
    random.Random(f"{spec.seed}:validation").shuffle(keys)
    held = set(keys[: round(spec.validation_share * len(keys))])
    names = {
        "jsonl": ("nlplog_train.jsonl", "nlplog_validation.jsonl"),
        "tutorial": (suffix["tutorial"], "NLPLog_val.json"),
    }
    train, validation = names[spec.files]
    write(folder / train, (row for row in kept if row["meta"]["template"] not in held))
    write(folder / validation, (row for row in kept if row["meta"]["template"] in held))
    return {"nlplog": train, "validation": validation}


def rows_of(
    event: Event, questions: Sequence[str], variants: int, by_key: Mapping[str, Event], language: str = "en"
) -> Iterator[tuple[int, Row]]:
    """Rows about an event with the number of their variant; questions without facts give none."""
    writers_of = {"en": writer.QUESTIONS, "ja": japanese.QUESTIONS}[language]
    for question in questions:
        said: set[str] = set()
        for number in range(variants):
            log = writer.example(event, number).text
            words = Wording(f"{question}\n{event.template.key}\n{number}\n{log}")
            answer = writers_of[question](event, words, number, by_key)
            if answer is None or answer.text in said:
                continue
            said.add(answer.text)
            yield number, _row(event, question, number, answer.text, answer.templates, language)


def _row(event: Event, question: str, number: int, output: str, mentioned: Sequence[str], language: str) -> Row:
    log = writer.example(event, number).text
    words = Wording(f"{question}\n{event.template.key}\n{number}\n{log}")
    return {
        "instruction": words.say("instruction", INSTRUCTIONS[language][question], {"log": log}),
        "log": log,
        "output": output,
        "domain": event.domain,
        "meta": {
            "source": PurePath(event.template.source).name,
            "template": event.template.key,
            "templates": list(dict.fromkeys(mentioned)),
            "question": question,
        },
    }


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
