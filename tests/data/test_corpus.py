import json
from pathlib import Path

import pytest

from loglore.data.corpus import build_corpus, check_same_mining, held_out_templates
from loglore.errors import InputError


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def nlplog(key: str, mentions: tuple[str, ...] = (), number: int = 0) -> dict:
    return {
        "instruction": f"Explain {key} {number}",
        "log": key,
        "output": f"It is {key}.",
        "domain": "db",
        "meta": {"template": key, "templates": [key, *mentions]},
    }


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write(
        tmp_path / "nlplog.jsonl", [nlplog(f"t{n}", ("t0",) if n == 5 else (), q) for n in range(40) for q in range(5)]
    )


def test_rows_that_speak_of_held_out_events_stay_out(tmp_path: Path, rows: Path) -> None:
    chunks = write(
        tmp_path / "chunks.jsonl",
        [
            {"split": "test", "templates": ["t0", "t1"]},
            {"split": "validation", "templates": ["t2"]},
            {"split": "train", "templates": ["t3"]},
        ],
    )
    held_out = held_out_templates(chunks)
    assert held_out == {"t0", "t1", "t2"}
    corpus = build_corpus(rows, held_out, 0.1, 7, None)
    for row in corpus.train + corpus.validation:
        assert not held_out & set(row["meta"]["templates"])
    assert corpus.left_out == {"speaks of a held-out event": 20}  # t0, t1, t2, and t5 which names t0
    assert len(corpus.train) + len(corpus.validation) == 180


def test_no_template_is_on_both_sides(rows: Path) -> None:
    corpus = build_corpus(rows, set(), 0.2, 7, None)
    sides = [{row["meta"]["template"] for row in side} for side in (corpus.train, corpus.validation)]
    assert len(sides[1]) == 8 and not sides[0] & sides[1]


def test_cut_is_counted(rows: Path) -> None:
    corpus = build_corpus(rows, set(), 0, 7, 1000)
    total = sum(len(row["text"]) for row in corpus.train)
    assert 900 < total <= 1000
    assert corpus.left_out == {"beyond max_characters": 200 - len(corpus.train)}


def test_faults_name_the_row(tmp_path: Path, rows: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", [nlplog("a"), {"instruction": "x", "log": "", "output": "", "domain": ""}])
    with pytest.raises(InputError, match=r"bad\.jsonl: row 2: `output`"):
        build_corpus(bad, set(), 0, 7, None)
    with pytest.raises(InputError, match="no row is left"):
        build_corpus(rows, {f"t{n}" for n in range(40)}, 0, 7, None)
    with pytest.raises(InputError, match=r"row 1: expected the fields `split` and `templates`"):
        held_out_templates(write(tmp_path / "c.jsonl", [{"split": "test"}]))


def test_rows_of_another_mining_are_refused(tmp_path: Path, rows: Path) -> None:
    known = write(tmp_path / "known.jsonl", [{"split": "train", "templates": [f"t{n}" for n in range(20)]}])
    check_same_mining(rows, known)
    other = write(tmp_path / "other.jsonl", [{"split": "test", "templates": [f"t{n}" for n in range(19)]}])
    with pytest.raises(InputError, match=r"nlplog\.jsonl: 105 of 200 rows name templates that no chunk"):
        check_same_mining(rows, other)
