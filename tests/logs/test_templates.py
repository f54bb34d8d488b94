"""Templates: every message is of its template, ids and keys are stable, masks mean what their type says."""

import ipaddress
import re
import uuid
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loglore.logs import templates, variables
from loglore.logs.masking import MARKS, TYPE_OF, mask
from loglore.logs.patterns import expand
from loglore.logs.reader import read_table, table_of
from loglore.logs.templates import Mined, masked_messages, mine

EXAMPLES = Path(__file__).parents[2] / "examples" / "logs"


def mined(*lines: str) -> Mined:
    return mine(table_of(lines))


def texts(*lines: str) -> list[str]:
    return [template.text for template in mined(*lines).templates]


WORDS = ("user", "failed", "from", "10.0.0.1", "port", "22", "/var/log/a.log", "id=7", "GET", "0x1f", "\t", "  ", "ok")
MESSAGES = st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=30)


@settings(max_examples=60)
@given(MESSAGES | st.lists(st.text(max_size=40).filter(lambda text: "\n" not in text), max_size=12))
@example(["\x1f"])
@example(["/.\x1fa:\xa0\t\xa0", "\x1d"])
@example(["\u2028.\x1c", ".\x1d=\x1e"])
def test_every_message_is_of_its_template(lines: list[str]) -> None:
    found = mined(*lines)
    for row in found.table.iter_rows(named=True):
        if not re.search(r"\S", row["message"]):
            assert row["template"] is None and row["key"] is None
            continue
        template = found.by_id[row["template"]]
        assert template.key == row["key"]
        assert template.text.count("<*>") == len(template.variables) or "<*>" in row["message"]
        if "<*>" not in row["message"]:
            assert template.values(row["message"]) is not None


@settings(max_examples=60)
@given(MESSAGES)
def test_counts_first_last_and_ids(lines: list[str]) -> None:
    found = mined(*lines)
    seen = found.table.filter(pl.col("template").is_not_null())
    assert [template.id for template in found.templates] == seen["template"].unique(maintain_order=True).to_list()
    for template in found.templates:
        own = seen.filter(pl.col("template") == template.id)
        assert (template.count, template.first, template.last) == (own.height, own["line"].min(), own["line"].max())
        assert template.example == own["text"][0]
    assert len({template.text for template in found.templates}) == len(found.templates)
    assert mined(*lines).templates == found.templates


def test_header_is_no_part_of_a_template() -> None:
    found = mined(
        "Nov 22 20:20:15 web01 sshd[12]: Failed password for root from 10.0.0.7 port 4022 ssh2",
        "Nov 22 20:20:16 web02 sshd[99]: Failed password for root from 10.0.0.8 port 4023 ssh2",
    )
    (template,) = found.templates
    assert template.text == "Failed password for root from <*> port <*> ssh2"
    assert template.variables == ("ip", "number")
    assert template.values(found.table["message"][1]) == (("ip", "10.0.0.8"), ("number", "4023"))


def test_the_same_message_in_two_sources_is_one_template() -> None:
    table = pl.concat([table_of(["disk full", "ok 1"], "a.log"), table_of(["x", "ok 2", "ok 3"], "b.log")])
    found = mine(table)
    (ok,) = [template for template in found.templates if template.text == "ok <*>"]
    assert (ok.count, ok.source, ok.first, ok.last) == (3, "a.log", 2, 2)


def test_keys_depend_on_the_text_alone() -> None:
    assert {one.text: one.key for one in mined("b 1", "a 2").templates} == {
        one.text: one.key for one in mined("a 3", "b 4", "b 5").templates
    }


def test_words_tell_kinds_apart_and_names_do_not() -> None:
    assert texts("VM Paused (Lifecycle Event)", "VM Resumed (Lifecycle Event)") == [
        "VM Paused (Lifecycle Event)",
        "VM Resumed (Lifecycle Event)",
    ]
    assert texts(*(f"session opened for user {name} by root" for name in ("eve", "bob", "ann"))) == [
        "session opened for user <*> by root"
    ]
    assert texts("retry mode=slow after failure", "retry mode=fast after failure") == ["retry mode=<*> after failure"]


