"""Rows of either stage, in batches and in order; places in every error."""

import json
from pathlib import Path
from typing import Any

import pytest
from support_tiny import CHATML, TEXTS, build_tokenizer
from transformers import AutoTokenizer

from loglore.data import samples
from loglore.data.render import Renderer
from loglore.errors import InputError


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return Renderer(AutoTokenizer.from_pretrained(folder))


def placed(rows: list[dict]) -> list[tuple[str, dict]]:
    return [(f"a.jsonl: row {number}", row) for number, row in enumerate(rows, 1)]


def chat(question: str, answer: str = "Yes.") -> dict:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_rows_keep_their_order_in_batches_of_any_size(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    monkeypatch.setattr(samples, "BATCH_ROWS", batch_rows)
    monkeypatch.setattr(samples, "BATCH_CHARACTERS", 500)
    for stage, rows in (("cpt", [{"text": text} for text in TEXTS]), ("sft", [chat(text) for text in TEXTS])):
        batches = list(samples.render_rows(placed(rows), stage, renderer))
        assert all(len(batch) <= batch_rows for batch in batches) and len(batches) > 1
        texts = [renderer.tokenizer.decode(one.ids) for batch in batches for one in batch]
        assert len(texts) == len(TEXTS)
        assert all(text in whole for text, whole in zip(TEXTS, texts, strict=True))


def test_rows_are_read_as_they_are_needed(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BATCH_ROWS", 2)
    rows = iter(placed([{"text": "a"}] * 20))
    batches = samples.render_rows(rows, "cpt", renderer)
    assert len(next(batches)) == 2
    batches.close()
    # One batch was asked for, two more were begun ahead.
    assert len(list(rows)) == 14


@pytest.mark.parametrize(
    ("stage", "row", "message"),
    [
        ("cpt", {"text": ""}, "`text`: expected a text"),
        ("cpt", chat("a"), "no pretraining text"),
        ("sft", {"text": "a"}, "no chat messages"),
        ("sft", {**chat("a"), "tools": "[{"}, "`tools`: not JSON"),
        (
            "sft",
            {**chat("a"), "tools": {"name": "x"}},
            "`tools`: expected a list of JSON schemas with a name, found {'name': 'x'}",
        ),
        ("sft", {**chat("a"), "tools": [{"type": "function"}]}, "`tools`: expected a list of JSON schemas with a name"),
        ("sft", {**chat("a"), "tools": "[" * 100_000}, "`tools`: not JSON"),
        ("sft", {**chat("a"), "tools": [{"name": "x"}]}, "no place for the row's `tools`"),
    ],
)
def test_fault_names_the_row(renderer: Renderer, stage: Any, row: dict, message: str) -> None:
    good = {"text": "a"} if stage == "cpt" else chat("a")
    with pytest.raises(InputError, match=rf"^a\.jsonl: row 2: .*{message}"):
        list(samples.render_rows(placed([good, row]), stage, renderer))


def test_tools_come_as_a_list_or_as_its_text() -> None:
    tools = [{"name": "search"}]
    assert samples.conversation_of({**chat("a"), "tools": tools}).tools == tools
    assert samples.conversation_of({**chat("a"), "tools": json.dumps(tools)}).tools == tools
    assert samples.conversation_of({**chat("a"), "tools": ""}).tools is None


def test_template_that_cannot_work_is_refused_before_a_row_is_read(tmp_path: Path) -> None:
    build_tokenizer(tmp_path, CHATML.replace("<|im_end|>", "(end)"))
    rows = iter(placed([chat("a")]))
    with pytest.raises(InputError, match="without an end-of-turn token"):
        list(samples.render_rows(rows, "sft", Renderer(AutoTokenizer.from_pretrained(tmp_path))))
    assert len(list(rows)) == 1


@pytest.mark.parametrize(
    ("row", "stage"),
    [
        ({"text": "a"}, "cpt"),
        ({"instruction": "a", "log": "b", "output": "c", "domain": "d"}, "cpt"),
        ({"instruction": "a", "output": "c"}, "sft"),
        (chat("a"), "sft"),
    ],
)
def test_stage_follows_from_the_first_row(row: dict, stage: str) -> None:
    assert samples.stage_of(placed([row]), "a.jsonl") == stage


def test_stage_of_no_rows_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.jsonl: no rows"):
        samples.stage_of([], "a.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl: row 1: fields \['x'\] fit no format"):
        samples.stage_of(placed([{"x": 1}]), "a.jsonl")
