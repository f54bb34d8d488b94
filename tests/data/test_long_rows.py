"""Rows beyond the limit: the answers stay whole, the log loses lines, and everything is counted."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_tiny import build_tokenizer
from transformers import AutoTokenizer

from loglore.data import long_rows
from loglore.data.frame import log_of, student_prompt
from loglore.data.render import Conversation, Renderer
from loglore.errors import InputError


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return Renderer(AutoTokenizer.from_pretrained(folder))


def conversation(lines: list[str], answers: tuple[str, ...] = ("The disk is full.",)) -> Conversation:
    turns = []
    for number, answer in enumerate(answers):
        question = f"Question {number}?"
        turns.append({"role": "user", "content": question if number else student_prompt(question, "\n".join(lines))})
        turns.append({"role": "assistant", "content": answer})
    return Conversation(turns)


def fitted(row: Conversation, capacity: int, policy: str, renderer: Renderer) -> tuple[str, dict[str, int]]:
    """Text of the row after the policy, and what was counted."""
    limit = long_rows.Limit(capacity, policy)
    (before,) = renderer.encode([renderer.mark(row.turns)])
    (after,) = long_rows.fit([("chats.jsonl: row 7", row)], [before], limit, renderer)
    assert len(after.ids) <= capacity
    return renderer.tokenizer.decode(after.ids), dict(limit.counts)


def length(row: Conversation, renderer: Renderer) -> int:
    return len(renderer.encode([renderer.mark(row.turns)])[0].ids)


LINES = [f"10:{minute:02d} event {'x' * (minute % 7)} happened" for minute in range(40)]


def test_worked_example_of_the_header(renderer: Renderer) -> None:
    lines = ["10:00 start", "10:01 retry", "10:02 retry", "10:03 failed"]
    kept = [lines[0], "[2 log lines left out]", lines[3]]
    text, counts = fitted(conversation(lines), length(conversation(kept), renderer), "shorten_log", renderer)
    assert "Log content:\n" + "\n".join(kept) + "<|im_end|>" in text
    assert counts == {"rows shortened": 1, "log lines left out": 2}


@given(lines=st.lists(st.text("ab 01:[\t.", max_size=30), min_size=5, max_size=60), share=st.floats(0.3, 0.99))
def test_log_loses_lines_in_the_middle_and_nothing_else(renderer: Renderer, lines: list[str], share: float) -> None:
    row = conversation(["start", *lines, "end"], ("First answer.", "Second answer."))
    whole = length(row, renderer)
    frame = length(
        conversation(["start", "[60 log lines left out]", "end"], ("First answer.", "Second answer.")), renderer
    )
    text, counts = fitted(row, max(int(whole * share), frame + 8), "shorten_log", renderer)
    if not counts:
        return
    found = [turn.partition("<|im_end|>")[0] for turn in text.split("<|im_start|>")[1:]]
    assert found[1:] == ["assistant\nFirst answer.", "user\nQuestion 1?", "assistant\nSecond answer."]
    original = log_of(row.turns[0]["content"]).split("\n")
    kept = log_of(found[0]).split("\n")
    (note,) = [number for number, line in enumerate(kept) if re.fullmatch(r"\[\d+ log lines? left out\]", line)]
    head, tail = kept[:note], kept[note + 1 :]
    left_out = len(original) - len(head) - len(tail)
    assert original[: len(head)] == head and original[len(original) - len(tail) :] == tail
    assert kept[note] == long_rows.note(left_out)
    assert counts == {"rows shortened": 1, "log lines left out": left_out}


def test_most_of_the_room_is_used(renderer: Renderer) -> None:
    capacity = length(conversation(LINES), renderer) * 2 // 3
    text, _ = fitted(conversation(LINES), capacity, "shorten_log", renderer)
    longest = max(renderer.token_counts([f"{line}\n" for line in LINES]))
    assert len(renderer.tokenizer(text)["input_ids"]) > capacity - 2 * longest


def test_rows_that_fit_are_left_alone(renderer: Renderer) -> None:
    row = conversation(LINES[:3])
    (before,) = renderer.encode([renderer.mark(row.turns)])
    for policy in get_args(long_rows.Policy):
        limit = long_rows.Limit(len(before.ids), policy)
        assert long_rows.fit([("row 1", row)], [before], limit, renderer)[0] is before
        assert not limit.counts


def test_conversation_ends_after_the_last_exchange_that_fits(renderer: Renderer) -> None:
    row = conversation(LINES[:5], ("First.", "Second.", "Third, which is a little longer."))
    two = Conversation(row.turns[:4])
    for capacity in (length(two, renderer), length(row, renderer) - 1):
        text, counts = fitted(row, capacity, "cut_after_turn", renderer)
        assert text == renderer.tokenizer.apply_chat_template(two.turns, tokenize=False)
        assert counts == {"rows cut": 1, "turns left out": 2}


def test_conversation_is_not_cut_between_a_tool_call_and_its_answer(renderer: Renderer) -> None:
    turns = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "First."},
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "search disk"},
        {"role": "tool", "content": "10:00 disk full"},
        {"role": "assistant", "content": "The disk is full."},
    ]
    row = Conversation(turns)
    text, counts = fitted(row, length(row, renderer) - 1, "cut_after_turn", renderer)
    assert text == renderer.tokenizer.apply_chat_template(turns[:2], tokenize=False)
    assert counts == {"rows cut": 1, "turns left out": 4}


@pytest.mark.parametrize(
    ("row", "policy", "message"),
    [
        (conversation(LINES), "refuse", r"raise it, drop the row, or let long rows be shortened"),
        (conversation(LINES), "cut_after_turn", "its first exchange is too long already"),
        (conversation(LINES[:2], ("word " * 200,)), "shorten_log", "no line of its log would fit"),
        (
            Conversation([{"role": "user", "content": "a\nb\n" * 99}, {"role": "assistant", "content": "x"}]),
            "shorten_log",
            "no log to shorten",
        ),
    ],
)
def test_what_cannot_be_brought_within_the_limit_is_an_error(row, policy, message: str, renderer: Renderer) -> None:
    with pytest.raises(
        InputError, match=rf"chats\.jsonl: row 7: \d+ tokens, more than `max_sequence_length` 60.*{message}"
    ):
        fitted(row, 60, policy, renderer)


def test_the_right_rows_of_a_batch_are_shortened(renderer: Renderer) -> None:
    rows = [("row 1", conversation(LINES[:3])), ("row 2", conversation(LINES)), ("row 3", conversation(LINES[:4]))]
    rendered = renderer.encode([renderer.mark(row.turns) for _, row in rows])
    limit = long_rows.Limit(len(rendered[2].ids) + 40, "shorten_log")
    fitted_rows = long_rows.fit(rows, rendered, limit, renderer)
    assert fitted_rows[0] is rendered[0] and fitted_rows[2] is rendered[2]
    assert len(fitted_rows[1].ids) <= limit.capacity
    assert limit.counts["rows shortened"] == 1
