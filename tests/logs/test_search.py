"""Search against a brute-force oracle on the lines, with every operator, filter and border of words."""

import datetime
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.logs import fulltext, query, table
from loglore.logs.reader import split_lines, table_of
from loglore.logs.search import Filters, moment, search
from loglore.logs.table import LogTable
from loglore.logs.templates import mine

EXAMPLES = Path(__file__).parents[2] / "examples" / "logs"
LINES = [
    "2026-11-22 10:00:00 INFO net: connect 10.0.0.5:8080 refused",
    "2026-11-22 10:00:01 ERROR net: connect 110.0.0.5 refused",
    "2026-11-22 10:00:02 INFO net: connect 10.0.0.50 accepted",
    "2026-11-22 10:00:03 WARN disk: /var/log/x is full, see /var/log/xy",
    "2026-11-22 10:00:04 INFO hdfs: block blk_123 of blk_1234",
    "2026-11-22 10:00:05 INFO app: connection_refused (code=7)",
    "2026-11-22 10:00:06 INFO app: version 10.0.0.5.1 and Version 3.5.",
    "2026-11-22 10:00:07 INFO app: ログerror発生 ERROR",
    "2026-11-22 10:00:08 INFO app: GRÖSSE größe groß 10.0.0.5.",
    "    at a.b.C(D.java:10)",
    "",
]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> LogTable:
    """The lines above, many times over among others, in shards of a few blocks."""
    folder = tmp_path_factory.mktemp("search")
    ordinary = [
        f"2026-11-22 11:{n // 60 % 60:02d}:{n % 60:02d} INFO shop: order {n} done in {n % 7}.5 ms" for n in range(6000)
    ]
    lines = ordinary[:3000] + LINES + ordinary[3000:] + LINES
    (folder / "app.log").write_text("\n".join(lines), encoding="utf-8")
    return table.index([folder / "app.log"], folder / "table", block_bytes=150_000)


@pytest.fixture(scope="module")
def texts(log: LogTable) -> list[str]:
    return log.frame().collect()["text"].to_list()


def has(line: str, term: query.Term) -> bool:
    """Brute force, with the look-arounds that the searching library lacks."""
    body = r"\s+".join(re.escape(part) for part in term.text.split())
    first, last = term.text[0], term.text[-1]
    before = r"(?<![0-9a-z])" if re.match("[0-9a-z]", first) else ""
    before += r"(?<![0-9]\.)" if first.isascii() and first.isdigit() else ""
    after = r"(?![0-9a-z])" if re.match("[0-9a-z]", last) else ""
    after += r"(?!\.[0-9])" if last.isascii() and last.isdigit() else ""
    return re.search(before + body + ("" if term.prefix else after), line.lower()) is not None


def oracle(lines: list[str], text: str) -> list[int]:
    wanted = query.parse(text)
    return [
        number
        for number, line in enumerate(lines, 1)
        if any(all(has(line, term) != term.negated for term in group) for group in wanted)
    ]


QUERIES = [
    "10.0.0.5", "10.0.0", "5", "blk_123", "/var/log/x", "refused", "connect refused", '"connect 10.0.0.5"', "conn*",
    "10.0.0*", "refused -connect", "refused NOT 10.0.0.5", "blk_123 OR full", "error", "ERROR -ログ", "größe", "GRÖSSE",
    "発生", "(code=7)", "C(D.java:10)", "order 2999", "order", "3.5", "3.5.", "nothing like it", "x*", "10:00:04",
    "ms AND 17", '"is   full"', "größ*", "a.b.c", "10.0.0.5.1", "-connect refused", "*", "code=",
    "10.0.0.*", ".0.0.5", "10.0.0.", ".0.0.5*",
]  # fmt: skip


@pytest.mark.parametrize("text", QUERIES)
def test_every_query_finds_what_brute_force_finds(log: LogTable, texts: list[str], text: str) -> None:
    found = search(log, text, limit=10_000)
    assert found.rows["line"].to_list() == oracle(texts, text)
    assert found.total == found.rows.height


WORDS = st.sampled_from(
    [
        "10.0.0.5",
        "0.5",
        "refused",
        "connect",
        "order",
        "17",
        "blk",
        "_123",
        "/var",
        "log/x",
        "é",
        "größe",
        "ms",
        "5 ms",
        "java:10",
    ]
)
TERMS = st.tuples(st.sampled_from(["", "-", "NOT "]), WORDS, st.sampled_from(["", "*"])).map("".join)


@settings(max_examples=60)
@given(st.lists(TERMS | st.just("OR"), min_size=1, max_size=4).map(" ".join))
@example('"connect 10.0.0.5:8080" OR blk_1*')
def test_any_query(log: LogTable, texts: list[str], text: str) -> None:
    try:
        query.parse(text)
    except InputError:
        return
    assert search(log, text, limit=100_000).rows["line"].to_list() == oracle(texts, text)


