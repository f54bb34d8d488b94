"""Items to chat rows, and answers to what passed, against values worked out by hand and by rapidfuzz."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError
from rapidfuzz import fuzz

from loglore.api import grading
from loglore.api.errors import ApiError
from loglore.api.eval_objects import chat_rows, check_items, filled, rows_of_file
from loglore.api.eval_wishes import Completions, CreateEval
from loglore.api.grading import Answers
from loglore.errors import InputError
from loglore.store.evals import EvalRun

CLOSE = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.cause}}",
    "evaluation_metric": "fuzzy_match",
    "pass_threshold": 0.8,
}


def check(operation: str, reference: str) -> dict[str, Any]:
    text = "{{sample.output_text}}"
    return {"type": "string_check", "name": operation, "input": text, "reference": reference, "operation": operation}


def source(**more: Any) -> Completions:
    content = {"type": "file_content", "content": [{"item": {}}]}
    return Completions.model_validate({"type": "completions", "model": "m", "source": content, **more})


def test_a_template_becomes_the_question_and_the_reference_the_truth() -> None:
    template = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": {"type": "input_text", "text": "{{item.log}} {{ item.n.0 }} {{item.n}}"}},
    ]
    wish = source(input_messages={"type": "template", "template": template})
    (row,) = chat_rows(wish, [{"log": "disk full", "n": [1, 2], "cause": "No space."}], [check("eq", "x"), CLOSE])
    assert row["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "disk full 1 [1, 2]"},
        {"role": "assistant", "content": "No space."},
    ]


def test_chat_rows_are_items_by_themselves() -> None:
    row = {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Full."}]}
    (found,) = rows_of_file([row], samples=False)
    item = found["item"]
    assert item["truth"] == "Full."
    (again,) = chat_rows(source(), [item], [check("eq", "{{item.truth}}")])
    assert [each["content"] for each in again["messages"]] == ["Why?", "Full."]
    with pytest.raises(InputError, match="row 2: expected `item`, or a chat row"):
        rows_of_file([{"item": {}}, {"text": "x"}], samples=False)
    with pytest.raises(InputError, match="row 1: `sample`: in a run of the type `completions`"):
        rows_of_file([{"item": {}, "sample": {"output_text": "x"}}], samples=False)
    with pytest.raises(InputError, match="row 2: `sample`: expected an object with `output_text`"):
        rows_of_file([{"item": {}}, {"item": {}, "sample": {"text": "x"}}], samples=True)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"cause": "x"}, "there is no `log`"),
        ({"log": "x"}, "there is no `cause`"),
        ({"log": "", "cause": "x"}, "empty"),
    ],
)
def test_an_item_that_lacks_something_is_named(item: dict[str, Any], said: str) -> None:
    template = [{"role": "user", "content": "{{item.log}}"}]
    wish = source(input_messages={"type": "template", "template": template})
    with pytest.raises(ApiError, match=f"item 2: .*{said}"):
        chat_rows(wish, [{"log": "a", "cause": "b"}, item], [CLOSE])


@pytest.mark.parametrize("text", ["{{item.a | upper}}", "{{ sample.item }}", "{{other.a}}", "{{item.a", "{{}}"])
def test_templates_have_no_expressions(text: str) -> None:
    body = {
        "data_source_config": {"type": "custom", "item_schema": {}},
        "testing_criteria": [{**CLOSE, "reference": text}],
    }
    with pytest.raises(ValidationError):
        CreateEval.model_validate(body)


def test_filling_in_does_not_fill_in_again() -> None:
    assert filled("{{item.a}}", {"item": {"a": "{{item.b}}", "b": "x"}}, "row") == "{{item.b}}"


def test_items_must_fit_their_schema_which_leads_nowhere_else() -> None:
    config = {"item_schema": {"type": "object", "required": ["log"], "properties": {"n": {"type": "integer"}}}}
    check_items(config, [{"log": "x", "n": 1}])
    with pytest.raises(InputError, match="item 2: `item`: 'log' is a required property"):
        check_items(config, [{"log": "x"}, {}])
    with pytest.raises(InputError, match=r"item 1: `item\.n`: 'one' is not of type 'integer'"):
        check_items(config, [{"log": "x", "n": "one"}])
    for reference in ("#/nowhere", "http://127.0.0.1:9/schema", "file:///etc/passwd"):
        with pytest.raises(InputError, match=r"item_schema: the reference .* leads nowhere in it"):
            check_items({"item_schema": {"$ref": reference}}, [{}])
    with pytest.raises(ValidationError, match="no JSON schema"):
        CreateEval.model_validate(
            {"data_source_config": {"type": "custom", "item_schema": {"type": "log"}}, "testing_criteria": [CLOSE]}
        )


def test_every_criterion_is_looked_at_before_a_model_is_asked() -> None:
    wish = source(input_messages={"type": "template", "template": [{"role": "user", "content": "why?"}]})
    with pytest.raises(ApiError, match=r"item 1: `item\.other`: there is no `other`"):
        chat_rows(wish, [{"cause": "x"}], [CLOSE, check("eq", "{{item.other}}")])


def test_parts_of_a_message_are_one_text() -> None:
    parts = [{"type": "input_text", "text": "Why {{item.log}}"}, {"type": "input_text", "text": "?"}]
    wish = source(input_messages={"type": "template", "template": [{"role": "user", "content": parts}]})
    (row,) = chat_rows(wish, [{"log": "x", "cause": "y"}], [CLOSE])
    assert row["messages"][0]["content"] == "Why x?"


def answers(outputs: list[str | None]) -> Answers:
    found = [{"cause": "the disk is full"} for _ in outputs]
    messages = json.dumps([{"role": "user", "content": "Why?"}])
    count = len(outputs)
    table = pl.DataFrame(
        {
            "row": range(1, count + 1),
            "messages": [messages] * count,
            "truth": ["the disk is full"] * count,
            "output": pl.Series(outputs, dtype=pl.String),
            "finish": ["stop" if each else None for each in outputs],
            "prompt_tokens": [5 if each else None for each in outputs],
            "tokens": [2 if each else None for each in outputs],
        }
    )
    return Answers(found, table, {"max_new_tokens": 9})


def test_counts_and_items_agree_with_hand_and_rapidfuzz() -> None:
    outputs = ["the disk is full", "The DISK", None, "the disk was full"]
    criteria = [CLOSE, check("like", "disk"), check("ilike", "Disk"), check("eq", "the disk is full"), check("ne", "z")]
    found = answers(outputs)
    counted = grading.count(found, criteria, "m@1")
    assert counted["counts"] == {"total": 4, "errored": 1, "passed": 1, "failed": 2}
    assert {each["testing_criteria"]: each["passed"] for each in counted["criteria"]} == {
        "close": 2, "like": 2, "ilike": 3, "eq": 1, "ne": 3,
    }  # fmt: skip
    assert counted["usage"][0]["total_tokens"] == 3 * 7
    run = EvalRun(1, "evalrun_ab", "eval_1", "job-1", "r", "m@1", {}, {}, None, 7.0)
    shown = grading.item_objects(run, found, criteria, [3, 0, 2])
    assert [each["datasource_item_id"] for each in shown] == [3, 0, 2]
    assert [each["status"] for each in shown] == ["fail", "pass", "fail"]
    expected = fuzz.ratio("the disk was full", "the disk is full") / 100
    assert shown[0]["results"][0]["score"] == pytest.approx(expected)
    assert shown[2]["sample"]["error"]["code"] == "no_answer"
    assert shown[2]["sample"]["output"] == []
    assert shown[0]["sample"]["max_completion_tokens"] == 9


def test_rows_that_are_gone_are_said_to_be(tmp_path: Path) -> None:
    from types import SimpleNamespace

    with pytest.raises(InputError, match="not on this machine"):
        grading.read(SimpleNamespace(id="job-1", folder=str(tmp_path / "run")))  # type: ignore[arg-type]
