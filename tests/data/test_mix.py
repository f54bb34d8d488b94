import json
from collections import Counter
from pathlib import Path

import pytest

from loglore.data import files, general_text
from loglore.data.mix import Part, mix, parse_part
from loglore.data.shingles import windows
from loglore.errors import InputError


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def parts(tmp_path: Path) -> list[str]:
    return [
        write(tmp_path / "a.jsonl", [{"text": f"a{number:03d}" * 5, "meta": {"n": number}} for number in range(300)]),
        write(tmp_path / "b.jsonl", [{"text": f"b{number:03d}" * 50} for number in range(30)]),
    ]


def characters(rows: list[dict], letter: str) -> int:
    return sum(len(row["text"]) for row in rows if row["text"][0] == letter)


def test_shares_are_of_characters_and_nothing_is_repeated_by_default(tmp_path: Path, parts: list[str]) -> None:
    out = tmp_path / "mix.jsonl"
    drawn = mix([Part(parts[0], 2), Part(parts[1], 1)], out)
    rows = files.read_rows(out)
    assert characters(rows, "a") == drawn[0].characters == 6000
    assert characters(rows, "b") == drawn[1].characters
    assert 0 <= 3000 - drawn[1].characters < 200
    assert max(Counter(row["text"] for row in rows).values()) == 1
    assert rows[0].keys() <= {"text", "meta"} and {row["meta"]["n"] for row in rows if "meta" in row} == set(range(300))
    assert [one.times for one in drawn] == [1.0, 0.5]


def test_every_stretch_has_about_the_shares_of_the_whole(tmp_path: Path, parts: list[str]) -> None:
    mix([Part(parts[0], 1), Part(parts[1], 1)], tmp_path / "mix.jsonl")
    rows = files.read_rows(tmp_path / "mix.jsonl")
    quarter = rows[: len(rows) // 4]
    assert 0.3 < characters(quarter, "a") / sum(len(row["text"]) for row in quarter) < 0.7


def test_a_larger_total_repeats_and_says_how_often(tmp_path: Path, parts: list[str]) -> None:
    drawn = mix([Part(parts[0], 1), Part(parts[1], 1)], tmp_path / "mix.jsonl", characters=30_000)
    rows = files.read_rows(tmp_path / "mix.jsonl")
    assert (drawn[0].characters, drawn[0].times) == (15_000, 2.5)
    counts = Counter(row["text"] for row in rows if row["text"][0] == "a")
    assert set(counts.values()) == {2, 3} and len(counts) == 300


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path, parts: list[str]) -> None:
    contents = []
    for number, seed in enumerate((1, 1, 2)):
        mix([Part(path, 1) for path in parts], tmp_path / f"{number}.jsonl", seed)
        contents.append((tmp_path / f"{number}.jsonl").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_replay_is_general_text_that_forgetting_is_not_measured_on(tmp_path: Path, parts: list[str]) -> None:
    drawn = mix([Part(parts[0], 1)], tmp_path / "mix.jsonl", replay=0.25)
    rows = files.read_rows(tmp_path / "mix.jsonl")
    general = [row for row in rows if "pydoc" in str(row.get("meta"))]
    assert len(general) == drawn[1].rows > 0
    assert 0 <= 2000 - sum(len(row["text"]) for row in general) < 3000
    seen = set(windows(general_text.measured().encode(), 50).tolist())
    for piece in general_text.replayed():
        assert all(seen.isdisjoint(windows(paragraph.encode(), 50).tolist()) for paragraph in piece.split("\n\n"))
    assert sum(map(len, general_text.replayed())) > 200_000


def test_formats_follow_the_first_dataset(tmp_path: Path, parts: list[str]) -> None:
    alpaca = write(tmp_path / "alpaca.jsonl", [{"instruction": "q", "output": "answer"}])
    chat = write(
        tmp_path / "chat.jsonl",
        [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}],
    )
    nlplog = write(tmp_path / "n.jsonl", [{"instruction": "q", "log": "l", "output": "a", "domain": "d"}])
    mix([Part(alpaca, 1), Part(chat, 1)], tmp_path / "mix.jsonl", characters=20)
    assert all(row.keys() >= {"instruction", "output"} for row in files.read_rows(tmp_path / "mix.jsonl"))
    mix([Part(nlplog, 1), Part(parts[0], 1)], tmp_path / "mix.jsonl")
    assert "Human: q\nAssistant: a\n" in [row["text"] for row in files.read_rows(tmp_path / "mix.jsonl")]
    with pytest.raises(InputError, match=r"a.jsonl: row 1: `text`: expected `Human"):
        mix([Part(alpaca, 1), Part(parts[0], 1)], tmp_path / "mix.jsonl")
    with pytest.raises(InputError, match="replay is general text for a corpus"):
        mix([Part(alpaca, 1)], tmp_path / "mix.jsonl", replay=0.1)


@pytest.mark.parametrize("text", ["a=0", "a=-1", "a=x", "a=inf", "a=nan"])
def test_weights_are_positive_numbers(text: str) -> None:
    with pytest.raises(InputError, match="a weight above 0"):
        parse_part(text)


def test_nothing_to_mix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to mix"):
        mix([], tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="no rows to mix"):
        mix([Part(write(tmp_path / "e.jsonl", []), 1)], tmp_path / "out.jsonl")
