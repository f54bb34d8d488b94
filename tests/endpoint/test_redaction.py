"""Redaction: nothing that identifies a machine or person leaves, and everything comes back as it was."""

import ipaddress
import json
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_serving import ScriptedServer

from loglore.endpoint.client import Endpoint
from loglore.endpoint.redaction import Redactor

LOGS = Path(__file__).parents[2] / "examples" / "logs"
# Pieces in which one pattern could cut into another.
_PIECES = (
    '< > <IP_1> <SECRET_2> IP_1 10.0.0.1 password= token="9f8e7d6c5b4a user alice  from  \n a@b.com @ :: :// x:y '
    "gate01 /home/ = ' \" \\ é _ ; Bearer fe80::1 00:11:22:33:44:55 db-1:5432 host= AKIAABCDEFGHIJKLMNOP L12| "
    "corp.example eyJhbGciOi.eyJzdWIiOiI.x"
)
PIECES = st.sampled_from(_PIECES.split(" "))
HEADER = "Nov 22 09:18:01 gate01 sshd[1]: "
TEXTS = st.lists(PIECES | st.just(" ") | st.just(HEADER) | st.text(max_size=5), max_size=30).map("".join)


@given(TEXTS)
def test_what_comes_back_is_what_was(text: str) -> None:
    redactor = Redactor()
    first = redactor.redact(text)
    assert redactor.restore(first) == text
    # A second time some names are known already.
    assert redactor.restore(redactor.redact(text)) == text
    assert redactor.restore(first) == text


@given(TEXTS, st.lists(st.integers(1, 7), min_size=1))
def test_a_streamed_answer_is_restored_the_same(text: str, sizes: list[int]) -> None:
    redactor = Redactor()
    redacted = redactor.redact(text) + " <IP_99> <"
    shown: list[str] = []
    stream = redactor.stream(shown.append)
    place = number = 0
    while place < len(redacted):
        size = sizes[number % len(sizes)]
        stream(redacted[place : place + size])
        place, number = place + size, number + 1
    stream.end()
    assert "".join(shown) == redactor.restore(redacted)


@given(st.ip_addresses())
def test_addresses(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    kept = address.is_loopback or address.is_unspecified or str(address) == "255.255.255.255"
    for text in (f"from {address} port 22", f"[{address}]", f"client={address}, x", str(address)):
        assert (str(address) in Redactor().redact(text)) == kept


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("password=hunter2", "hunter2"),
        ('api_key: "9f8e7d6c5b4a3210"', "9f8e7d6c5b4a3210"),
        ("Authorization: Bearer abc.def-ghi_jkl~123", "abc.def-ghi_jkl~123"),
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.s3cr3t-sig", "eyJhbGciOiJIUzI1NiJ9"),
        ("sk-proj-abcdefghijklmnop1234", "abcdefghijklmnop1234"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijklmnop"),
        ("postgres://bob:s3cret@db1.corp.example:5432/shop", "s3cret"),
        ("postgres://bob:s3cret@db1.corp.example:5432/shop", "db1.corp.example"),
        ("mail to anna.maria+x@example.org failed", "anna.maria"),
        ("ether 00:1b:44:11:3a:b7 joined", "00:1b:44:11:3a:b7"),
        ("GET https://intranet/path", "intranet"),
        ("connect to worker-12:8080", "worker-12"),
        ("resolving api.prod.internal: NXDOMAIN", "api.prod.internal"),
        ("session opened for user carla(uid=1003)", "carla"),
        ("Failed password for invalid user dmitri from 1.1.1.1", "dmitri"),
        ("open " + "/".join(["", "home", "erika", ".ssh", "id"]), "erika"),
        ("host ip-10-3-2-1 is down", "ip-10-3-2-1"),
        (HEADER + "restarted by gate01", "gate01"),
        ("db1.corp.example.password=x", "db1.corp"),
        ("SECRET_KEY_BASE=9f8e7d6c5b4a3210", "9f8e7d6c"),
    ],
)
def test_what_must_not_leave(text: str, gone: str) -> None:
    assert gone not in Redactor().redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "bind to 127.0.0.1:80 and ::1, 0.0.0.0",
        "at 10:11:12 std::string app.log java.io.IOException main.py",
        "T4 ×12 L4–L900: user <*> logged in",
        "2026-11-22T10:01:10.123Z ERROR disk full on /var/lib",
        "Failed password for root",
        "token expired; password: invalid; key = none",
    ],
)
def test_what_tells_and_identifies_nobody_stays(text: str) -> None:
    assert Redactor().redact(text) == text


