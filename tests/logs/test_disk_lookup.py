"""Look-ups and grounding on a table on disk give what they give in memory; what cannot be checked is not judged."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.logs import disk_lookup, grounding, table
from loglore.logs.disk_lookup import TableIndex, TooManyError
from loglore.logs.lookup import LogIndex

EXAMPLES = Path(__file__).parents[2] / "examples" / "logs"
LOGS = [EXAMPLES / name for name in ("sshd.log", "shopapp.log", "squid-access.log")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[TableIndex, LogIndex]:
    """The same logs on disk, in many shards, and in memory."""
    log = table.index(LOGS, tmp_path_factory.mktemp("lookup") / "table", block_bytes=20_000)
    return TableIndex(log), LogIndex(log.mined().table)


PHRASES = (
    "Failed password", "onnection closed by rem", "kex_exchange_identification: Connection", "for <*> from 10.20.1.37",
    "port 2222.", "not in any log", "GET /", "… port 34664 on", "ERROR", "a", "Traceback (most recent call last)", "",
)  # fmt: skip
ENTITIES = (
    "10.20.1.37",
    "10.20.1.3",
    "0.20.1.37",
    "/srv/shop/ssh/keys",
    "sshd[130]",
    "34664",
    "1.3",
    "alice",
    "é",
    "gate01",
)


def test_the_same_answers_as_in_memory(pair: tuple[TableIndex, LogIndex]) -> None:
    disk, memory = pair
    for phrase in PHRASES:
        assert disk.find(phrase) == memory.find(phrase), phrase
        assert not phrase or disk.occurrences(phrase) == memory.occurrences(phrase)
    for value in ENTITIES:
        assert disk.find_entity(value) == memory.find_entity(value), value
    for number in ("2222", "130", "7", "99999"):
        assert disk.find_number(number) == memory.find_number(number)
    for code in (3, 42, 21):
        assert disk.find_code(code) == memory.find_code(code)
    for day, clock in ((None, "20:34:30"), (None, "20:35:13,055"), ("2026-11-22", "20:35:20"), (None, "01:02:03")):
        assert disk.find_time(day, clock) == memory.find_time(day, clock), clock
    assert disk.of_level("error", "fatal") == memory.of_level("error", "fatal")
    assert disk.of_template("T3") == memory.of_template("T3") != ()
    assert disk.of_template("T99999") == ()
    assert disk.has_clock == memory.has_clock
    assert disk.sources == memory.sources
    assert disk.table.height == memory.table.height
    for place in list(memory.places)[::101]:
        assert place in disk.places
        assert disk.text_at(place) == memory.text_at(place)
        assert disk.events[place] == memory.events[place]
        assert disk.order[place] == memory.order[place]
    assert dict(disk.events.items()) == memory.events
    assert (disk.sources[0], 0) not in disk.places and ("absent", 1) not in disk.places
    assert [disk.lines_of(source) for source in disk.sources] == [memory.lines_of(source) for source in memory.sources]


@settings(max_examples=40)
@given(st.data())
def test_any_stretch_of_any_line_is_found(pair: tuple[TableIndex, LogIndex], data: st.DataObject) -> None:
    disk, memory = pair
    text = data.draw(st.sampled_from(memory.table["text"].to_list()))
    start = data.draw(st.integers(0, max(len(text) - 1, 0)))
    phrase = text[start : start + data.draw(st.integers(1, 30))]
    assert disk.find(phrase) == memory.find(phrase)


def test_claims_are_judged_as_in_memory(pair: tuple[TableIndex, LogIndex]) -> None:
    disk, memory = pair
    text = (
        'Line 3 of sshd.log shows "Connection closed by remote host". The client 10.20.1.37 was refused; 10.99.99.99 '
        'was not seen. "Failed password for nobody at all" appears 3 times. "maximum authentication attempts '
        'exceeded" occurs once. There are 24 error lines. At 20:34:33 it happened; at 03:03:03 nothing did. '
        'T3 appears 2 times. "Failed password" was followed by "Cannot bind any address". See line 999999.'
    )
    found, expected = grounding.check(text, disk), grounding.check(text, memory)
    assert [(one.kind, one.verdict, one.lines) for one in found] == [
        (one.kind, one.verdict, one.lines) for one in expected
    ]
    assert {one.verdict for one in found} == {"supported", "contradicted", "unverifiable"}
    assert grounding.check(text, disk.log) == found


def test_the_closest_line_is_found(pair: tuple[TableIndex, LogIndex]) -> None:
    disk, memory = pair
    phrase = "error: maximum authentication attempts exceeded for alicia from 10.20.1.37"
    assert disk.closest(phrase) == memory.closest(phrase)
    assert disk.closest("qqqq zzzz")[0] == 0.0


def test_what_is_too_frequent_is_unverifiable(
    pair: tuple[TableIndex, LogIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_lookup, "MOST_PLACES", 20)
    disk = TableIndex(pair[0].log)
    with pytest.raises(TooManyError):
        disk.find("GET")
    claims = grounding.check('"GET" appears 5 times. "Cannot bind any address" is in the log.', disk)
    assert [(one.kind, one.verdict) for one in claims] == [
        ("quote", "unverifiable"),
        ("count", "unverifiable"),
        ("quote", "supported"),
    ]
