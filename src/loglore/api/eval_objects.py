"""Evals between two shapes: OpenAI's objects, and our test jobs with their answers and scores.

An eval says what an item looks like and when an answer passes. A run of the type `jsonl` grades the answers that its
items have; one of the type `completions` lets a model answer every item. The items of the latter become chat rows of a
test job: the input messages with their templates filled in, and as truth what the first text similarity criterion
compares with. Items that are chat rows themselves (`messages`, `conversations`, …) need no template: the last answer of
each is its truth, `{{item.truth}}` in a criterion. Nothing here touches a database or a disk.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from loglore.api.errors import ApiError
from loglore.api.fine_tuning_objects import Metadata
from loglore.api.plain import Values
from loglore.api.wishes import Strict
from loglore.data import formats
from loglore.errors import InputError
from loglore.store.evals import Eval, EvalRun
from loglore.store.jobs import Job

TEMPLATE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
STATUSES = {"running": "in_progress", "succeeded": "completed", "cancelled": "canceled"}
STATES = {shown: state for state, shown in STATUSES.items()}
MOST_INLINE = 10_000


def check_template(text: str) -> str:
    """Refuse what `filled` would leave as it is.

    Raises:
        ValueError: something in braces that is neither `item.…` nor `sample.output_text`.
    """
    for path in TEMPLATE.findall(text):
        if not path.startswith("item.") and path != "sample.output_text":
            raise ValueError(f"`{{{{{path}}}}}`: expected `{{{{item.FIELD}}}}` or `{{{{sample.output_text}}}}`")
    if "{{" in TEMPLATE.sub("", text):
        raise ValueError("`{{…}}`: expected the path of a field, such as `{{item.log}}`; no expressions")
    return text


Text = Annotated[str, Field(max_length=100_000), AfterValidator(check_template)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


def check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON schema (draft 2020-12).

    Raises:
        ValueError: with the reason.
    """
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as fault:
        raise ValueError(f"no JSON schema: {fault.message[:200]}") from None
    return schema


class StringCheck(Strict):
    """Passes when `input` equals (or not), contains, or contains in any case `reference`."""

    type: Literal["string_check"]
    name: Name
    input: Text
    reference: Text
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Strict):
    """Passes when a score of `input` against `reference` is at least `pass_threshold`."""

    type: Literal["text_similarity"]
    name: Name
    input: Text
    reference: Text
    evaluation_metric: Literal["fuzzy_match", "bleu", "rouge_1", "rouge_2", "rouge_l"]
    pass_threshold: float = Field(ge=0, le=1)


Criterion = Annotated[StringCheck | TextSimilarity, Field(discriminator="type")]


class CustomConfig(Strict):
    """What items look like, as a JSON schema, which every item of a run must fit."""

    type: Literal["custom"]
    item_schema: Annotated[Values, AfterValidator(check_schema)] = Field(
        examples=[{"type": "object", "properties": {"log": {"type": "string"}}}]
    )
    include_sample_schema: bool = False


class CreateEval(Strict):
    """OpenAI's request for an eval; other kinds of criteria and sources are refused by name."""

    name: str = Field("", max_length=200)
    data_source_config: CustomConfig
    testing_criteria: list[Criterion] = Field(min_length=1, max_length=20)
    metadata: Metadata | None = None


class UpdateEval(Strict):
    """A new name, or new metadata."""

    name: str | None = Field(None, max_length=200)
    metadata: Metadata | None = None


class Given(Strict):
    """An answer that somebody has already."""

    output_text: str = Field(max_length=1_000_000)


class Row(Strict):
    """One item; `sample`, in runs of the type `jsonl`, is the answer to it."""

    item: Values
    sample: Given | None = None


class FileContent(Strict):
    """Items in the request itself."""

    type: Literal["file_content"]
    content: list[Row] = Field(min_length=1, max_length=MOST_INLINE)


class FileId(Strict):
    """A file of items (`{"item": {…}}` a line, or chat rows), or a dataset of the hub."""

    type: Literal["file_id"]
    id: str = Field(min_length=1, max_length=200)


class ContentPart(Strict):
    """A text part of a message."""

    type: Literal["input_text", "output_text"]
    text: Text


