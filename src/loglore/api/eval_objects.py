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
from typing import Any

from loglore.api.errors import ApiError
from loglore.api.eval_wishes import TEMPLATE, Completions, ContentPart, Template
from loglore.data import formats
from loglore.errors import InputError
from loglore.store.evals import Eval, EvalRun
from loglore.store.jobs import Job

STATUSES = {"running": "in_progress", "succeeded": "completed", "cancelled": "canceled"}
STATES = {shown: state for state, shown in STATUSES.items()}


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
