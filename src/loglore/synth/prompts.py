"""Tasks as text files: what the teacher is told, how users ask, what an answer must look like. Users edit and add them.

A file `NAME.yaml` is the task NAME. Its keys:

    version            number, raised when the prompt changes; rows carry it with a hash of the file
    teacher            what the teacher is told: one text, or one for each language (`en`, `ja`) of the answers. `{log}`
                       is required; `{language}`, `{references}`, `{turns}` are filled
    answer             `markdown`, `json` or `conversation` (JSON with `turns` of `question` and `answer`)
    student            per language (`en`, `ja`) the wordings a user asks in; a conversation has the teacher's
    sections           headings a markdown answer must have at least
    least_characters   an answer is at least so long
    schema             JSON schema of a json answer
    numbered           true: the student sees line numbers whatever the job says, because the answer needs them
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from loglore.errors import InputError
from loglore.runs.spec import Spec, unknown_key

LANGUAGES = {"en": "English", "ja": "Japanese"}
CITE = {
    "en": "Cite lines by their number as it stands before the bar, such as L12.",
    "ja": "行は、縦線の前にある番号で L12 のように示してください。",
}
NO_NUMBERS = {
    "en": "The numbers before the bar are for you alone: never mention a line number, quote the message instead.",
    "ja": "縦線の前の番号はあなただけのものです。行番号には触れず、代わりにメッセージを引用してください。",
}
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_KNOWN = ("log", "language", "references", "turns")


class _File(Spec):
    """The keys of a task file."""

    version: int = Field(ge=1)
    teacher: str | dict[Literal["en", "ja"], str]
    answer: Literal["markdown", "json", "conversation"]
    student: dict[Literal["en", "ja"], list[str]] = Field(default_factory=dict)
    sections: int = Field(0, ge=0)
    least_characters: int = Field(1, ge=1)
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    numbered: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "_File":
        if self.answer == "json" and self.schema_ is None:
            raise ValueError("answer is json, expected the key `schema`")
        if not self.teacher:
            raise ValueError("teacher is empty, expected what the teacher is told")
        return self


@dataclass(frozen=True)
class Task:
    """A task; the fields are those of its file, `teacher` by language.

    `version` has the hash of the file's text: `v1:3f2a9c01`.
    """

    name: str
    version: str
    teacher: Mapping[str, str]
    answer: str
    student: Mapping[str, tuple[str, ...]]
    sections: int
    least_characters: int
    schema: Mapping[str, Any] | None
    numbered: bool

    def prompt(self, log: str, language: str, numbered: bool, turns: int) -> str:
        """What the teacher is told about a log of lines with `L<number>|` in front.

        In the language of the answer where the task has such a text, else in the one it has, which names the language.
        """
        spoken = language if language in self.teacher else next(iter(self.teacher))
        values = {
            "log": log,
            "language": LANGUAGES[language],
            "references": (CITE if numbered else NO_NUMBERS)[spoken],
            "turns": str(turns),
        }
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.teacher[spoken]).strip()

    def answer_schema(self, turns: int) -> Mapping[str, Any] | None:
        """The JSON schema of the answer, None for text."""
        if self.answer != "conversation":
            return self.schema
        text = {"type": "string"}
        pair = {
            "type": "object",
            "additionalProperties": False,
            "required": ["question", "answer"],
            "properties": {"question": text, "answer": text},
        }
        pairs = {"type": "array", "items": pair, "minItems": turns, "maxItems": turns}
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["turns"],
            "properties": {"turns": pairs},
        }


def tasks(folder: Path | None = None) -> dict[str, Task]:
    """The built-in tasks by name, with those of a folder added or in their place.

    Raises:
        InputError: a file that is no task; the message names file and key or placeholder.
    """
    if folder is None:
        return dict(_built_in())
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of task files (NAME.yaml)")
    own = {path.stem: parse(path.stem, path.read_text(encoding="utf-8"), str(path)) for path in folder.glob("*.yaml")}
    if not own:
        raise InputError(f"{folder}: has no task file (NAME.yaml)")
    for name, task in own.items():
        if task.answer != "conversation" and not task.student:
            raise InputError(f"{folder / name}.yaml: expected wordings of the user's question under `student`")
    return {**_built_in(), **own}


@cache
def _built_in() -> dict[str, Task]:
    folder = files(__package__).joinpath("tasks")
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".yaml")), key=lambda path: path.name)
    names = [path.name.removesuffix(".yaml") for path in paths]
    return {
        name: parse(name, path.read_text(encoding="utf-8"), path.name) for name, path in zip(names, paths, strict=True)
    }


def parse(name: str, text: str, where: str) -> Task:
    """A task from the text of its file; `where` starts every error message.

    Raises:
        InputError: see `tasks`.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise InputError(f"{where}: not YAML: {' '.join(str(fault).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected the keys of a task, found {type(values).__name__}")
    found = _File.parse(values, where)
    told = {"en": found.teacher} if isinstance(found.teacher, str) else {str(k): v for k, v in found.teacher.items()}
    for prompt in told.values():
        _check_placeholders(prompt, found.answer, where)
    _check_schema(found.schema_, where)
    return Task(
        name=name,
        version=f"v{found.version}:{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        teacher=told,
        answer=found.answer,
        student={language: tuple(wordings) for language, wordings in found.student.items()},
        sections=found.sections,
        least_characters=found.least_characters,
        schema=found.schema_,
        numbered=found.numbered,
    )


def _check_placeholders(prompt: str, answer: str, where: str) -> None:
    used = _PLACEHOLDER.findall(prompt)
    if "log" not in used:
        raise InputError(f"{where}: the teacher's prompt has no placeholder {{log}}, so the log would not be sent")
    if answer == "conversation" and "turns" not in used:
        raise InputError(f"{where}: the teacher's prompt of a conversation has no placeholder {{turns}}")
    for placeholder in used:
        if placeholder not in _KNOWN:
            raise InputError(f"{where}: {unknown_key(placeholder, list(_KNOWN)).replace('key', 'placeholder', 1)}")


def _check_schema(schema: Mapping[str, Any] | None, where: str) -> None:
    if schema is None:
        return
    import jsonschema

    try:
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as fault:
        raise InputError(f"{where}: `schema` is no JSON schema: {fault.message}") from None