class TemplateMessage(Strict):
    """A turn with `{{item.…}}` in it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | ContentPart | Annotated[list[ContentPart], Field(min_length=1, max_length=100)]
    type: Literal["message"] | None = None


class Template(Strict):
    """Messages that are filled in for every item."""

    type: Literal["template"]
    template: list[TemplateMessage] = Field(min_length=1, max_length=100)


class ItemReference(Strict):
    """Messages that stand in the item: `item.messages`."""

    type: Literal["item_reference"]
    item_reference: str = Field(pattern=r"^item(\.[\w-]+)+$", max_length=200)


class Sampling(Strict):
    """How answers are made; greedy and at most 256 tokens unless said otherwise."""

    max_completion_tokens: int | None = Field(None, ge=1, le=2**20)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, le=2**31 - 1)


class Completions(Strict):
    """Let a model of the hub answer items."""

    type: Literal["completions"]
    source: Annotated[FileContent | FileId, Field(discriminator="type")]
    model: str = Field(min_length=1, max_length=200)
    input_messages: Annotated[Template | ItemReference, Field(discriminator="type")] | None = None
    sampling_params: Sampling | None = None


class Jsonl(Strict):
    """Grade items as they are, with the answers that they have: no model is asked."""

    type: Literal["jsonl"]
    source: Annotated[FileContent | FileId, Field(discriminator="type")]


class CreateRun(Strict):
    """OpenAI's request for a run. Beyond it: priority, depends_on and gpus, as of a fine-tuning job."""

    data_source: Annotated[Completions | Jsonl, Field(discriminator="type")]
    name: str = Field("", max_length=200)
    metadata: Metadata | None = None
    priority: int = Field(0, ge=-100, le=100)
    depends_on: list[str] = Field(default_factory=list, max_length=100)
    gpus: int | None = Field(None, ge=0, le=1024)

    @model_validator(mode="after")
    def _fits(self) -> "CreateRun":
        if isinstance(self.data_source, Jsonl):
            given = [name for name in ("priority", "depends_on", "gpus") if getattr(self, name)]
            if given:
                raise ValueError(f"{given[0]}: a run of the type `jsonl` is graded at once and has no job")
            return self
        inline = self.data_source.source.content if isinstance(self.data_source.source, FileContent) else []
        if any(row.sample is not None for row in inline):
            raise ValueError("sample: of a run of the type `completions` the model writes it; `jsonl` takes it")
        return self


def eval_object(found: Eval) -> dict[str, Any]:
    """An `eval`."""
    return {
        "id": found.id,
        "object": "eval",
        "created_at": int(found.created),
        "name": found.name,
        "data_source_config": {"type": "custom", "schema": _schema(found.config)},
        "testing_criteria": [dict(each) for each in found.criteria],
        "metadata": dict(found.metadata),
    }


