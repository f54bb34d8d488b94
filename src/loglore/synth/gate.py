"""The gate: is an answer in the form its task asks for, and does the log say what it says?

    answer ── form (schema, headings, length, language) ── claims (grounding, strict) ── what the reader sees ── faults

What a claim's verdict is not enough for: a true statement about a line that the student does not see teaches guessing,
so with a digest every quotation, number and address has to stand in the digest, and without line numbers none may be
cited. Faults are sentences that the teacher is shown when it is asked to repair its answer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from loglore.logs import grounding
from loglore.logs.claims import Claim
from loglore.logs.lookup import LogIndex, fold
from loglore.synth import strict
from loglore.synth.analyst.facts import View
from loglore.synth.prompts import LANGUAGES, Task

MOST_FAULTS = 8
_THINKING = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)
_FENCED = re.compile(r"^\s*```(?:json|markdown|md)?\s*\n(.*?)\n?```\s*$", re.DOTALL)
_HEADING = re.compile(r"^\s*(?:#{1,6}\s+\S.*|(?:[0-9]+[.)]\s+)?\*\*[^*\n]+\*\*:?)\s*$", re.MULTILINE)
_QUOTED = re.compile(r"```.*?```|`[^`\n]*`|\"[^\"\n]*\"|「[^」\n]*」", re.DOTALL)
_LETTER = re.compile(r"[^\W\d_]")
_JAPANESE = re.compile(r"[ぁ-ゖァ-ヺー一-鿿]")
# Share of Japanese characters among letters; a Japanese answer has English names in it, an English one a quoted word.
_LEAST_JAPANESE, _MOST_JAPANESE = 0.3, 0.05
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Shown:
    """What the student sees of a log, and the whole of it.

    table: the log that answers are about; view: None when all its lines are shown; numbered: with their numbers.
    """

    table: pl.DataFrame
    numbered: bool
    view: View | None = None

    @cached_property
    def index(self) -> LogIndex:
        """For looking up claims."""
        return LogIndex(self.table)

    @cached_property
    def lines(self) -> frozenset[int]:
        """Numbers of lines that may be cited."""
        return frozenset(self.table["line"].to_list()) if self.view is None else self.view.places


@dataclass(frozen=True)
class Fault:
    """What is wrong with an answer: `kind` is `form`, `language`, `claim` or `sight`; `text` says it in a sentence."""

    kind: str
    text: str


@dataclass(frozen=True)
class Checked:
    """An answer that was looked at.

    pairs: (question, answer); the question is "" where it is the student's own. grounding: claims by verdict.
    """

    pairs: list[tuple[str, str]]
    grounding: dict[str, int]
    faults: list[Fault]


def check(task: Task, text: str, shown: Shown, language: str, turns: int) -> Checked:
    """Look at a teacher's answer.

    Args:
        task: what was asked.
        text: the answer as it came; a block of thoughts before it and a fence around it are taken off.
        shown: the log.
        language: that the answer should be in, `en` or `ja`.
        turns: pairs that a conversation should have.
    """
    payload = _payload(text)
    if task.answer == "markdown":
        pairs, faults = [("", payload)], _markdown(task, payload)
    else:
        parsed = parse_json(task, text, turns)
        pairs, faults = parsed.pairs, parsed.faults
    if not faults:
        faults = language_faults("\n".join(_prose(task, answer) for _, answer in pairs), language)
    return _looked_up(task, pairs, faults, shown)


def check_pairs(task: Task, pairs: list[tuple[str, str]], shown: Shown, language: str) -> Checked:
    """Look at question and answer pairs whose form is known to be right (the analyst's)."""
    if task.answer == "json":
        return check(task, pairs[0][1], shown, language, 0)
    faults = language_faults("\n".join(answer for _, answer in pairs), language)
    return _looked_up(task, pairs, faults, shown)


def _looked_up(task: Task, pairs: list[tuple[str, str]], faults: list[Fault], shown: Shown) -> Checked:
    """The claims of answers against the log."""
    claims = []
    for _, answer in pairs:
        said = _prose(task, answer)
        found = grounding.check(said, shown.index)
        claims += found
        wrong = [(claim, fault) for claim in found if (fault := _claim(said, claim, shown))]
        faults = [*faults, *(fault for _, fault in wrong)]
        told = {(claim.start, claim.end) for claim, _ in wrong}
        for one in strict.findings(said, shown.index):
            if (one.start, one.end) not in told and not _is_shown_template(said[one.start : one.end], shown.view):
                faults = [*faults, Fault("claim", f"{_cited(said, one.start, one.end)} {one.reason}")]
        if task.answer == "json":
            faults = [*faults, *_lines_of_alert(answer, shown)]
    return Checked(pairs, grounding.tally(claims), faults)


def repair(faults: Sequence[Fault]) -> str:
    """What the teacher is told when its answer has faults."""
    listed = "\n".join(f"- {fault.text}" for fault in faults[:MOST_FAULTS])
    return (
        f"Your answer cannot be used as it is:\n{listed}\n"
        "Write the whole answer again in the form asked for, with these points corrected or left out, and nothing else."
    )


def _payload(text: str) -> str:
    text = _THINKING.sub("", text)
    fenced = _FENCED.match(text)
    return (fenced[1] if fenced else text).strip()


def _markdown(task: Task, text: str) -> list[Fault]:
    faults = []
    if len(text) < task.least_characters:
        faults.append(Fault("form", f"it has {len(text)} characters; at least {task.least_characters} are expected"))
    headings = len(_HEADING.findall(text))
    if headings < task.sections:
        faults.append(
            Fault("form", f"it has {headings} headings on lines of their own; {task.sections} parts were asked for")
        )
    return faults


def parse_json(task: Task, text: str, turns: int) -> Checked:
    """The pairs of a JSON answer without a look at the log; none when it is not what the schema says."""
    pairs, faults = _json(task, _payload(text), turns)
    return Checked(pairs, grounding.tally(()), faults)


def _json(task: Task, text: str, turns: int) -> tuple[list[tuple[str, str]], list[Fault]]:
    import jsonschema

    try:
        value = json.loads(text)
    except ValueError as fault:
        return [], [Fault("form", f"it is not one JSON object: {fault}")]
    schema: Any = task.answer_schema(turns)
    found = sorted(
        jsonschema.validators.validator_for(schema)(schema).iter_errors(value), key=lambda one: str(one.path)
    )
    if found:
        places = [f"{'.'.join(map(str, one.absolute_path)) or 'the object'}: {one.message:.160}" for one in found]
        return [], [Fault("form", f"the JSON does not follow its schema: {place}") for place in places[:3]]
    if task.answer == "json":
        return [("", json.dumps(value, ensure_ascii=False))], []
    pairs = [(turn["question"].strip(), turn["answer"].strip()) for turn in value["turns"]]
    short = [number for number, pair in enumerate(pairs, 1) if min(map(len, pair)) < task.least_characters]
    if short:
        return [], [Fault("form", f"turn {short[0]} is empty or shorter than {task.least_characters} characters")]
    return pairs, []


def _prose(task: Task, answer: str) -> str:
    """The sentences of an answer: of a JSON answer its texts, one a line."""
    return "\n".join(_texts(json.loads(answer))) if task.answer == "json" else answer


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]