def test_http_status_is_kept_and_user_agents_are_not() -> None:
    line = '10.0.0.{} - - [22/Nov/2026:20:16:23 +0000] "GET /a/{} HTTP/1.1" {} 15{} "-" "agent {} of many"'
    found = texts(*(line.format(number, number, 200 + 302 * (number % 2), number, "x" * number) for number in range(6)))
    assert found == [
        '<*> - - "GET <*> HTTP/<*>" 200 <*> "<*>" "<*>"',
        '<*> - - "GET <*> HTTP/<*>" 502 <*> "<*>" "<*>"',
    ]


def test_what_klog_says_in_quotes_is_kept() -> None:
    line = (
        'E1122 20:20:15.123456    7 pods.go:42] "No pull secret in 3 s" pod="default/web-{}" err="secret {} not found"'
    )
    assert texts(*(line.format(number, number) for number in range(3))) == [
        '"No pull secret in <*> s" pod="default/web-<*>" err="secret <*> not found"'
    ]


def test_the_status_in_a_w3c_log_is_kept_and_what_clients_send_is_not() -> None:
    rows = (
        f"2026-11-22 20:08:{number:02d} GET /a/{number} {'q=' + 'x' * number if number else '-'} agent+{'y' * number} "
        f"{200 + 300 * (number % 2)} 0"
        for number in range(6)
    )
    found = texts("#Fields: date time cs-method cs-uri-stem cs-uri-query cs(User-Agent) sc-status sc-substatus", *rows)
    columns = "cs-method=GET cs-uri-stem=<*> cs-uri-query=<*> cs(User-Agent)=<*> sc-status={} sc-substatus=<*>"
    assert found[1:] == [columns.format(200), columns.format(500)]


def masked(text: str) -> str:
    shown = pl.select(mask(pl.lit(text))).item()
    return re.sub("[" + "".join(TYPE_OF) + "]", lambda mark: f"<{TYPE_OF[mark[0]]}>", shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("took 12ms, 3.5 s and 40% of 1024", "took <number>, <number> s and <number>% of <number>"),
        ("blk_-1608999687919862906 on node-17", "blk_<number> on node-<number>"),
        ("open /etc/hosts and '/srv/a b' ", "open <path> and '<path> b' "),
        ("C:\\Windows\\winsxs\\x.dll failed", "<path> failed"),
        ("from 10.0.0.1:80 to ::1 and fe80::1:2", "from <ip>:<number> to <ip> and <ip>"),
        ("10.0.0.1,10.0.0.2", "<ip>"),
        ("mac 00:1a:2B:3c:4d:5e up", "mac <mac> up"),
        ("at 2026-11-22T10:00:00.123Z or 10:11:12", "at <time> or <time>"),
        ("at Tue Nov 24 10:11:12 2026, 22/Nov/2026:20:14:35.225", "at <time>, <time>"),
        ("to=<ann@down.example>, relay mx.shop.example:25", "to=<<email>>, relay <host>:<number>"),
        ("https://a.example/x?y=1, done", "<url>, done"),
        ("pointer 0xDEADbeef and 9f86d081884c", "pointer <hex> and <hex>"),
        ("org.apache.hadoop.Foo at Main.java:12", "org.apache.hadoop.Foo at Main.java:<number>"),
        ("eth0 and IPv6 stay", "eth0 and IPv6 stay"),
        ("facade decade", "facade decade"),
        ("job_1445144423722_0020Job and task_1445_0020_m_000001 done", "job_<id>Job and task_<id> done"),
        ("Old: msra-sa-41/10.190.173.170:9000 New: /10.0.0.1", "Old: <ip>:<number> New: /<ip>"),
        ("no 'such thing' as \"a quote\", it's", "no '<quoted>' as \"<quoted>\", it's"),
        ('{"key": "some words", "n": 7}', '{"key": "<quoted>", "n": <number>}'),
        ("relation \"10.0.0.1\" and 'order 7 of'", "relation \"<ip>\" and 'order <number> of'"),
        ("注文7件を10.0.0.1から受信", "注文<number>件を<ip>から受信"),
    ],
)
def test_masks(text: str, expected: str) -> None:
    assert masked(text) == expected


