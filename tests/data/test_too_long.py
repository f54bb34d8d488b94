"""Lengths that a check tells are those of the rendered rows, and what it says of long rows is what packing does."""

import json
from pathlib import Path

import pytest
from support_tiny import build_tokenizer
from transformers import AutoTokenizer

from loglore.data import check, looking, too_long
from loglore.data.frame import student_prompt
from loglore.data.packed import PackSettings, Source, open_or_build
from loglore.data.render import Renderer
from loglore.errors import InputError

CAPACITY = 90
LOG = "\n".join(f"10:{minute:02d} disk failed" for minute in range(30))


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return Renderer(AutoTokenizer.from_pretrained(folder))


def chat(*texts: str) -> dict:
    return {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]}


def checked(folder: Path, rows: list[dict], limit: too_long.Limit) -> check.FileReport:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check.check([check.parse_input(str(path))], limit=limit).files[0]


def packed(folder: Path, rows: list[dict], renderer: Renderer, settings: PackSettings) -> dict:
    source = Source("rows", "digest", lambda: ((f"row {number}", row) for number, row in enumerate(rows, 1)))
    return open_or_build(folder / "packed", source, renderer.tokenizer, settings).report


@pytest.mark.parametrize("policy", ["shorten_log", "cut_after_turn"])
def test_what_is_told_is_what_packing_does(
    tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setattr(looking, "BATCH_CHARACTERS", 300)
    turns = ("Short?", "Yes.", student_prompt("And this?", LOG), "The disk.")
    rows = [chat("Why?", f"Because {n}.") for n in range(7)] + [chat(*turns), chat("Last?", "Yes.")]
    settings = PackSettings("sft", CAPACITY, policy)
    report = checked(tmp_path, rows, too_long.Limit(renderer, CAPACITY, policy))
    made = packed(tmp_path, rows, renderer, settings)
    assert report.rows == 9 and not report.faulty
    assert report.tokens - report.lost_tokens == made["tokens"]
    (told,) = report.problems["too-long"].examples
    assert told.row == 8 and f"{report.lost_tokens:,} lost" in told.message
    name = {"shorten_log": "log lines left out", "cut_after_turn": "turns left out"}[policy]
    assert f"({made['long_rows'][name]} {name})" in told.message


def test_a_row_that_no_policy_saves_is_an_error(tmp_path: Path, renderer: Renderer) -> None:
    rows = [chat("Why?", "Because."), chat("Why?", LOG)]
    limit = too_long.Limit(renderer, CAPACITY)
    report = checked(tmp_path, rows, limit)
    assert (report.rows, report.faulty, report.formats) == (1, 1, {"openai-chat": 1})
    assert report.problems["unfit"].severity == "error"
    (told,) = report.problems["unfit"].examples
    with pytest.raises(InputError) as raised:
        packed(tmp_path, rows, renderer, PackSettings("sft", CAPACITY))
    assert (told.row, f"row 2: {told.message}") == (2, str(raised.value))


def test_texts_lose_nothing(tmp_path: Path, renderer: Renderer) -> None:
    row = {"instruction": "Explain it.", "log": "x", "output": LOG, "domain": "d"}
    report = checked(tmp_path, [{"text": "short"}, row], too_long.Limit(renderer, CAPACITY))
    made = packed(tmp_path, [{"text": "short"}, row], renderer, PackSettings("cpt", CAPACITY))
    assert (report.tokens, report.lost_tokens) == (made["tokens"], 0)
    assert f"cut into {made['samples'] - 1} pieces" in report.problems["too-long"].examples[0].message


def test_a_row_that_the_template_refuses_is_named_and_a_missing_template_stops(
    tmp_path: Path, renderer: Renderer
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(renderer.tokenizer.name_or_path)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' and 'no' in m.content %}{{ raise_exception('not that') }}"
        "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    rows = [chat("yes", "a"), chat("no", "b"), chat("yes", "c")]
    report = checked(tmp_path, rows, too_long.Limit(Renderer(tokenizer), CAPACITY))
    (told,) = report.problems["template"].examples
    assert (report.rows, report.faulty, told.row) == (2, 1, 2) and "not that" in told.message
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        checked(tmp_path, rows, too_long.Limit(Renderer(tokenizer), CAPACITY))
    assert not checked(tmp_path, [{"text": "a text"}], too_long.Limit(Renderer(tokenizer), CAPACITY)).problems