@settings(max_examples=25)
@given(
    st.lists(st.text("a1.é_ -/:K", max_size=9), min_size=1, max_size=8), st.text("a1.é_-/:k", min_size=1, max_size=4)
)
def test_any_lines_and_word(tmp_path_factory: pytest.TempPathFactory, lines: list[str], word: str) -> None:
    if re.fullmatch(r"-+|[^\S]*", word) or word.startswith("-"):
        return
    folder = tmp_path_factory.mktemp("any")
    content = ("\n".join(lines) + "\n").encode()
    (folder / "a.log").write_bytes(content)
    found = table.index([folder / "a.log"], folder / "table", block_bytes=8)
    assert search(found, word, limit=1000).rows["line"].to_list() == oracle(split_lines(content), word)


def test_rare_words_read_few_blocks(log: LogTable) -> None:
    found = search(log, "order 2999")
    assert found.total == 1
    assert found.blocks[0] <= 3 < found.blocks[1]
    address = search(log, "10.0.0.5")
    assert address.total == 4
    assert address.blocks[0] <= 4 < address.blocks[1]


def test_results_are_cut_in_line_order_and_said_so(log: LogTable) -> None:
    found = search(log, "order done", limit=50)
    assert found.rows["line"].to_list() == list(range(1, 51))
    assert found.account() == "50 of 6,000 matches"
    assert found.templates[0][1] == 6000
    assert search(log, "nothing like it").account() == "no matches"
    assert search(log, "blk_123").account() == "all 2 matches"


def test_filters(log: LogTable) -> None:
    def lines(text: str, **filters: object) -> list[str]:
        return search(log, text, Filters(**filters)).rows["text"].to_list()  # type: ignore[arg-type]

    assert lines("refused", level="error") == [LINES[1]] * 2
    assert lines("", level="warning") == [LINES[1], LINES[3]] * 2
    start = datetime.datetime(2026, 11, 22, 10, 0, 3)
    assert lines("info", start=start, end=start + datetime.timedelta(seconds=2)) == [LINES[4], LINES[5]] * 2
    assert lines("", fields=(("component", "hdfs"),)) == [LINES[4]] * 2
    found = search(log, "full").rows["template"][0]
    assert lines("", templates=(found,)) == [LINES[3]] * 2
    assert len(lines("refused", sources=("app.log",))) == 6
    for filters, message in (
        ({"sources": ("web",)}, "the log's files are"),
        ({"templates": ("T999",)}, "the log has T1 to"),
        ({"level": "loud"}, "expected one of trace"),
    ):
        with pytest.raises(InputError, match=message):
            lines("refused", **filters)


def test_times_as_people_write_them(log: LogTable) -> None:
    assert moment("2026-11-22T11:00:00+01:00", log) == datetime.datetime(2026, 11, 22, 10)
    assert moment("2026-11-22", log) == datetime.datetime(2026, 11, 22)
    assert moment("10:30", log) == datetime.datetime(2026, 11, 22, 10, 30)
    with pytest.raises(InputError, match="expected 2026-11-22"):
        moment("noon", log)


def test_a_clock_time_is_the_last_such_in_the_log() -> None:
    log = mine(table_of(["2026-11-21 22:00:00 INFO a: b", "2026-11-22 02:40:00 INFO a: b"]))
    assert moment("23:00", log) == datetime.datetime(2026, 11, 21, 23)
    assert moment("22:00", log) == datetime.datetime(2026, 11, 21, 22)
    assert moment("01:00", log) == datetime.datetime(2026, 11, 22, 1)
    assert moment("03:00", log) == datetime.datetime(2026, 11, 22, 3)


@pytest.mark.parametrize("text", ["-only", '"open', "a OR", "NOT a"])
def test_queries_that_say_nothing(log: LogTable, text: str) -> None:
    with pytest.raises(InputError, match="search"):
        search(log, text)


def test_search_over_many_sources_and_after_an_update(tmp_path: Path) -> None:
    found = table.index([EXAMPLES], tmp_path / "table")
    frame = found.frame().collect()
    for text in ("refused", "10.20.1.31", "shop*", '"connection authorized"'):
        places = search(found, text, limit=10**6).rows.select("source", "line").rows()
        wanted = oracle(frame["text"].to_list(), text)
        assert places == [frame.select("source", "line").row(number - 1) for number in wanted]
    path = tmp_path / "grow.log"
    path.write_text("alpha one\nbeta")
    grown = table.index([path], tmp_path / "grown")
    path.write_text("alpha one\nbeta two\nalpha three\n")
    grown = grown.update()
    assert search(grown, "alpha").rows["line"].to_list() == [1, 3]
    assert search(grown, "beta two").total == 1


def test_blocks_hold_the_words_of_their_lines() -> None:
    import polars as pl

    lines = [f"word{number} at 10.0.{number // 256}.{number % 256}" for number in range(2500)]
    blocks = fulltext.texts(pl.Series(lines))
    assert len(blocks) == 3
    assert "10z0z4z0" in blocks[1].split()
    assert "word1023" in blocks[0] and "word1024" in blocks[1]
