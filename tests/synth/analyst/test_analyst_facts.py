from hypothesis import given, settings
from hypothesis import strategies as st
from support_analyst import facts_and_table

from loglore.logs.lookup import fold
from loglore.synth.analyst import repetition

EVERY_THREE = "\n".join(f"2026-11-22 07:10:{second:02d},000 INFO shop: tick" for second in range(0, 30, 3))


def test_problems_of_a_log_with_a_header(logs) -> None:
    facts, _ = facts_and_table((logs / "nginx-error.log").read_text())
    assert {problem.kind.name: len(problem.events) for problem in facts.problems} == {
        "disk_full": 1,
        "port_in_use": 1,
        "bad_configuration": 1,
        "connection_refused": 2,
        "missing_file": 1,
        "warning": 1,
    }
    refused = next(problem for problem in facts.problems if problem.kind.name == "connection_refused")
    assert refused.stated == "Connection refused"
    assert refused.named["endpoint"] == {"127.0.0.1:8081": 2}
    assert refused.named["ip"] == {"10.20.1.34": 1, "10.20.1.35": 1}


def test_a_traceback_is_one_event_shown_by_its_last_line(logs) -> None:
    facts, _ = facts_and_table((logs / "shop.log").read_text())
    (problem,) = [problem for problem in facts.problems if problem.kind.name != "warning"]
    assert len(problem.events) == 1
    assert problem.events[0].text == "KeyError: 'total'"


def test_the_clock_is_the_one_in_the_line(logs) -> None:
    facts, _ = facts_and_table((logs / "sshd.log").read_text())
    assert [line.clock for line in facts.lines[:2]] == ["09:18:01", "09:18:05"]
    assert facts.seconds == 103
    calm, _ = facts_and_table((logs / "mqtt.log").read_text())
    assert calm.lines[0].clock == "1763800000"


def test_a_log_without_problems(logs) -> None:
    facts, _ = facts_and_table((logs / "mqtt.log").read_text())
    assert facts.problems == ()


def test_a_regular_interval_is_found() -> None:
    facts, _ = facts_and_table(EVERY_THREE)
    (interval,) = repetition.intervals(facts)
    assert (interval.shortest, interval.longest, interval.group.count) == (3, 3, 10)


def test_an_irregular_one_is_not() -> None:
    facts, _ = facts_and_table(EVERY_THREE.replace("07:10:27", "07:10:59"))
    assert repetition.intervals(facts) == []


def test_the_longest_pause() -> None:
    facts, _ = facts_and_table(EVERY_THREE.replace("07:10:27", "07:10:59"))
    pause = repetition.pause(facts)
    assert (pause.seconds, pause.before.clock, pause.after.clock) == (35, "07:10:24", "07:10:59")


def test_an_address_is_not_found_inside_a_longer_one() -> None:
    facts, _ = facts_and_table("from 10.0.0.1\nfrom 10.0.0.12\nfrom 10.0.0.1\n")
    assert repetition.dominant_address(facts) == ("10.0.0.1", 2)


WORDS = st.sampled_from(
    ["error", "GET", "/a/b", "10.0.0.1", "`", '"', "::", "user", "bob", "é", "世界", "\t", "  ", "x=1", "{0}"]
)
LINES = st.lists(st.lists(WORDS, max_size=8).map(" ".join), min_size=1, max_size=15)


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_quotations_stand_in_the_lines_they_are_counted_in(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    facts, _ = facts_and_table(text)
    for group in facts.groups:
        assert group.quote
        assert any(group.quote in line for line in lines)
        assert group.count == sum(fold(group.quote) in fold(line) for line in lines)