NUMBERED = st.sampled_from(
    ["port # up", "GET /a# HTTP/1.1\" #00 12", "0x#f", "#x#", "::#", "a::#b", "node# done", "10.0.#.#", "eth#: #:#:#",
     "-#", "blk_-##", "2026-#-#", "#ms", "job_2026#_00#", "dead#beef", "TCP_MISS/#0# x", "HTTP/1.# #0#",
     "v#.#-rc#", "'#'"]
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(NUMBERED, st.lists(st.integers(0, 9), min_size=5, max_size=5)), min_size=1, max_size=30))
def test_masking_together_is_masking_apart(parts: list[tuple[str, list[int]]]) -> None:
    """Whatever rule of `masking` names a digit must have its form in `NAMES_A_DIGIT`, or leave a digit."""
    messages = []
    for form, digits in parts:
        fill = iter(digits)
        messages.append("".join(str(next(fill)) if letter == "#" else letter for letter in form))
        messages += [" ".join(messages[-3:]), messages[-1].translate(str.maketrans("0123456789", "5038127946"))]
    series = pl.Series(messages)
    expected = masked_messages(series)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "FEW_MESSAGES", 0)
        assert templates.masked_messages(series).equals(expected)


@given(st.ip_addresses(v=4), st.uuids(), st.integers(0, 10**12))
def test_masks_of_random_values(address: ipaddress.IPv4Address, identity: uuid.UUID, number: int) -> None:
    assert masked(f"a {address} b {identity} c {number} d") == "a <ip> b <uuid> c <number> d"


@given(st.ip_addresses())
def test_ip_pattern_accepts_what_the_standard_library_does(address: ipaddress.IPv4Address) -> None:
    assert re.fullmatch(expand("%{IP}"), str(address))


