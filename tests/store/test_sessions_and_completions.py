"""Sessions' rows, and the history that goes with them."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from loglore.errors import InputError, JobError
from loglore.store import completions, sessions
from loglore.store.completions import Completion
from loglore.store.database import Database

ROW = Completion("", None, "m", 5.0, 1.0, 0.1, 200, "stop", 10, 4, 3, '{"model": "m"}', "disk full 🚀")


def session(database: Database, now: float = 1.0) -> str:
    return sessions.create(database, ["org/base", "tuned"], "llama.cpp", "http://x/v1", False, (1, 2.0), now).id


def test_a_session_from_start_to_end(database: Database) -> None:
    first, second = session(database, 1.0), session(database, 2.0)
    row = sessions.find(database, first)
    assert (row.state, row.models, row.interactions, row.stop_requested) == (
        "starting",
        ("org/base", "tuned"),
        0,
        False,
    )
    assert sessions.update(database, first, state="ready", interactions=3) is False
    sessions.request_stop(database, first)
    assert sessions.update(database, first, interactions=4) is True
    sessions.update(database, first, state="stopped", ended=9.0, reason="idle")
    assert [row.id for row in sessions.sessions(database)] == [second]
    assert [row.id for row in sessions.sessions(database, ended=True)] == [first, second]
    with pytest.raises(InputError, match="no such id"):
        sessions.request_stop(database, "ses_none")


def test_history_is_per_session_newest_first_and_paged(database: Database) -> None:
    mine, other = session(database), session(database)
    completions.add(database, [])
    completions.add(database, [replace(ROW, session_id=mine, created=float(n)) for n in range(5)])
    completions.add(database, [replace(ROW, session_id=other)])
    newest = completions.history(database, mine, limit=2)
    assert [row["created"] for row in newest] == [4.0, 3.0]
    assert newest[0]["response"] == "disk full 🚀"
    older = completions.history(database, mine, before=newest[-1]["id"])
    assert [row["created"] for row in older] == [2.0, 1.0, 0.0]


def test_retention_forgets_what_is_older(database: Database) -> None:
    mine = session(database)
    completions.add(database, [replace(ROW, session_id=mine, created=float(n)) for n in range(5)])
    assert completions.prune(database, 3.0) == 3
    assert [row["created"] for row in completions.history(database, mine)] == [4.0, 3.0]


def test_a_completion_needs_its_session_and_goes_with_it(database: Database) -> None:
    with pytest.raises((JobError, sa.exc.IntegrityError)):
        completions.add(database, [replace(ROW, session_id="ses_none")])
    mine = session(database)
    completions.add(database, [replace(ROW, session_id=mine)])
    with database.begin() as connection:
        connection.execute(sessions.SESSIONS.delete())
    assert completions.history(database, mine) == []
