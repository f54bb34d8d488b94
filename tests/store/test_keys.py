"""Keys: what is kept, what is not, and when one works."""

import hashlib
from typing import Any

import pytest
import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store import keys
from loglore.store.database import Database


def test_only_a_hash_is_kept(database: Database) -> None:
    key, text = keys.create(database, " ci ", ["manage", "chat"], 5.0, 100.0, 60, 1000)
    assert text.startswith(f"ll-{key.id}-")
    assert len(text.split("-", 2)[2]) >= 43  # 256 bits
    assert key.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (key.name, key.scopes, key.requests_per_minute, key.tokens_per_minute) == (
        "ci",
        ("chat", "manage"),
        60,
        1000,
    )
    secret = text.split("-", 2)[2]
    with database.begin() as connection:
        stored = str(connection.execute(sa.text("select * from keys")).all())
    assert key.id in stored
    assert secret not in stored


def test_two_keys_differ_and_match_only_themselves(database: Database) -> None:
    (first, one), (second, two) = (keys.create(database, "x", ["chat"], 1.0) for _ in range(2))
    assert one != two
    assert first.matches(one)
    assert not first.matches(two)
    assert not first.matches(one + "x")
    assert not second.matches("")
    assert not second.matches("\udcff")
    assert keys.keys(database) == sorted([first, second], key=lambda key: key.id)


def test_states(database: Database) -> None:
    key, _ = keys.create(database, "x", ["chat"], 1.0, expires=50.0)
    assert key.state(49.9) == "active"
    assert key.state(50.0) == "expired"
    revoked = keys.revoke(database, key.id, 20.0)
    assert revoked.state(21.0) == "revoked"
    assert keys.revoke(database, key.id, 30.0).revoked == 20.0
    keys.used(database, {key.id: 40.0})
    assert keys.find(database, key.id).last_used == 40.0


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["chat", "root"]}, "scopes chat, root"),
        ({"requests_per_minute": 0}, "requests per minute 0"),
        ({"tokens_per_minute": -1}, "tokens per minute -1"),
        ({"expires": 1.0}, "future"),
    ],
)
def test_what_is_refused(sqlite_database: Database, values: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        keys.create(sqlite_database, **{"name": "x", "scopes": ["chat"], "now": 1.0, **values})
    assert keys.keys(sqlite_database) == []


@pytest.mark.parametrize("key_id", ["", "nobody", "' or 1=1 --"])
def test_unknown_ids(sqlite_database: Database, key_id: str) -> None:
    with pytest.raises(InputError, match="no such id"):
        keys.revoke(sqlite_database, key_id, 1.0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ll-0123456789ab-secret", "0123456789ab"),
        ("ll-0123456789ab-se-cret", "0123456789ab"),
        ("ll-0123456789ab-", None),
        ("ll-0123456789ab", None),
        ("ll-01-secret", None),
        ("sk-0123456789ab-secret", None),
        ("none", None),
        ("", None),
    ],
)
def test_ids_in_texts(text: str, found: str | None) -> None:
    assert keys.id_of(text) == found
