"""Answers, of a test job or given with the items, against the criteria of an eval: what passed, by item and in all.

Scores are those of `evaluate.metrics`, so that a criterion and a report never disagree.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.api import eval_objects
from loglore.errors import InputError
from loglore.store.evals import Eval, EvalRun
from loglore.store.jobs import Job

if TYPE_CHECKING:
    import polars as pl

METRICS = {"fuzzy_match": "fuzzy_match", "bleu": "bleu", "rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
COLUMNS = ("row", "messages", "truth", "output", "finish", "prompt_tokens", "tokens")
ITEMS = "items.jsonl"


@dataclass(frozen=True)
class Answers:
    """The items of a run, rows in their order, and the test job's spec for the sampling that was used.

    asked: whether a model was asked; else an item need have no answer.
    """

    items: Sequence[Mapping[str, Any]]
    rows: "pl.DataFrame"
    spec: Mapping[str, Any]
    asked: bool = True


def read(job: Job) -> Answers:
    """What a test job that succeeded wrote, and the items that it was made of.

    Raises:
        InputError: its files are gone.
    """
    import polars as pl

    from loglore.runs import files

    folder = Path(job.folder)
    kept = folder.parent / ITEMS
    if not (folder / "rows.parquet").is_file() or not kept.is_file():
        raise InputError(f"job {job.id}: its rows are not on this machine any more")
    table = pl.read_parquet(folder / "rows.parquet", columns=list(COLUMNS))
    return Answers(files.read_jsonl_log(kept), table.sort("row"), job.spec)


def given(rows: Sequence[Mapping[str, Any]]) -> Answers:
    """Items with the answers that they have: `item`, and `sample` or none."""
    import polars as pl

    outputs = [(row.get("sample") or {}).get("output_text") for row in rows]
    columns = {
        "row": pl.Series(range(1, len(rows) + 1), dtype=pl.Int64),
        "messages": pl.Series(["[]"] * len(rows), dtype=pl.String),
        "truth": pl.Series([None] * len(rows), dtype=pl.String),
        "output": pl.Series(outputs, dtype=pl.String),
        "finish": pl.Series(["stop"] * len(rows), dtype=pl.String),
        "prompt_tokens": pl.Series([0] * len(rows), dtype=pl.Int64),
        "tokens": pl.Series([0] * len(rows), dtype=pl.Int64),
    }
    return Answers([row["item"] for row in rows], pl.DataFrame(columns), {}, asked=False)


def results_of(found: Answers, criteria: Sequence[Mapping[str, Any]], rows: "pl.DataFrame") -> list[list[Any]]:
    """For each of some rows of the answers, one result a criterion; an item without an answer passes nothing."""
    graded = []
    scores = {each["name"]: _scores(found, each, rows) for each in criteria if each["type"] == "text_similarity"}
    for place, row in enumerate(rows.iter_rows(named=True)):
        there = _counts(found, row)
        graded.append([_result(each, _names(found, row), row["row"], there, scores, place) for each in criteria])
    return graded


def count(found: Answers, criteria: Sequence[Mapping[str, Any]], model: str) -> dict[str, Any]:
    """Counts of a run: `counts` of items, `criteria` one by one, `usage` of tokens."""
    table = found.rows
    graded = results_of(found, criteria, table)
    answered = [_counts(found, row) for row in table.iter_rows(named=True)]
    passed = [
        there and all(each["passed"] for each in results) for there, results in zip(answered, graded, strict=True)
    ]
    names = [str(each["name"]) for each in criteria]
    by_name = [
        {"testing_criteria": name, "passed": (good := sum(row[place]["passed"] for row in graded)),
         "failed": len(graded) - good}
        for place, name in enumerate(names)
    ]  # fmt: skip
    prompt, completion = (int(table[name].fill_null(0).sum()) for name in ("prompt_tokens", "tokens"))
    usage = {
        "model_name": model, "invocation_count": sum(answered), "prompt_tokens": prompt,
        "completion_tokens": completion, "cached_tokens": 0, "total_tokens": prompt + completion,
    }  # fmt: skip
    counts = {
        "total": table.height, "errored": table.height - sum(answered), "passed": sum(passed),
        "failed": sum(answered) - sum(passed),
    }  # fmt: skip
    return {"counts": counts, "criteria": by_name, "usage": [usage] if found.asked else [], "passed": passed}


def item_objects(run: EvalRun, found: Answers, criteria: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> Any:
    """`eval.run.output_item` objects of the items with these numbers (from 0), in this order."""
    rows = found.rows[list(numbers)]
    graded = results_of(found, criteria, rows)
    return [
        _item(run, found, row, number, results)
        for row, number, results in zip(rows.iter_rows(named=True), numbers, graded, strict=True)
    ]


def item_id(run: EvalRun, number: int) -> str:
    """The id of an item by its number from 0."""
    return f"outputitem_{run.id.removeprefix('evalrun_')}_{number}"


def _item(
    run: EvalRun, found: Answers, row: Mapping[str, Any], number: int, results: list[dict[str, Any]]
) -> dict[str, Any]:
    passed = _counts(found, row) and all(each["passed"] for each in results)
    prompt, completion = row["prompt_tokens"] or 0, row["tokens"] or 0
    usage = {
        "prompt_tokens": prompt, "completion_tokens": completion, "cached_tokens": 0,
        "total_tokens": prompt + completion,
    }  # fmt: skip
    messages = [
        {"role": each["role"], "content": str(each.get("content") or "")} for each in json.loads(row["messages"])
    ]
    missing = row["output"] is None
    failed = missing and found.asked
    sample = {
        "error": {"code": "no_answer" if failed else "", "message": "the model gave no answer" if failed else ""},
        "finish_reason": row["finish"] or "error",
        "input": messages,
        "output": [] if missing else [{"role": "assistant", "content": row["output"]}],
        "model": run.model,
        "max_completion_tokens": found.spec.get("max_new_tokens", 256 if found.asked else 0),
        "temperature": found.spec.get("temperature", 0.0),
        "top_p": found.spec.get("top_p", 1.0),
        "seed": found.spec.get("seed", 0),
        "usage": usage,
    }
    return {
        "id": item_id(run, number),
        "object": "eval.run.output_item",
        "created_at": int(run.created),
        "eval_id": run.eval_id,
        "run_id": run.id,
        "datasource_item": dict(found.items[number]),
        "datasource_item_id": number,
        "status": "pass" if passed else "fail",
        "results": results,
        "sample": sample,
        "truth": row["truth"],
    }


def _counts(found: Answers, row: Mapping[str, Any]) -> bool:
    """Whether there is something to grade."""
    return not found.asked or row["output"] is not None


def _names(found: Answers, row: Mapping[str, Any]) -> dict[str, Any]:
    # Rows are numbered from 1 in the order of the items, and each item is one row of one turn.
    names: dict[str, Any] = {"item": found.items[row["row"] - 1]}
    if found.asked or row["output"] is not None:
        names["sample"] = {"output_text": row["output"] or ""}
    return names


def _result(
    criterion: Mapping[str, Any],
    names: Mapping[str, Any],
    row: int,
    there: bool,
    scores: Mapping[str, Any],
    place: int,
) -> dict[str, Any]:
    if criterion["type"] == "text_similarity":
        score = float(scores[criterion["name"]][place])
        good = there and score >= criterion["pass_threshold"]
    else:
        text, reference = (eval_objects.filled(criterion[key], names, f"item {row}") for key in ("input", "reference"))
        good = there and _holds(criterion["operation"], text, reference)
        score = float(good)
    return {"name": criterion["name"], "type": criterion["type"], "passed": good, "score": score}


def _holds(operation: str, given: str, reference: str) -> bool:
    if operation in ("eq", "ne"):
        return (given == reference) == (operation == "eq")
    if operation == "ilike":
        return reference.casefold() in given.casefold()
    return reference in given


def _scores(found: Answers, criterion: Mapping[str, Any], rows: "pl.DataFrame") -> Sequence[float]:
    from loglore.evaluate import metrics

    texts: dict[str, list[str]] = {"input": [], "reference": []}
    for row in rows.iter_rows(named=True):
        names = _names(found, row)
        for key, into in texts.items():
            into.append(eval_objects.filled(criterion[key], names, f"item {row['row']}"))
    if not texts["input"]:
        return []
    values = metrics.score_rows(texts["input"], texts["reference"])[METRICS[criterion["evaluation_metric"]]]
    return [float(value) for value in values]


def criteria_of(found: Eval) -> list[dict[str, Any]]:
    """The criteria of an eval as plain values."""
    return [dict(each) for each in found.criteria]