@given(st.text(alphabet="0123456789.:abcdef", max_size=20))
def test_ipv4_pattern_accepts_nothing_else(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
        valid = True
    except ValueError:
        valid = False
    # The standard library refuses leading zeros as ambiguous; so does the pattern.
    assert bool(re.fullmatch(expand("%{IPV4}"), text)) == valid


def test_marks_are_single_private_characters() -> None:
    assert all(len(mark) == 1 and 0xE000 <= ord(mark) < 0xE0F0 for mark in MARKS.values())


def test_nothing_to_mine() -> None:
    assert mined().templates == []
    assert mined("", "   ").table["template"].to_list() == [None, None]


def oracle_groups(masked: list[str]) -> list[int]:
    """Drain3's own groups, its published settings, the marks spelled as words."""
    from drain3.drain import Drain

    drain = Drain(depth=4, sim_th=0.4, max_children=100)
    spelled = [re.sub("[" + "".join(TYPE_OF) + "]", lambda mark: f"<:{TYPE_OF[mark[0]]}:>", text) for text in masked]
    return [drain.add_log_message(text)[0].cluster_id for text in spelled]


@settings(max_examples=60)
@given(MESSAGES)
@example(["a b c d", "a x c d", "a y z d", "10.0.0.1 b", "b 7 7", "b ok 7", "ok", "ok ok"])
def test_drain_groups_distinct_lines_as_drain3_does(lines: list[str]) -> None:
    found = mine(table_of(lines), "drain")
    pairs = masked_messages(found.table["message"])
    distinct = pairs["masked"].unique(maintain_order=True).to_list()
    wanted = dict(zip(distinct, oracle_groups(distinct), strict=True))
    of_message = dict(found.table.select("message", "template").iter_rows())
    ours: dict[str, set[int]] = {}
    for message, text in pairs.iter_rows():
        ours.setdefault(of_message[message], set()).add(wanted[text])
    assert all(len(groups) == 1 for groups in ours.values())
    assert len({group for groups in ours.values() for group in groups}) == len(ours) == len(found.templates)
    assert len({template.key for template in found.templates}) == len(found.templates)
    for row in found.table.filter(pl.col("template").is_not_null()).iter_rows(named=True):
        assert found.by_id[row["template"]].values(row["message"]) is not None


def test_drain_on_the_examples() -> None:
    table = read_table([EXAMPLES / name for name in ("sshd.log", "nginx-error.log", "postgresql.log")])
    found = mine(table, "drain")
    pairs = masked_messages(table["message"])
    distinct = pairs["masked"].unique(maintain_order=True).to_list()
    wanted = pl.DataFrame({"masked": distinct, "group": oracle_groups(distinct)})
    both = found.table.join(pairs, on="message").join(wanted, on="masked").select("template", "group").unique()
    assert both["template"].n_unique() == both["group"].n_unique() == both.height


def test_times_of_templates() -> None:
    found = mined("2026-11-22 10:00:05 INFO a: up 1", "2026-11-22 10:00:02 INFO a: up 2", "no time")
    up, plain = found.templates
    assert (str(up.first_time), str(up.last_time)) == ("2026-11-22 10:00:02", "2026-11-22 10:00:05")
    assert (plain.first_time, plain.last_time) == (None, None)


def test_a_name_in_front_is_a_variable_when_it_has_many_values() -> None:
    tail = "told me to run this job now"
    names = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    assert texts(*(f"{name} {tail}" for name in names)) == [f"<*> {tail}"]
    assert len(texts(*(f"{name} startup succeeded" for name in names))) == 6


def test_numbered_names_and_values_set_apart() -> None:
    assert texts(*(f"link of eth{number} is up again" for number in "012")) == ["link of eth<*> is up again"]
    assert texts("state of unit [alpha] is unknown now", "state of unit [beta] is unknown now") == [
        "state of unit [<*>] is unknown now"
    ]
    assert texts("login from rhost=10.0.0.1 failed twice", "login from rhost=10.0.0.1.dsl.x failed twice") == [
        "login from rhost=<*> failed twice"
    ]


def expected_variables(found: Mined) -> list[list[dict[str, str]] | None]:
    wanted: list[list[dict[str, str]] | None] = []
    for row in found.table.iter_rows(named=True):
        values = found.by_id[row["template"]].values(row["message"]) if row["template"] else None
        wanted.append(None if values is None else [{"type": kind, "value": value} for kind, value in values])
    return wanted


@settings(max_examples=40)
@given(MESSAGES | st.lists(st.text(max_size=40).filter(lambda text: "\n" not in text), max_size=12))
@example(["a \x1c b 7", "  a  10.0.0.1\t[x] ", "(a|b) $5 ^ 7"])
def test_variables_of_lines_are_those_of_their_templates(lines: list[str]) -> None:
    found = mined(*lines)
    values = variables.of_lines(found)
    assert values.dtype == variables.VARIABLES
    if not any("<*>" in line for line in lines):
        assert values.to_list() == expected_variables(found)


@pytest.mark.parametrize("name", ["sshd.log", "nginx-access.log", "haproxy.log", "postgresql.log"])
def test_variables_of_the_examples(name: str) -> None:
    found = mine(read_table([EXAMPLES / name]))
    assert variables.of_lines(found).to_list() == expected_variables(found)


def test_variables_have_the_form_of_their_type() -> None:
    line = 'user "eve b" at 10.0.0.7:80 ran job_1445144423722_0020_m_01 in 12ms from /tmp/a with 0x1f'
    assert variables.of_lines(mined(line, "")).to_list() == [
        [
            {"type": "quoted", "value": "eve b"},
            {"type": "ip", "value": "10.0.0.7"},
            {"type": "number", "value": "80"},
            {"type": "id", "value": "1445144423722_0020_m_01"},
            {"type": "number", "value": "12ms"},
            {"type": "path", "value": "/tmp/a"},
            {"type": "hex", "value": "0x1f"},
        ],
        None,
    ]
