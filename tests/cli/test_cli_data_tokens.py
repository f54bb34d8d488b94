import json
from pathlib import Path

import pytest
from support_tiny import TEXTS
from typer.testing import CliRunner

from loglore.cli.data_tokens import app
from loglore.data.packed import damage
from loglore.errors import InputError
from loglore.models.load import load_tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_tokens_counts_and_draws(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("--max-sequence-length", 64, "--step", 2, "--epochs", 3, "--png", tmp_path / "lengths.png")
    found = json.loads(call("tokens", corpus, "--tokenizer", tiny_model, *options, "--json"))
    tokenizer = load_tokenizer(tiny_model)
    lengths = [len(tokenizer(text)["input_ids"]) + 1 for text in TEXTS]
    assert found["rows"] == len(TEXTS) and found["tokens"] == sum(lengths) and found["longest"] == max(lengths)
    assert found["packed"]["steps"] == -(-found["packed"]["rows"] // 2) * 3
    assert (tmp_path / "lengths.png").read_bytes().startswith(b"\x89PNG")
    text = call("tokens", corpus, "--tokenizer", tiny_model)
    assert f"{len(TEXTS)} samples, {sum(lengths):,} tokens" in text


def test_pack_writes_once_and_says_where(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("pack", corpus, "--tokenizer", tiny_model, "--out", tmp_path / "packed", "--max-sequence-length", 64)
    first = json.loads(call(*options, "--json"))
    folder = Path(first["folder"])
    assert damage(folder) is None and first["samples"] == len(TEXTS)
    written = (folder / "tokens.npy").stat().st_mtime_ns
    assert f"{folder}: {len(TEXTS)} samples" in call(*options)
    assert (folder / "tokens.npy").stat().st_mtime_ns == written


def test_conversations_take_the_policy_that_was_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    question = "What?\n\nLog content:\n" + "\n".join(TEXTS[:8])
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "The disk."}]
    path.write_text(json.dumps({"conversations": turns}) + "\n")
    options = ("pack", path, "--tokenizer", tiny_model, "--out", tmp_path / "packed", "--max-sequence-length", 100)
    assert "rows shortened: 1" in call(*options)
    with pytest.raises(InputError, match=r"chats\.jsonl: row 1: \d+ tokens, more than"):
        call(*options, "--long-rows", "refuse")