def _schema(config: Mapping[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {"item": config["item_schema"]}
    if config.get("include_sample_schema"):
        parts["sample"] = {"type": "object", "properties": {"output_text": {"type": "string"}}}
    return {"type": "object", "properties": parts, "required": list(parts)}


def filled(template: str, names: Mapping[str, Any], where: str) -> str:
    """A text with `{{item.field}}` and `{{sample.output_text}}` filled in; what is no text becomes JSON.

    >>> filled("Why: {{ item.log }}?", {"item": {"log": "disk full"}}, "row 1")
    'Why: disk full?'

    Raises:
        InputError: there is no such field; names row and field.
    """

    def value(match: re.Match[str]) -> str:
        found = looked_up(match[1], names, where)
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return TEMPLATE.sub(value, template)


def looked_up(path: str, names: Mapping[str, Any], where: str) -> Any:
    """What a path such as `item.messages.0.content` leads to.

    Raises:
        InputError: there is no such field; names row and field.
    """
    found: Any = names
    for part in path.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and re.fullmatch(r"-?[0-9]{1,6}", part) and -len(found) <= int(part) < len(found):
            found = found[int(part)]
        else:
            raise InputError(f"{where}: `{path}`: there is no `{part}`")
    return found


def check_items(config: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> None:
    """Refuse items that do not fit the schema of their eval. References to schemas elsewhere are not followed.

    Raises:
        InputError: names the first item that does not, and where in it.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = Draft202012Validator(config["item_schema"], registry=Registry())
    for number, item in enumerate(found, 1):
        try:
            fault = best_match(validator.iter_errors(item))
        except Unresolvable as missing:
            raise InputError(f"item_schema: the reference {missing.ref!r} leads nowhere in it") from None
        if fault is not None:
            where = "".join(f".{part}" for part in fault.absolute_path)
            raise InputError(f"item {number}: `item{where}`: {fault.message[:200]}")


def rows_of_file(rows: Sequence[Mapping[str, Any]], samples: bool) -> list[dict[str, Any]]:
    """Rows of a file: `item` and `sample` as they stand there, or as `item` a chat row with its messages and truth.

    Raises:
        InputError: names the first row that is neither, or whose `sample` is none or not asked for.
    """
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        if isinstance(row.get("item"), dict):
            if "sample" in row and not samples:
                raise InputError(f"row {number}: `sample`: in a run of the type `completions` the model writes it")
            if row.get("sample") is not None and not isinstance(_output(row["sample"]), str):
                raise InputError(f"row {number}: `sample`: expected an object with `output_text`")
            found.append({name: row[name] for name in ("item", "sample") if row.get(name) is not None})
            continue
        try:
            messages = formats.to_messages(dict(row))
        except formats.RowError as fault:
            raise InputError(f"row {number}: expected `item`, or a chat row: {fault}") from None
        truth = str(messages[-1].get("content") or "")
        found.append({"item": {**row, "messages": messages[:-1], "truth": truth}})
    return found


def _output(sample: Any) -> Any:
    return sample.get("output_text") if isinstance(sample, Mapping) else None


def chat_rows(source: Completions, found: Sequence[Mapping[str, Any]], criteria: Sequence[Mapping[str, Any]]) -> Any:
    """One chat row an item: what the model is asked, and the truth that the answer is compared with.

    Raises:
        ApiError: 400 that names the first item that cannot be used.
    """
    try:
        for number, item in enumerate(found, 1):
            # Whatever a criterion asks of an item must be there before a model is asked anything.
            names = {"item": item, "sample": {"output_text": ""}}
            for text in (each[key] for each in criteria for key in ("input", "reference")):
                filled(text, names, f"item {number}")
        return [_chat_row(source, item, criteria, f"item {number}") for number, item in enumerate(found, 1)]
    except InputError as fault:
        raise ApiError(400, f"data_source: {fault}", "invalid_value", "data_source") from None


def _chat_row(
    source: Completions, item: Mapping[str, Any], criteria: Sequence[Mapping[str, Any]], where: str
) -> dict[str, Any]:
    messages = _messages(source, item, where)
    truth = _truth(item, criteria, where)
    row = {"messages": [*messages, {"role": "assistant", "content": truth}]}
    try:
        formats.to_messages(row)
    except formats.RowError as fault:
        raise InputError(f"{where}: {fault}") from None
    return row


def _messages(source: Completions, item: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    given = source.input_messages
    if isinstance(given, Template):
        return [
            {
                "role": "system" if each.role == "developer" else each.role,
                "content": filled(_text(each.content), {"item": item}, where),
            }
            for each in given.template
        ]
    path = given.item_reference if given is not None else "item.messages"
    found = looked_up(path, {"item": item}, where)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{where}: `{path}`: expected a list of messages")
    return [dict(each) for each in found]


def _text(content: str | ContentPart | list[ContentPart]) -> str:
    if isinstance(content, list):
        return "".join(each.text for each in content)
    return content if isinstance(content, str) else content.text


def _truth(item: Mapping[str, Any], criteria: Sequence[Mapping[str, Any]], where: str) -> str:
    """What an answer is compared with: of text similarity, else of a string check, else the item's own truth."""
    if "truth" in item:
        return str(item["truth"])
    for kind in ("text_similarity", "string_check"):
        for each in criteria:
            if each["type"] == kind and "sample." not in each["reference"]:
                return filled(each["reference"], {"item": item}, where)
    raise InputError(f"{where}: no criterion has a `reference` to compare an answer with")


def run_object(run: EvalRun, job: Job | None, url: str, scores: Mapping[str, Any] | None) -> dict[str, Any]:
    """An `eval.run`; `status` may also be `paused`, and `deleted` when its job is gone.

    Args:
        run: the run.
        job: its test job; None when somebody deleted it, and of a run of the type `jsonl`.
        url: where a person reads about it.
        scores: means with intervals, `{"value", "low", "high"}` by name: ours, beyond OpenAI's fields.
    """
    results = run.results or {}
    status = STATUSES.get(job.state, job.state) if job else "deleted" if run.job_id else "completed"
    error = {"code": job.error_code or "job_failed", "message": job.error} if job and job.error else None
    return {
        "id": run.id,
        "object": "eval.run",
        "eval_id": run.eval_id,
        "created_at": int(run.created),
        "status": status,
        "model": run.model,
        "name": run.name,
        "data_source": dict(run.source),
        # Their client requires the object, also when nothing went wrong.
        "error": error or {"code": "", "message": ""},
        "metadata": dict(run.metadata),
        "per_model_usage": list(results.get("usage", [])),
        "per_testing_criteria_results": list(results.get("criteria", [])),
        "report_url": url,
        "result_counts": results.get("counts") or {"total": 0, "errored": 0, "failed": 0, "passed": 0},
        "job_id": run.job_id or None,
        "scores": dict(scores or {}),
    }
