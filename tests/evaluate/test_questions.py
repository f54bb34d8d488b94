"""Rows to questions: which turns, which rows of a suite, and folders of splits."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loglore.errors import InputError
from loglore.evaluate import questions, suites


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def chat(*turns: str, **meta: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)], "meta": meta}


def test_every_assistant_turn_is_asked_with_the_true_turns_before_it(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("a?", "A", "b?", "B", "c?", "C", chunk="x"), chat("d?", "D")])
    found = questions.read_questions(path)
    assert [(q.truth, q.turn, q.turns, q.row, q.chunk) for q in found] == [
        ("A", 1, 3, 1, "x"),
        ("B", 2, 3, 1, "x"),
        ("C", 3, 3, 1, "x"),
        ("D", 1, 1, 2, "row 2"),
    ]
    assert [message["content"] for message in found[2].messages] == ["a?", "A", "b?", "B", "c?"]
    assert [q.truth for q in questions.read_questions(path, "last")] == ["C", "D"]
    assert found[1].name.endswith("rows.jsonl: row 1, turn 2")


def test_a_call_of_a_tool_is_history_and_no_answer(tmp_path: Path) -> None:
    call = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turns = [
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": "", "tool_calls": call},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        {"role": "assistant", "content": "It is 42."},
    ]
    (found,) = questions.read_questions(write(tmp_path / "rows.jsonl", [{"messages": turns}]))
    assert (found.truth, len(found.messages), found.turns) == ("It is 42.", 3, 1)


def test_a_system_message_takes_the_place_of_the_rows_own(tmp_path: Path) -> None:
    row = {"system": "old", "instruction": "q", "output": "a"}
    path = write(tmp_path / "rows.jsonl", [row, {"instruction": "q", "output": "a"}])
    for found in questions.read_questions(path, system="new"):
        assert [(m["role"], m["content"]) for m in found.messages] == [("system", "new"), ("user", "q")]


def test_languages_are_those_said_or_guessed(tmp_path: Path) -> None:
    rows = [
        chat("a?", "ディスクが満杯です"),
        chat("a?", "磁盘已满"),
        chat("a?", "full"),
        chat("a?", "full", language="fr"),
    ]
    found = questions.read_questions(write(tmp_path / "rows.jsonl", rows))
    assert [question.language for question in found] == ["ja", "zh", "en", "fr"]


# In LogLM's style, our own words.
LOGLM = {
    "parsing": ["Convert these lines into standardized templates with <*> for what varies."],
    "anomaly": ["Classify each entry as normal or abnormal."],
    "interpretation": ["Interpret the log to determine the cause of the failure.", "What does this entry indicate?"],
    "root_cause": [
        "Identify and explain the root cause of the error.",
        "Find the root cause and why it was not resolved.",
    ],
    "solution": ["Describe the solution to the problem in the log.", "Provide a solution to the root cause found."],
}


def test_suites_know_their_tasks_by_the_instruction(tmp_path: Path) -> None:
    rows = [{"instruction": text, "input": "x", "output": "y"} for texts in LOGLM.values() for text in texts]
    found = questions.read_questions(write(tmp_path / "rows.jsonl", rows), suite=True)
    assert [question.task for question in found] == [task for task, texts in LOGLM.items() for _ in texts]
    assert {question.task for question in questions.read_questions(tmp_path / "rows.jsonl")} == {""}


def test_a_suite_row_of_no_known_task_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"instruction": "Sing.", "output": "la"}])
    with pytest.raises(InputError, match=r"rows\.jsonl: row 1: the instruction names none of the log tasks \(parsing"):
        questions.read_questions(path, suite=True)
    path = write(tmp_path / "rows.jsonl", [{"instruction": "Sing.", "output": "la", "meta": {"task": "solution"}}])
    assert questions.read_questions(path, suite=True)[0].task == "solution"


def test_tasks_and_rows_per_task_choose_the_same_rows_every_time(tmp_path: Path) -> None:
    rows = [chat(f"q{n}", f"a{n}", task="parsing" if n % 3 else "anomaly") for n in range(30)]
    path = write(tmp_path / "rows.jsonl", rows)
    found = questions.read_questions(path, per_task=4, seed=1)
    assert Counter(question.task for question in found) == {"parsing": 4, "anomaly": 4}
    assert found == questions.read_questions(path, per_task=4, seed=1)
    assert found != questions.read_questions(path, per_task=4, seed=2)
    assert [question.row for question in found] == sorted(question.row for question in found)
    assert len(questions.read_questions(path, tasks=["anomaly"], per_task=99)) == 10
    with pytest.raises(InputError, match="no row of task 'solution'; its tasks are anomaly, parsing"):
        questions.read_questions(path, tasks=["solution"])


def test_of_a_folder_of_splits_only_the_held_out_file_is_read(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        write(tmp_path / f"{name}.jsonl", [chat("q", name)])
    assert [question.truth for question in questions.read_questions(tmp_path)] == ["test"]
    assert [q.truth for q in questions.read_questions(tmp_path, split="validation")] == ["validation"]
    (tmp_path / "test.jsonl").rename(tmp_path / "test_no_json.json")
    assert [question.truth for question in questions.read_questions(tmp_path)] == ["test"]
    (tmp_path / "test_no_json.json").unlink()
    with pytest.raises(
        InputError, match=r"expected one file of split 'test' .*, found train\.jsonl, validation\.jsonl"
    ):
        questions.read_questions(tmp_path)


def test_a_draw_of_all_rows_keeps_them_all() -> None:
    assert suites.sample([1, 2, 3], ["a", "b", "a"], 5, 0) == [1, 2, 3]
