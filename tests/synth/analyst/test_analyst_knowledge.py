import re
import string

import pytest

from loglore.synth.analyst.knowledge import kind_of, kinds, topic_of, topics

SLOTS = {"ip", "endpoint", "port", "user", "path", "name", "component", "pid", "status"}

MESSAGES = [
    ("pwrite() failed (28: No space left on device)", "fatal", "disk_full"),
    ("could not write to file: No space left on device", None, "disk_full"),
    ("OOM command not allowed when used memory > 'maxmemory'.", None, "out_of_memory"),
    ("bind() to 127.0.0.1:80 failed (98: Address already in use)", "fatal", "port_in_use"),
    ('unknown directive "prxy" in /etc/nginx.conf:3', "fatal", "bad_configuration"),
    ("exited: web (exit status 1; not expected)", "warning", "restart_loop"),
    ("server process (PID 88) was terminated by signal 9: Killed", "info", "process_killed"),
    ("sorry, too many clients already", "fatal", "too_many_connections"),
    ("deadlock detected", "error", "deadlock"),
    ('insert violates foreign key constraint "fk"', "error", "constraint"),
    ("SSL_do_handshake() failed: wrong version number", "info", "tls"),
    ("getaddrinfo: Name or service not known", "error", "name_resolution"),
    ("backend app has no server available!", "fatal", "upstream_down"),
    ("database database/<NOSRV> -1/-1/0 0 SC 1/1/0/0/0 0/0", "info", "upstream_down"),
    ('10.0.0.1 - "GET / HTTP/1.1" 503 12', None, "gateway_error"),
    ('10.0.0.1 - "GET / HTTP/1.1" 500 12', None, "server_error"),
    ("fatal: the mail system is already running", "fatal", "already_running"),
    ("zone shop.example/IN: not loaded due to errors.", "error", "bad_configuration"),
    ("Unexpected end of file reading the append only file", "warning", "corruption"),
    ("invalid command from 10.0.0.9#41167: bad auth", "error", "auth_failure"),
    ("key of alice is correct but not from a permitted host (10.0.0.9)", None, "source_not_allowed"),
    ('no pg_hba.conf entry for host "10.0.0.9", user "a", database "b"', "fatal", "source_not_allowed"),
    ("struct.error: unpack requires a buffer of 8 bytes", None, "exception"),
    ("possible DNS-rebind attack detected: portal.example", None, "warning"),
    ('Failed to watch *v1.Pod: Get "https://h/": dial tcp 10.96.0.1:443: i/o timeout', "error", "timeout"),
    ("pod web-1 is in CrashLoopBackOff", "warning", "restart_loop"),
    ("Readiness probe failed: HTTP probe failed with statuscode: 500", "warning", "upstream_down"),
    ("no healthy upstream", None, "upstream_down"),
    ("x509: certificate signed by unknown authority", "error", "tls"),
    ("node n1 has condition DiskPressure", "warning", "disk_full"),
    ('Failed to pull image "web:9": not found', "error", "missing_object"),
    ("a background save or replication may fail under low memory condition", "warning", "warning"),
    ("Current worker (2613) exited with code 0 (Exit)", "warning", None),
    ("Resumed frontend shop_http.", "warning", None),
    ("reports (exit status 0; expected)", "info", None),
    ("connect() failed (111: Connection refused) while connecting to upstream", "error", "connection_refused"),
    ("connect: No route to host", "error", "unreachable"),
    ("upstream timed out (110: Connection timed out)", "error", "timeout"),
    ("database system was not properly shut down; automatic recovery in progress", "info", "corruption"),
    ("open() failed (13: Permission denied)", "error", "access_denied"),
    ("Failed password for root from 10.0.0.9 port 22 ssh2", None, "auth_failure"),
    ('password authentication failed for user "bob"', "fatal", "auth_failure"),
    ("limiting requests, excess: 5.1 by zone", "error", "rate_limit"),
    ("client intended to send too large body: 99 bytes", "error", "request_too_large"),
    ("duration: 5004.310 ms  statement: SELECT 1", "info", "slow_query"),
    ('syntax error at or near "SELEC"', "error", "bad_query"),
    ('relation "orders" does not exist', "error", "missing_object"),
    ('10.0.0.1 - "GET /x HTTP/1.1" 404 12', None, "missing_file"),
    ("to=<a@b.test>, status=bounced (unknown)", None, "mail_delivery"),
    ("Traceback (most recent call last):", None, "exception"),
    ("recv() failed (104: Connection reset by peer)", "error", "connection_lost"),
    ("mod_jk child workerEnv in error state 6", "error", "failure"),
    ("the pool is large", "warning", "warning"),
    ("stopped: web (terminated by SIGTERM)", "warning", "requested_stop"),
    ("client sent invalid method while reading client request line", "info", "malformed_request"),
    ("archive command failed with exit code 1", "info", "failed_command"),
    ("something odd", "error", "failure"),
    ("failed to guess the address", "warning", "warning"),
    ("Health check for server app/app1 succeeded, reason: Layer7 check passed", "warning", None),
    ("attempt 1 failures 0 [preauth]", "debug", None),
    ("negotiated timeout 20000 for client", "info", None),
    ("setting timeout changed from None to 0.6", "info", None),
    ("Redis is starting", "warning", None),
    ("overriding earlier entry: smtpd_timeout=4s", "warning", "bad_configuration"),
    ("Ready to accept connections", "info", None),
    ("Configuration test passed with 0 errors", "info", None),
    ("checkpoint complete: wrote 3 buffers", "info", None),
    ('10.0.0.1 - "GET / HTTP/1.1" 200 12', None, None),
]


@pytest.mark.parametrize(("message", "level", "name"), MESSAGES)
def test_kind_of_message(message: str, level: str | None, name: str | None) -> None:
    kind = kind_of(message, level)
    assert (kind.name if kind else None) == name


def test_every_kind_has_a_test_message_but_two() -> None:
    tested = {name for _, _, name in MESSAGES}
    assert {kind.name for kind in kinds()} - tested == {"replication", "hardware"}


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_phrases_can_be_filled(kind: object) -> None:
    for phrases in (kind.titles, kind.meanings, kind.hypotheses, kind.steps):
        for phrase in phrases:
            fields = {name for _, name, _, _ in string.Formatter().parse(phrase) if name}
            assert fields <= SLOTS
            assert "`" not in phrase, "a backtick would read as a quotation from the log"
            assert not re.search(r"\d", phrase), "a number that was not computed"
        # Something can be said also when the log names nothing.
        assert any("{" not in phrase for phrase in phrases)
    assert all(sentence.endswith(".") for sentence in (*kind.meanings, *kind.steps))
    assert all(not clause.endswith(".") for clause in (*kind.hypotheses, *kind.titles))


def test_topics_are_named() -> None:
    assert topic_of("Ready to accept connections").name == "startup"
    assert topic_of("xyzzy") is None
    assert all(topic.titles and topic.meanings for topic in topics())
