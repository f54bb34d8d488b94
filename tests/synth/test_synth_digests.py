"""Rows with digests: what the student sees in training is what the chat shows, and answers keep to it."""

import json
import re
from pathlib import Path

import pytest

from loglore.ask.answer import read_log
from loglore.data.frame import log_of, student_prompt
from loglore.logs import evidence
from loglore.runs.folder import RunFolder
from loglore.synth import chat, writers

ROOT = Path(__file__).parents[2]
BUDGET = 500


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("digests")
    logs = [str(ROOT / "examples" / "logs" / f"{name}.log") for name in ("supervisor", "nginx-error", "redis", "sshd")]
    values = {
        "logs": logs, "seed": 3, "test_chunks": 8, "validation_chunks": 4, "test_rows": 24, "validation_rows": 6,
        "train_rows": 90, "evidence_share": 0.6, "evidence_tokens": BUDGET, "evidence_lines": 150,
        "tasks": ["root_cause", "summary", "patterns", "comparison", "conversation", "alert"],
    }  # fmt: skip
    return folder, chat.run(chat.ChatSpec.parse(values, "recipe"), RunFolder(folder, {}))


def rows_of(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_the_share_is_kept_and_the_rest_is_plain(made: tuple[Path, dict]) -> None:
    rows = rows_of(made[0], "train")
    digests = [row for row in rows if "evidence" in row["meta"]]
    assert 0.3 * len(rows) < len(digests) <= round(0.6 * len(rows))
    assert any(row["meta"]["evidence"]["omitted"] for row in digests)
    assert any(not row["meta"]["evidence"]["omitted"] for row in digests)
    assert made[1]["notes"]["digests"] == sum(
        "evidence" in row["meta"] for name in chat.SPLITS for row in rows_of(made[0], name)
    )


def test_a_digest_row_is_what_the_chat_would_show(made: tuple[Path, dict], tmp_path: Path) -> None:
    for row in [row for row in rows_of(made[0], "train") if "evidence" in row["meta"]][:25]:
        meta = row["meta"]
        lines = (ROOT / "examples" / "logs" / meta["source"]).read_text().split("\n")
        own = tmp_path / meta["source"]
        own.write_text("\n".join(lines[meta["lines"][0] - 1 : meta["lines"][1]]) + "\n")
        prompt = row["conversations"][0]["value"]
        question = prompt.split("\n\nLog content:\n")[0]
        shown = evidence.build(read_log([own]), BUDGET, writers.tokens, question)
        assert prompt == student_prompt(question, shown.text)
        assert writers.tokens(shown.text) <= BUDGET


def test_no_line_of_a_held_out_window_is_in_training(made: tuple[Path, dict]) -> None:
    lines = {
        name: {
            (row["meta"]["source"], line)
            for row in rows_of(made[0], name)
            for line in range(row["meta"]["lines"][0], row["meta"]["lines"][1] + 1)
        }
        for name in chat.SPLITS
    }
    assert not lines["train"] & (lines["test"] | lines["validation"])
    assert not lines["test"] & lines["validation"]


def test_answers_keep_to_what_is_shown(made: tuple[Path, dict]) -> None:
    checked = 0
    for name in chat.SPLITS:
        for row in rows_of(made[0], name):
            if not row["meta"].get("evidence", {}).get("omitted"):
                continue
            shown = " ".join(log_of(row["conversations"][0]["value"]).split()).lower()
            for turn in row["conversations"][1::2]:
                said = turn["value"]
                if row["meta"]["task"] == "alert":
                    said = "\n".join(json.loads(said)["summary"])
                for quote in re.findall(r"`([^`\n]+)`", said):
                    assert " ".join(quote.split()).lower() in shown, (quote, row)
                    checked += 1
                for number in re.findall(r"\bL([0-9]+)\b", said):
                    assert re.search(rf"\bl{number}\b", shown), (number, row)
                for clock in re.findall(r"\b[0-9]{2}:[0-9]{2}:[0-9]{2}\b", said):
                    assert clock in shown
                for address in re.findall(r"\b[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+\b", said):
                    assert address in shown
    assert checked > 40
    assert made[1]["grounding"]["contradicted"] == 0


def test_the_same_seed_gives_the_same_rows(made: tuple[Path, dict], tmp_path: Path) -> None:
    spec = chat.ChatSpec.parse(
        {
            "logs": [str(ROOT / "examples" / "logs" / "redis.log")], "test_chunks": 1, "validation_chunks": 1,
            "test_rows": 2, "validation_rows": 2, "train_rows": 12, "evidence_share": 1.0,
        },
        "recipe",
    )  # fmt: skip
    for name in ("a", "b"):
        chat.run(spec, RunFolder(tmp_path / name, {}))
    assert (tmp_path / "a" / "train.jsonl").read_bytes() == (tmp_path / "b" / "train.jsonl").read_bytes()


def test_a_models_tokenizer_counts(tiny_model: Path, tmp_path: Path) -> None:
    from loglore.models.load import load_tokenizer

    spec = {
        "logs": [str(ROOT / "examples" / "logs" / "redis.log")], "test_chunks": 1, "validation_chunks": 1,
        "test_rows": 0, "validation_rows": 0, "train_rows": 10, "evidence_share": 1.0, "evidence_tokens": 700,
        "tokenizer": str(tiny_model),
    }  # fmt: skip
    chat.run(chat.ChatSpec.parse(spec, "recipe"), RunFolder(tmp_path, {}))
    tokenizer = load_tokenizer(tiny_model)
    sizes = [
        len(tokenizer(log_of(row["conversations"][0]["value"]), add_special_tokens=False)["input_ids"])
        for row in rows_of(tmp_path, "train")
        if "evidence" in row["meta"]
    ]
    assert sizes
    assert max(sizes) <= 700
