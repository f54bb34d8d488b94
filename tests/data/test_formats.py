import gzip
import json
from pathlib import Path

import pytest

from loglore.data import files, formats, frame
from loglore.errors import InputError

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Disk full."}]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"instruction": "Why?", "input": "", "output": "Disk full."}, "alpaca"),
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Disk full."}]}, "sharegpt"),
        ({"messages": CHAT}, "openai-chat"),
        (
            {
                "conversations": [{"from": "human", "value": "Why?"}],
                "chosen": {"from": "gpt", "value": "Disk full."},
                "rejected": {"from": "gpt", "value": "No idea."},
            },
            "sharegpt-dpo",
        ),
    ],
)
def test_chat_formats_lead_to_the_same_messages(row: dict, kind: str) -> None:
    assert formats.detect(row) == kind
    assert formats.to_messages(row) == CHAT


def test_nlplog_row_becomes_the_tutorials_corpus_text() -> None:
    row = {"instruction": "Explain: x", "log": "x", "output": "It is x.", "domain": "db"}
    assert formats.to_corpus(row) == "Human: Explain: x\nAssistant: It is x.\n"
    assert formats.to_corpus({"text": "as it is"}) == "as it is"


def calling(calls: object, role: str = "assistant") -> dict:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    turns[role == "assistant"]["tool_calls"] = calls  # type: ignore[assignment]
    return {"messages": turns}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"foo": 1}, r"fields \['foo'\] fit no format"),
        ({"conversations": []}, "expected a list of turns"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "unknown role 'robot'"),
        ({"conversations": [{"from": "human", "value": " "}]}, "empty turn"),
        ({"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]}, "user first"),
        ({"conversations": [{"from": "human", "value": "x"}]}, "user and assistant in turn"),
        ({"instruction": "x", "output": None}, "`output`: expected a text"),
        ({"text": "x"}, "no chat messages"),
        (calling("x"), r"`messages\[2\]\.tool_calls`: expected a list"),
        (calling([{}]), r"`messages\[2\]\.tool_calls`: expected a list"),
        (calling([{"function": {"name": "f", "arguments": "{x"}}]), "arguments of `f` are not JSON"),
        (calling([{"function": {"name": "f", "arguments": "[1]"}}]), "arguments of `f`: expected an object"),
        (calling([{"function": {"name": "f"}}], role="user"), "only an assistant calls"),
    ],
)
def test_bad_rows_say_what_was_expected(row: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        formats.to_messages(row)


def test_rows_are_read_from_lines_arrays_and_gzip(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b"}, {"text": "c"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "a.jsonl").write_text(lines + "\n\n", encoding="utf-8")
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(rows), encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for name in ("a.jsonl", "a.json", "a.jsonl.gz"):
        assert files.read_rows(tmp_path / name) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": ', r"rows\.jsonl: row 2: not JSON"),
        (b'{"text": "a"}\n[1]\n', r"rows\.jsonl: row 2: expected an object, found list"),
        (b'{"text": "a"}\n{"text": "\xff"}\n', r"rows\.jsonl: row 2: not UTF-8"),
        (b'[{"text": "a"}, 3]', r"rows\.jsonl: row 2: expected an object, found a number"),
    ],
)
def test_damaged_files_name_file_and_row(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        files.read_rows(path)


def test_damaged_gzip_and_missing_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}')[:-6])
    with pytest.raises(InputError, match=r"a\.jsonl\.gz: damaged gzip"):
        files.read_rows(tmp_path / "a.jsonl.gz")
    with pytest.raises(InputError, match="no such file"):
        files.read_rows(tmp_path / "none.jsonl")


def test_log_comes_back_out_of_the_student_prompt() -> None:
    prompt = frame.student_prompt("What failed? ", "10:00 disk full\n10:01 Log content: none\n")
    assert prompt == "What failed?\n\nLog content:\n10:00 disk full\n10:01 Log content: none"
    assert frame.log_of(prompt) == "10:00 disk full\n10:01 Log content: none"