def test_random_secrets_under_key_like_names() -> None:
    for name in ("token", "SECRET_KEY", "x-api-key", "session_id", "db.password"):
        value = secrets.token_hex(12)
        for text in (f"{name}={value}", f'"{name}": "{value}"', f"{name}='{value}';"):
            assert value not in Redactor().redact(text), text


def test_the_same_value_has_the_same_placeholder() -> None:
    redactor = Redactor()
    first, second = redactor.redact("10.1.1.1 and 10.1.1.2"), redactor.redact("10.1.1.2 then 10.1.1.1")
    assert first.split(" and ") == second.split(" then ")[::-1]
    assert redactor.counts() == {"IP": 2}


def test_a_name_learned_in_one_line_is_hidden_in_the_others() -> None:
    redactor = Redactor()
    assert "zoe" not in redactor.redact("quota of zoe exceeded\nlogin for user zoe failed")
    assert "gate07" not in redactor.redact("gate07 rebooted\nNov 22 09:18:01 gate07 kernel: up")


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_real_logs(path: Path) -> None:
    text, redactor = "\n".join(path.read_text().split("\n")[:150]), Redactor()
    redacted = redactor.redact(text)
    assert redactor.restore(redacted) == text
    for word in redacted.replace("[", " ").replace("]", " ").replace("#", " ").replace(",", " ").split():
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            continue
        assert address.is_loopback or address.is_unspecified, word


def test_values_fit_into_json() -> None:
    redactor = Redactor()
    text = 'password="a\\"b" token=\'x"9f8e7d6c\\n\' user bob\\x at 10.0.0.1'
    answer = json.dumps({"summary": redactor.redact(text)})
    assert json.loads(redactor.restore(answer))["summary"] == text


def test_placeholders_can_be_kept_for_another_process(tmp_path: Path) -> None:
    first = Redactor(tmp_path / "redaction.json")
    redacted = first.redact(HEADER + "password=hunter2 from 10.0.0.9")
    first.save()
    assert (tmp_path / "redaction.json").stat().st_mode & 0o077 == 0
    second = Redactor(tmp_path / "redaction.json")
    assert second.restore(redacted) == HEADER + "password=hunter2 from 10.0.0.9"
    assert second.redact("10.0.0.9 10.0.0.8 gate01").split()[0] == redacted.split()[-1]
    assert len(set(second.redact("10.0.0.9 10.0.0.8 gate01").split())) == 3


def test_the_chat_client_redacts_when_told_and_restores_the_stream(scripted: ScriptedServer) -> None:
    pieces: list[str] = []
    endpoint = Endpoint(scripted.url, redact=True)
    scripted.answer = "the host <IP_1> refused <HOST_9>"
    reply = endpoint.chat(
        [{"role": "user", "content": "why did 10.4.5.6 refuse?"}], max_tokens=9, on_text=pieces.append
    )
    assert scripted.requests[-1]["messages"][0]["content"] == "why did <IP_1> refuse?"
    assert reply.text == "".join(pieces) == "the host 10.4.5.6 refused <HOST_9>"


def test_the_chat_client_redacts_off_loopback_only(scripted: ScriptedServer) -> None:
    Endpoint(scripted.url).chat([{"role": "user", "content": "10.4.5.6"}], max_tokens=9)
    assert scripted.requests[-1]["messages"][0]["content"] == "10.4.5.6"
    assert Endpoint("https://api.example.com/v1").redacts
    assert not Endpoint("http://localhost:8000/v1").redacts
    assert not Endpoint("https://api.example.com/v1", redact=False).redacts
