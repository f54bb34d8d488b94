"""Chat rows to questions: one for every assistant turn that is scored, with the true turns before it.

The model never sees its own earlier answers, so an early slip does not count again in later turns. A question belongs
to a chunk (`meta.chunk`), by which intervals are clustered; all turns of a row share it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loglore.data import files as data_files
from loglore.data.formats import Message, to_messages
from loglore.data.frame import log_of
from loglore.errors import InputError
from loglore.evaluate import suites
from loglore.evaluate.words import language_of
from loglore.runs import fingerprint

Turns = Literal["all", "last"]
SCORED_TURNS = {
    "all": "every assistant turn, given the true turns before it",
    "last": "last assistant turn, given the true turns before it",
}


@dataclass(frozen=True)
class Question:
    """A turn ready to be asked: the messages shown, the true answer, the log in the first turn, and where it is from.

    place: `FILE: row N`; row: 1-based; turn of turns: 1-based among the row's assistant turns; chunk, task, source,
    language: of the row.
    """

    messages: list[Message]
    truth: str
    log: str
    chunk: str
    task: str
    source: str
    language: str
    place: str
    row: int
    turn: int
    turns: int

    @property
    def key(self) -> str:
        """Identifies the same question with the same truth in another test run."""
        return fingerprint.of_value([self.messages, self.truth])[:16]

    @property
    def name(self) -> str:
        """The question's place for messages to the user."""
        return self.place if self.turns == 1 else f"{self.place}, turn {self.turn}"


def read_questions(
    path: Path,
    turns: Turns = "all",
    *,
    split: str = "test",
    suite: bool = False,
    tasks: Sequence[str] = (),
    per_task: int | None = None,
    seed: int = 0,
    system: str | None = None,
) -> list[Question]:
    """Read chat rows.

    Args:
        path: file of rows; in a folder of splits the file of `split` is taken, and no other.
        turns: which assistant turns are asked for.
        split: name of the held-out file in a folder, without ending (`test` also finds `test_no_json.json`).
        suite: rows are of the five log tasks (`suites`); one that names none in `meta.task` has it in its instruction.
        tasks: only rows of these tasks; none for all.
        per_task: at most so many rows a task, drawn with `seed`.
        seed: of that draw.
        system: system message of every question, instead of the rows' own.

    Raises:
        InputError: no rows, one without a true last answer (names it), or a task that no row has.
    """
    rows = [_row(place, row, suite) for place, row in data_files.placed_rows(held_out(path, split))]
    if tasks:
        known = {task for _, task, *_ in rows}
        for task in tasks:
            if task not in known:
                raise InputError(
                    f"{path}: no row of task {task!r}; its tasks are {', '.join(sorted(known - {''})) or 'unnamed'}"
                )
        rows = [row for row in rows if row[1] in tasks]
    if per_task is not None:
        rows = suites.sample(rows, [task for _, task, *_ in rows], per_task, seed)
    if not rows:
        raise InputError(f"{path}: no rows to test on")
    return [question for row in rows for question in _questions(*row, turns=turns, system=system)]


def held_out(path: Path, split: str) -> Path:
    """The file itself, or in a folder the one file of the split, so that training rows are never tested by accident.

    Raises:
        InputError: a folder without such a file, or with several.
    """
    if not path.is_dir():
        return path
    names = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    found = [file for file in names if (stem := file.name.split(".")[0]) == split or stem.startswith(f"{split}_")]
    if len(found) != 1:
        listed = ", ".join(file.name for file in found or names) or "nothing"
        raise InputError(f"{path}: expected one file of split {split!r} ({split}.jsonl or the like), found {listed}")
    return found[0]


def _row(
    place: data_files.Place, row: dict[str, Any], suite: bool
) -> tuple[data_files.Place, str, list[Message], dict[str, Any]]:
    try:
        messages = to_messages(row)
    except InputError as fault:
        raise InputError(f"{place}: {fault}") from None
    meta = row.get("meta") or {}
    if not isinstance(meta, dict):
        raise InputError(f"{place}: `meta`: expected an object, found {meta!r:.60}")
    task = str(meta.get("task") or "")
    if suite and task not in suites.TASKS:
        task = suites.task_of(task) or suites.task_of(next(m["content"] for m in messages if m["role"] == "user"))
        if not task:
            raise InputError(
                f"{place}: the instruction names none of the log tasks ({', '.join(suites.TASKS)}); "
                "give it in meta.task"
            )
    return place, task, messages, meta


def _questions(
    place: data_files.Place,
    task: str,
    messages: list[Message],
    meta: dict[str, Any],
    *,
    turns: Turns,
    system: str | None,
) -> Iterator[Question]:
    if system is not None:
        messages = [{"role": "system", "content": system}, *(m for m in messages if m["role"] != "system")]
    # An assistant message that only calls a tool is no answer: it is part of the history.
    answers = [
        number for number, message in enumerate(messages) if message["role"] == "assistant" and message["content"]
    ]
    first = next(message["content"] for message in messages if message["role"] == "user")
    for turn, number in enumerate(answers, 1):
        if turns == "last" and turn < len(answers):
            continue
        truth = messages[number]["content"]
        yield Question(
            messages=messages[:number],
            truth=truth,
            log=log_of(first),
            chunk=str(meta.get("chunk") or f"row {place.row}"),
            task=task,
            source=str(meta.get("source") or ""),
            language=str(meta.get("language") or language_of(truth)),
            place=str(place),
            row=place.row,
            turn=turn,
            turns=len(answers),
        )
