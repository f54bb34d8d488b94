"""What the API keeps, on both databases: evals and their runs, requests, answers under idempotency keys."""

import threading
import time
from types import SimpleNamespace

import pytest

from loglore.errors import InputError
from loglore.store import asked, evals, files, idempotency, jobs
from loglore.store.database import Database, insert_if_new
from loglore.store.objects import OBJECTS, Object

CRITERIA = [{"type": "string_check", "name": "x", "input": "a", "reference": "b", "operation": "eq"}]


def test_evals_are_paged_in_both_directions_and_by_change(database: Database) -> None:
    made = [evals.add(database, f"e{n}", {"type": "custom"}, CRITERIA, {"n": str(n)}).id for n in range(4)]
    assert [each.id for each in evals.evals(database, limit=2)] == made[:2]
    assert [each.id for each in evals.evals(database, made[1])] == made[2:]
    assert [each.id for each in evals.evals(database, made[2], newest_first=True)] == made[1::-1]
    assert evals.update(database, made[0], name="changed").name == "changed"
    assert [each.id for each in evals.evals(database, by_update=True)] == [*made[1:], made[0]]
    assert evals.find(database, made[1]).metadata == {"n": "1"}
    with pytest.raises(InputError, match="no such id"):
        evals.evals(database, "eval_x")


def test_runs_follow_their_jobs_states_and_go_with_their_eval(database: Database) -> None:
    found = evals.add(database, "e", {}, CRITERIA, {})
    with database.begin() as connection:
        for number, state in enumerate(("queued", "succeeded")):
            row = {"id": f"job-{number}", "kind": "test", "spec": {}, "spec_version": 1, "created": 0.0, "folder": ""}
            jobs.insert(connection, {**row, "state": state})
    runs = [
        evals.add_run(database, found.id, f"job-{number}", "r", "m", {}, {}, f"evalrun_{number}") for number in range(2)
    ]
    assert evals.add_run(database, found.id, "job-0", "again", "m", {}, {}, "evalrun_0") == runs[0]
    assert [each.id for each in evals.runs(database, found.id, ["succeeded"])] == ["evalrun_1"]
    assert [each.id for each in evals.runs(database, found.id, newest_first=True, limit=1)] == ["evalrun_1"]
    assert [each.id for each in evals.runs(database, found.id, after="evalrun_0")] == ["evalrun_1"]
    evals.keep_results(database, "evalrun_1", {"counts": {"total": 3}})
    assert evals.find_run(database, found.id, "evalrun_1").results == {"counts": {"total": 3}}
    with pytest.raises(InputError):
        evals.find_run(database, "eval_x", "evalrun_1")
    evals.delete_run(database, found.id, "evalrun_0")
    evals.delete(database, found.id)
    with pytest.raises(InputError):
        evals.find_run(database, found.id, "evalrun_1")
    assert jobs.find(database, "job-1").state == "succeeded"


def test_a_request_is_kept_once(database: Database) -> None:
    asked.keep(database, "job-1", {"a": 1})
    asked.keep(database, "job-1", {"a": 2})
    assert asked.of(database, ["job-1", "job-2"]) == {"job-1": {"a": 2}}


def test_of_many_with_one_key_one_does_the_work(database: Database) -> None:
    found: list[idempotency.Reservation] = []
    threads = [
        threading.Thread(target=lambda: found.append(idempotency.reserve(database, "k", "once", "hash")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.mine for each in found].count(True) == 1
    assert len({each.reserved for each in found}) == 1
    idempotency.answer(database, found[0], 201, "{}")
    again = idempotency.reserve(database, "k", "once", "hash")
    assert (again.mine, again.status, again.answer) == (False, 201, "{}")
    assert idempotency.reserve(database, "other", "once", "hash").mine


def test_who_died_in_the_middle_leaves_the_id_to_the_next(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first = idempotency.reserve(database, "k", "once", "hash")
    assert not idempotency.reserve(database, "k", "once", "hash").mine
    monkeypatch.setattr(idempotency, "PENDING_S", -1.0)
    assert not idempotency.reserve(database, "k", "once", "another").mine
    second = idempotency.reserve(database, "k", "once", "hash")
    assert (second.mine, second.reserved) == (True, first.reserved)
    idempotency.release(database, second)
    assert idempotency.reserve(database, "k", "once", "another").mine
    monkeypatch.setattr(idempotency, "LIFE_S", -1.0)
    assert idempotency.reserve(database, "k", "once", "a third").mine


def test_a_clock_that_goes_back_locks_no_key_for_a_day(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first = idempotency.reserve(database, "k", "once", "hash")
    idempotency.answer(database, idempotency.reserve(database, "k", "answered", "hash"), 200, "{}")
    now = time.time() - 86_000
    monkeypatch.setattr("loglore.store.idempotency.time", SimpleNamespace(time=lambda: now))
    # Whoever reserved it may have died: nobody can wait for that.
    second = idempotency.reserve(database, "k", "once", "hash")
    assert (second.mine, second.reserved) == (True, first.reserved)
    assert idempotency.reserve(database, "k", "answered", "hash").status == 200


def test_parts_are_in_the_order_in_which_they_came_whatever_the_clock_said(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = files.Upload("upload_1", "a", "evals", 9, "text/plain", "pending", 0.0, 2e9, None, None, None)
    files.begin_upload(database, upload)
    made = []
    for name, now in (("a", 50.0), ("b", 40.0), ("c", 30.0)):
        content = Object(name * 64, 3)
        with database.begin() as connection:
            insert_if_new(connection, OBJECTS, {"sha256": content.sha256, "bytes": 3, "created": 0.0})
        monkeypatch.setattr("loglore.store.files.time", SimpleNamespace(time=lambda now=now: now))
        made.append(files.add_part(database, upload.id, content))
    assert files.parts(database, upload.id) == made
