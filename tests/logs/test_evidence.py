"""Evidence: never over budget whatever the tokenizer, deterministic, honest about what it leaves out."""

import gzip
import random
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.logs.evidence import build
from loglore.logs.reader import table_of
from loglore.logs.table import LogTable, index
from loglore.logs.templates import Mined, mine

EXAMPLES = Path(__file__).parents[2] / "examples" / "logs"


def log(count: int = 400, source: str = "app.log") -> pl.DataFrame:
    """Ordinary lines with one error and its traceback at two thirds."""
    draw = random.Random(1)
    lines = [
        f"2026-11-22 10:{number // 60 % 60:02d}:{number % 60:02d} INFO shop: served /item/{draw.randrange(99)} in 3 ms"
        for number in range(count)
    ]
    at = count * 2 // 3
    lines[at : at + 3] = [
        "2026-11-22 10:20:00 ERROR shop: payment of order 77 failed",
        "Traceback (most recent call last):",
        "ConnectionRefusedError: [Errno 111] Connection refused",
    ]
    return table_of(lines, source)


def words(text: str) -> int:
    return len(text.split())


def awkward(text: str) -> int:
    """Not additive, as real tokenizers: borders between lines cost extra."""
    return len(text) // 3 + 2 * text.count("\n") + 5


MINED = mine(log())
TWO = mine(pl.concat([log(200, "a/web.log"), log(300, "b/db.log")]))


@settings(max_examples=60)
@given(st.integers(0, 3000), st.sampled_from([words, len, awkward]), st.sampled_from(["", "why did order 77 fail?"]))
def test_never_over_budget(budget: int, count: object, question: str) -> None:
    for mined in (MINED, TWO):
        try:
            evidence = build(mined, budget, count, question)  # type: ignore[arg-type]
        except InputError as fault:
            needed = int(re.findall(r"takes ([0-9]+)", str(fault))[0])
            assert needed > budget
            assert build(mined, needed, count, question).tokens <= needed  # type: ignore[arg-type]
            continue
        assert evidence.tokens == count(evidence.text) <= budget  # type: ignore[operator]
        assert evidence == build(mined, budget, count, question)  # type: ignore[arg-type]


@pytest.mark.parametrize("mined", [MINED, TWO])
def test_lines_shown_are_the_lines_of_the_log(mined: Mined) -> None:
    evidence = build(mined, 900, words)
    texts = {(source, line): text for source, line, text in mined.table.select("source", "line", "text").iter_rows()}
    names = {"app.log": "app.log", "web.log": "a/web.log", "db.log": "b/db.log"}
    shown = re.findall(r"^(?:([\w.]+):)?L([0-9]+)\|(.*)$", evidence.text, re.MULTILINE)
    places = [(names[name or "app.log"], int(line)) for name, line, _ in shown]
    assert places == evidence.lines
    assert [texts[place] for place in places] == [text for _, _, text in shown]
    assert evidence.omitted["lines"] == len(texts) - len(places) == evidence.omitted["lines_total"] - len(places)
    assert f"{len(places):,} of {len(texts):,} lines" in evidence.text


def test_the_error_is_shown_before_the_ordinary() -> None:
    evidence = build(MINED, 250, words)
    at = MINED.table.filter(pl.col("level") == "error")["line"][0]
    assert {("app.log", at), ("app.log", at + 1), ("app.log", at + 2)} <= set(evidence.lines)


def test_lines_and_values_that_the_question_names() -> None:
    assert ("app.log", 123) in build(MINED, 200, words, "What is on line 123?").lines
    mined = mine(table_of([f"client 10.0.0.{number} connected and said hello" for number in range(250)], "app.log"))
    assert ("app.log", 78) in build(mined, 100, words, "What did 10.0.0.77 do?").lines


def test_a_log_that_fits_is_shown_whole() -> None:
    mined = mine(log(30))
    evidence = build(mined, 10_000, words)
    assert len(evidence.lines) == 30
    assert evidence.omitted["lines"] == 0
    assert "All lines follow" in evidence.text


def test_long_lines_are_shortened_and_said_so() -> None:
    mined = mine(table_of(["short", "x" * 5000], "app.log"))
    evidence = build(mined, 2000, len)
    assert "(+4,400 characters)" in evidence.text
    assert evidence.omitted["shortened"] == 1


def test_an_empty_log() -> None:
    evidence = build(mine(table_of([])), 100, words)
    assert evidence.lines == []
    assert "0 lines" in evidence.text


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> LogTable:
    """The example logs eight times over, so that not all lines are candidates."""
    folder = tmp_path_factory.mktemp("disk")
    for path in sorted(EXAMPLES.glob("*.log")):
        (folder / path.name).write_bytes(path.read_bytes() * 8)
    return index([folder], folder.parent / f"{folder.name}-table", block_bytes=200_000)


@settings(max_examples=12)
@given(st.integers(40, 4000), st.sampled_from([words, awkward]), st.sampled_from(["", "why was alice refused?"]))
def test_a_table_on_disk_never_goes_over_budget(on_disk: LogTable, budget: int, count: object, question: str) -> None:
    try:
        evidence = build(on_disk, budget, count, question)  # type: ignore[arg-type]
    except InputError:
        return
    assert evidence.tokens == count(evidence.text) <= budget  # type: ignore[operator]
    assert evidence == build(on_disk, budget, count, question)  # type: ignore[arg-type]
    assert evidence.omitted["lines_total"] == on_disk.height
    assert evidence.omitted["lines"] == on_disk.height - len(evidence.lines)


def test_evidence_from_disk_shows_true_lines_and_what_is_asked(on_disk: LogTable) -> None:
    evidence = build(on_disk, 3000, words, "What happened to alice, and on line 300?")
    texts = {(row["source"], row["line"]): row["text"] for row in on_disk.rows(evidence.lines).iter_rows(named=True)}
    names = {source.rsplit("/", 1)[1]: source for source in on_disk.sources}
    shown = re.findall(r"^([\w.-]+):L([0-9]+)\|(.*)$", evidence.text, re.MULTILINE)
    assert len(shown) == len(evidence.lines) > 40
    for name, line, text in shown:
        assert texts[names[name], int(line)].startswith(text[:600].split("… (+")[0])
    assert any("alice" in text for _, _, text in shown)
    assert any(line == "300" for _, line, _ in shown)
    assert any("fatal: Cannot bind any address" in text for _, _, text in shown)


def test_what_is_partial_is_said(tmp_path: Path) -> None:
    content = "".join(f"line {number} of the log {number * 7919 % 10007}\n" for number in range(9000)).encode()
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(content)[:-50])
    text = build(index([tmp_path / "a.log.gz"], tmp_path / "table"), 200, words).text
    assert "partial: damaged or truncated .gz archive" in text
