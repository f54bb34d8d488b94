from hypothesis import given, settings
from hypothesis import strategies as st
from support_analyst import facts_and_table

from loglore.logs.lookup import fold
from loglore.synth.analyst import entities, repetition

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


SUPERVISOR = """\
2026-11-22 20:36:36,869 WARN exited: billing (exit status 2; not expected)
2026-11-22 20:36:37,855 INFO success: leaky entered RUNNING state, process has stayed up
2026-11-22 20:36:37,856 WARN exited: thumbs (exit status 3; not expected)
2026-11-22 20:36:38,118 WARN exited: leaky (exit status 1; not expected)
2026-11-22 20:36:40,412 INFO gave up: billing entered FATAL state, too many start retries too quickly
"""


def test_what_was_done_is_no_component() -> None:
    facts, _ = facts_and_table(SUPERVISOR)
    assert facts.components == {}
    named, _ = facts_and_table("Nov 22 10:00:00 ns1 named[7]: listening\nNov 22 10:00:01 ns1 named: exiting\n")
    assert facts_and_table("x\n")[0].components == {}
    assert set(named.components) == {"named"}


def test_a_logged_cause_is_that_of_the_message_quoted() -> None:
    facts, _ = facts_and_table(SUPERVISOR)
    (problem,) = facts.problems
    assert problem.stated == "too many start retries too quickly"
    assert all("billing" in line.text and problem.stated in line.text for line in problem.group.lines)


def test_a_quotation_shows_what_the_problem_is() -> None:
    traffic = [
        f"<6>2026-11-22T20:35:29.9{number:02d}+00:00 10.20.1.37:342{number:02d} [22/Nov/2026:20:35:29.9{number:02d}] "
        f"shop_http app/app{number} 0/0/{number}/0/0 {status} 606 - - ---- 1/1/0/0/0 0/0 "
        f'"GET /missing/{number} HTTP/1.1"'
        for number, status in enumerate([200, 404, 200, 404, 404, 200])
    ]
    facts, _ = facts_and_table("\n".join(traffic))
    (problem,) = facts.problems
    assert len(problem.events) == 3
    assert " 404 606" in problem.group.quote
    squid = "\n".join(
        f"179537976{number}.264 0 10.20.1.32 TCP_MISS/503 35{number} GET http://h/{number} - X" for number in range(4)
    )
    (problem,) = facts_and_table(squid)[0].problems
    assert problem.group.quote.startswith("10.20.1.32 TCP_MISS/503")


def test_a_quotation_begins_where_it_tells_something() -> None:
    text = (
        "[ALERT]    (1726) : config : parsing [/srv/shop/haproxy/haproxy.cfg:23] : 'bind 10.20.0.12:8243' in section "
        "'frontend' : unable to stat SSL certificate from file '/srv/a.pem' : No such file or directory.\n"
    )
    (problem,) = facts_and_table(text)[0].problems
    assert problem.kind.name == "bad_configuration"
    assert problem.group.quote.startswith("'bind 10.20.0.12:8243' in section")


def test_a_short_word_in_many_kinds_of_lines_does_not_lead() -> None:
    text = "".join(
        f"2026/11/22 20:35:41 [notice] {number}#{number}: {said}\n"
        for number, said in enumerate(["gracefully shutting down"] * 2 + ["exiting"] * 2 + ["exit"] * 2, 1000)
    )
    facts, _ = facts_and_table(text)
    assert [group.quote for group in facts.groups] == ["gracefully shutting down", "exiting", "exit"]
    assert facts.groups[-1].count == 4


def test_the_beginning_of_a_host_name_is_no_address() -> None:
    assert "ip" not in entities.find("authentication failure; rhost=68.143.156.89.nw.example.net  user=root")
    assert entities.find("refused 10.0.0.7. It is blocked")["ip"] == "10.0.0.7"
    assert entities.find("connect to 10.0.0.7:80 failed")["endpoint"] == "10.0.0.7:80"
    assert "ip" not in entities.find("version 1.2.3.4.5")


def test_known_kinds_come_before_general_ones() -> None:
    text = (
        "2026-11-22 10:00:00 ERROR shop: something odd\n" * 3 + "2026-11-22 10:00:01 ERROR shop: connection refused\n"
    )
    facts, _ = facts_and_table(text)
    assert [problem.kind.name for problem in facts.problems] == ["connection_refused", "failure"]