def language_faults(text: str, language: str) -> list[Fault]:
    """Whether a text is written in another language than asked for; what it quotes does not count."""
    letters = _LETTER.findall(_QUOTED.sub("", text))
    if not letters:
        return []
    share = sum(bool(_JAPANESE.match(letter)) for letter in letters) / len(letters)
    wrong = share < _LEAST_JAPANESE if language == "ja" else share > _MOST_JAPANESE
    return [Fault("language", f"it should be written in {LANGUAGES[language]}")] if wrong else []


def _lines_of_alert(answer: str, shown: Shown) -> list[Fault]:
    """Line numbers given as numbers under `messages` of a JSON answer."""
    messages = json.loads(answer).get("messages")
    named = [number for numbers in messages.values() for number in numbers] if isinstance(messages, dict) else []
    missing = [number for number in named if isinstance(number, int) and number not in shown.lines]
    return [Fault("claim", f"line {missing[0]} is not in the log that was shown")] if missing else []


def _claim(text: str, claim: Claim, shown: Shown) -> Fault | None:
    said = text[claim.start : claim.end]
    if claim.verdict == "contradicted":
        actual = f"; the log says: {claim.actual}" if claim.actual else "; the log does not have it"
        return Fault("claim", f"{_cited(text, claim.start, claim.end)} is wrong{actual}")
    if claim.kind == "line" and not shown.numbered and not _in_program(said, shown):
        return Fault("sight", f'"{said}": the reader sees no line numbers; quote the message instead')
    if shown.view is not None and claim.verdict == "supported" and not _visible(said, claim, shown.view):
        return Fault("sight", f'"{said}" does not stand in the part of the log that was shown')
    return None


def _is_shown_template(said: str, view: View | None) -> bool:
    """Whether a quotation is a template that the reader's digest shows."""
    return view is not None and "<*>" in said and fold(said.strip('`"')) in view.text


def _cited(text: str, start: int, end: int) -> str:
    """A part of an answer with what stands around it, so that its writer finds it."""
    around = " ".join(text[max(0, start - 60) : end + 60].split())
    return f'"{text[start:end]}" (in "…{around}…")'


def _in_program(said: str, shown: Shown) -> bool:
    """Whether a line number is one of a program or file that the log names."""
    return any(shown.index.find_code(int(number)) for number in _NUMBER.findall(said))


def _visible(said: str, claim: Claim, view: View) -> bool:
    """Whether a reader of the digest can see what a supported claim is about."""
    if claim.kind == "line":
        return all(int(number) in view.places for number in _NUMBER.findall(said))
    if claim.kind not in ("quote", "entity", "time"):
        return True
    wanted = fold(said.strip('`"“”「」'))
    return wanted in view.text or wanted.rstrip(".,;:!") in view.text or "<*>" in wanted
