"""Connections to a real S3 server: what works, what is refused, and that no secret shows."""

import logging
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from loglore.errors import InputError, UnavailableError
from loglore.hub import connections
from loglore.hub.connections import AwayError
from loglore.store import connections as rows
from loglore.store.connections import Secret
from loglore.store.database import Database

HIDDEN = "hidden-secret-of-the-test"
GOOD: dict[str, Any] = {"name": "lake", "bucket": "logs", "key_id": "AKIA", "secret": Secret(HIDDEN)}


def test_a_connection_looks_into_its_bucket(database: Database, s3_bucket: str, s3_server: str) -> None:
    import s3fs

    s3fs.S3FileSystem().pipe_file(f"{s3_bucket}/in/one.jsonl", b"abc")
    made = connections.add(database, "lake", s3_bucket, "test", Secret("test"), endpoint=s3_server, region="us-east-1")
    assert connections.find(database, "lake") == connections.find(database, made.id) == made
    assert connections.look(database, "lake") == [{"name": "in/one.jsonl", "bytes": 3}]
    assert connections.look(database, "lake", "other") == []
    assert connections.delete(database, "lake") == made
    assert connections.connections(database) == []
    with database.begin() as connection:
        assert connection.execute(sa.select(rows.SECRETS)).all() == []


def test_no_secret_shows(
    database: Database, s3_server: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    made = connections.add(database, **{**GOOD, "bucket": "none-here"}, endpoint=s3_server)
    said = [
        repr(made),
        str(vars(made)),
        repr(Secret(HIDDEN)),
        str(Secret(HIDDEN)),
        str(connections.connections(database)),
    ]
    with pytest.raises(InputError) as missing:
        connections.bring(database, "lake", "none.jsonl", Path())
    gone = connections.add(database, **{**GOOD, "name": "gone"}, endpoint="http://127.0.0.1:9")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UnavailableError, match="connection gone: ") as down:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        connections.look(database, gone.name)
    with pytest.raises(InputError, match="there is one of this name") as taken:
        connections.add(database, **GOOD)
    with pytest.raises(InputError, match="secret: expected") as odd:
        connections.add(database, **{**GOOD, "name": "odd", "secret": Secret(HIDDEN + "\n")})
    faults = [f"{fault.value!r} {fault.value}" for fault in (missing, down, taken, odd)]
    for text in [*said, *faults, caplog.text, *capsys.readouterr()]:
        assert HIDDEN not in text
    assert rows.secret(database, made.id).value == HIDDEN


def test_a_stranger_is_not_led_to_inner_addresses(
    sqlite_database: Database, s3_bucket: str, s3_server: str, tmp_path: Path
) -> None:
    """The look at an address comes with the connection, by name or by number, and with it alone."""
    for name, endpoint in (("number", s3_server), ("name", s3_server.replace("127.0.0.1", "localhost"))):
        connections.add(sqlite_database, name, s3_bucket, "test", Secret("test"), endpoint=endpoint, region="us-east-1")
        assert connections.look(sqlite_database, name) == []
        for attempt in (
            lambda name=name: connections.look(sqlite_database, name, public_only=True),
            lambda name=name: connections.bring(sqlite_database, name, "x", tmp_path, public_only=True),
        ):
            with pytest.raises(AwayError, match="an address of this machine or a private network"):
                attempt()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "My Lake"}, "connection name"),
        ({"bucket": "a"}, "bucket"),
        ({"bucket": "logs/other"}, "bucket"),
        ({"key_id": ""}, "key id"),
        ({"key_id": "a\r\nb"}, "key id"),
        ({"secret": Secret("")}, "secret"),
        ({"region": "eu west"}, None),
        ({"region": "é"}, "region"),
        ({"endpoint": "ftp://x"}, "endpoint"),
        ({"endpoint": "file:///etc/passwd"}, "endpoint"),
        ({"endpoint": "http://"}, "endpoint"),
        ({"endpoint": "http://user:pass99@host"}, "endpoint"),
        ({"endpoint": "http://host:x"}, "endpoint"),
        ({"endpoint": "http://ho st"}, "endpoint"),
        ({"endpoint": "http://host/?a=b"}, "endpoint"),
        ({"endpoint": f"http://{'x' * 500}"}, "endpoint"),
    ],
)
def test_impossible_connections(sqlite_database: Database, change: dict[str, Any], said: str | None) -> None:
    if said is None:
        assert connections.add(sqlite_database, **{**GOOD, **change}).region == "eu west"
        return
    with pytest.raises(InputError, match=said) as fault:
        connections.add(sqlite_database, **{**GOOD, **change})
    assert HIDDEN not in str(fault.value) and "pass99" not in str(fault.value)
    assert connections.connections(sqlite_database) == []


def test_unknown_connections_are_named_with_those_there_are(sqlite_database: Database) -> None:
    connections.add(sqlite_database, **GOOD)
    for attempt in (connections.find, connections.delete, connections.look):
        with pytest.raises(InputError, match="connection 'pond': no such name; there are: lake"):
            attempt(sqlite_database, "pond")
