"""The queue without a worker: what is accepted, what is refused, and who may claim what."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest

from loglore.errors import InputError
from loglore.hub import datasets
from loglore.jobs import queue, recipes
from loglore.jobs.queue import BudgetError, Order, submit
from loglore.store import audit, claims, costs, events, jobs, requests
from loglore.store.claims import Claim, Outcome
from loglore.store.database import Database
from loglore.store.jobs import Job


def take(database: Database, gpus: int = 0, free: int | None = None, worker: str = "w") -> Claim | None:
    return claims.claim(database, worker, gpus, gpus if free is None else free, time.time())


def taken(database: Database, **place: Any) -> Claim:
    claim = take(database, **place)
    assert claim is not None
    return claim


def finish(database: Database, claim: Claim, outcome: Outcome) -> Job:
    claims.end(database, claim, outcome, time.time())
    return jobs.find(database, claim.job.id)


def messages(database: Database, job: Job) -> list[str]:
    return [event.message for event in events.events(database, job.id)]


def test_a_job_is_queued_claimed_and_done(database: Database, short: dict[str, Any]) -> None:
    job = submit(database, "prepare", short, Order("first", metadata={"team": "sre"}))
    assert (job.state, job.kind, job.name, job.needs, job.metadata) == (
        "queued",
        "prepare",
        "first",
        (),
        {"team": "sre"},
    )
    claim = taken(database)
    assert claim.job.id == job.id
    assert claims.beat(database, claim, time.time()) == "run"
    assert take(database) is None
    done = finish(database, claim, Outcome("succeeded", {"outputs": {"train": "train.jsonl"}}))
    assert (done.state, done.worker, done.error) == ("succeeded", None, None)
    assert done.created <= (done.started or 0) <= (done.ended or 0)
    assert queue.outputs_of(done)["train"] == Path(done.folder) / "train.jsonl"
    assert messages(database, job) == ["job queued", "job started by worker w", "job succeeded"]
    assert claims.beat(database, claim, time.time()) is None
    assert claims.end(database, claim, Outcome("failed"), time.time()) is None


@pytest.mark.parametrize(
    ("kind", "change", "fault"),
    [
        ("prepair", {}, "unknown kind `prepair`; did you mean `prepare`"),
        ("prepare", {"validation_shar": 0.1}, "did you mean `validation_share`"),
        ("prepare", {"validation_share": 2}, "`validation_share`: Input should be less than or equal to 0.5"),
        ("prepare", {"rows": "nowhere.jsonl"}, "`rows`: nowhere.jsonl: no such file or folder"),
    ],
)
def test_bad_specs_are_refused_at_once(
    database: Database, short: dict[str, Any], kind: str, change: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InputError, match=fault):
        submit(database, kind, {**short, **change})
    assert jobs.jobs(database) == []


def test_relative_paths_become_absolute(database: Database, short: dict[str, Any], tmp_path: Path) -> None:
    job = submit(database, "prepare", {**short, "rows": "rows.jsonl"}, beside=tmp_path)
    assert job.spec["rows"] == short["rows"]


def test_urgent_jobs_are_first_and_of_equals_the_older(database: Database, short: dict[str, Any]) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        submit(database, "prepare", short, Order(name, priority))
    assert [taken(database).job.name for _ in "abcd"] == ["b", "d", "a", "c"]


def test_a_job_waits_for_what_it_needs_and_gets_its_outputs(database: Database, short: dict[str, Any]) -> None:
    first = submit(database, "prepare", short)
    second = submit(database, "prepare", {"rows": f"${{{first.id}.train}}"})
    assert second.needs == (first.id,)
    claim = taken(database)
    assert take(database) is None
    finish(database, claim, Outcome("succeeded", {"outputs": {"train": "train.jsonl"}}))
    assert taken(database).job.id == second.id
    assert queue.resolved(database, second) == {"rows": str(Path(first.folder) / "train.jsonl")}


def test_what_needs_a_failed_job_is_cancelled_and_comes_back_with_it(database: Database, short: dict[str, Any]) -> None:
    first = submit(database, "prepare", short)
    second = submit(database, "prepare", {"rows": f"${{{first.id}.train}}"})
    third = submit(database, "prepare", short, Order(depends_on=[second.id]))
    finish(database, taken(database), Outcome("failed", code="job_failed", message="no"))
    for job in (second, third):
        found = jobs.find(database, job.id)
        assert (found.state, found.error_code) == ("cancelled", "dependency")
    requests.resume(database, first.id)
    assert {job.state for job in jobs.jobs(database)} == {"queued"}


def test_retries_end(database: Database, short: dict[str, Any]) -> None:
    submit(database, "prepare", short, Order(max_attempts=2))
    again = Outcome("again", code="crashed", message="signal 11")
    assert finish(database, taken(database), again).state == "queued"
    assert finish(database, taken(database), again).state == "failed"


def test_an_interruption_is_no_attempt(database: Database, short: dict[str, Any]) -> None:
    submit(database, "prepare", short, Order(max_attempts=1))
    for _ in range(3):
        job = finish(database, taken(database), Outcome("stopped", note="interrupted"))
        assert (job.state, job.note, job.attempts) == ("queued", "interrupted", 0)


def test_a_full_disk_pauses_the_job(database: Database, short: dict[str, Any]) -> None:
    submit(database, "prepare", short)
    job = finish(database, taken(database), Outcome("held", code="disk_full", message="disk full", note="disk full"))
    assert (job.state, job.error_code) == ("paused", "disk_full")
    assert requests.resume(database, job.id).error_code is None


def test_what_is_wanted_of_a_running_job_decides_where_it_ends(database: Database, short: dict[str, Any]) -> None:
    job = submit(database, "prepare", short)
    claim = taken(database)
    assert requests.pause(database, job.id).state == "running"
    assert claims.beat(database, claim, time.time()) == "pause"
    with pytest.raises(InputError, match="is running and about to pause: only a job that is queued or running"):
        requests.pause(database, job.id)
    assert finish(database, claim, Outcome("stopped")).state == "paused"
    requests.resume(database, job.id)
    claim = taken(database)
    requests.pause(database, job.id)
    requests.cancel(database, job.id)
    assert finish(database, claim, Outcome("again", code="crashed", message="killed")).state == "cancelled"
    with pytest.raises(InputError, match="is cancelled: only a job that is queued, running or paused can be cancelled"):
        requests.cancel(database, job.id)


def test_jobs_that_wait_change_at_once(database: Database, short: dict[str, Any]) -> None:
    job = submit(database, "prepare", short)
    assert requests.pause(database, job.id).state == "paused"
    assert take(database) is None
    assert requests.resume(database, job.id).state == "queued"
    assert requests.cancel(database, job.id, "key1").state == "cancelled"
    with pytest.raises(InputError, match="is cancelled: only a job that is paused or failed can be resumed"):
        requests.resume(database, job.id)
    assert [(entry.action, entry.actor) for entry in audit.entries(database, target=job.id)] == [
        ("job.cancel", "key1"), ("job.resume", "local"), ("job.pause", "local"), ("job.create", "local"),
    ]  # fmt: skip


def test_gpu_slots_are_counted_and_large_jobs_are_not_starved(database: Database, short: dict[str, Any]) -> None:
    for name, gpus in (("six", 6), ("four", 4), ("two", 2), ("none", 0)):
        submit(database, "prepare", short, Order(name, gpus=gpus))
    # `six` never fits; `four` is next among those that want GPUs and keeps `two` waiting.
    assert taken(database, gpus=4, free=2).job.name == "none"
    assert take(database, gpus=4, free=2) is None
    assert taken(database, gpus=4, free=4).job.name == "four"
    assert taken(database, gpus=4, free=2).job.name == "two"
    assert take(database, gpus=4, free=4) is None
    assert taken(database, gpus=8, free=8).job.name == "six"


def test_a_worker_that_is_gone_loses_its_job(database: Database, short: dict[str, Any]) -> None:
    job = submit(database, "prepare", short)
    claim = taken(database)
    (seen,) = claims.running(database)
    claims.beat(database, claim, time.time() + 1)
    assert claims.reclaim(database, seen, time.time()) is None
    (seen,) = claims.running(database)
    assert claims.reclaim(database, seen, time.time()) == "queued"
    other = taken(database, worker="v")
    assert claims.beat(database, claim, time.time()) is None
    assert not claims.index(database, claim, [events.Happening(0.0, "late")], {})
    assert claims.end(database, claim, Outcome("succeeded", {}), time.time()) is None
    assert finish(database, other, Outcome("succeeded", {})).state == "succeeded"
    assert messages(database, job)[2:4] == ["job queued: worker w was lost", "job started by worker v, attempt 2 of 3"]


@pytest.mark.parametrize("end", ["again", "stopped"])
def test_what_may_wait_waits_and_a_clock_that_goes_back_makes_it_wait_no_longer(
    database: Database, short: dict[str, Any], end: Literal["again", "stopped"]
) -> None:
    submit(database, "prepare", short)
    now = time.time()
    claim = claims.claim(database, "w", 0, 0, now)
    assert claim is not None
    claims.end(database, claim, Outcome(end, message="", not_before=now + 30), now)
    assert claims.claim(database, "w", 0, 0, now + 29) is None
    assert claims.claim(database, "w", 0, 0, now - 86400) is not None


def test_pages_of_jobs(database: Database, short: dict[str, Any]) -> None:
    made = [submit(database, "prepare", short, Order(metadata={"n": str(n % 2)})).id for n in range(5)]
    first = jobs.jobs(database, limit=2)
    assert [job.id for job in first] == made[:2:-1]
    assert [job.id for job in jobs.jobs(database, after=first[-1].id)] == made[2::-1]
    assert [job.id for job in jobs.jobs(database, metadata={"n": "1"})] == [made[3], made[1]]
    named = [
        submit(database, "prepare", short, Order(name)).id for name in ("Redis, 100 % of it", "redis_2", "nginx 障害")
    ]
    for text, found in {"redis": named[1::-1], "0 %": named[:1], "S_": named[1:2], "障": named[2:], "%_": []}.items():
        assert [job.id for job in jobs.jobs(database, name=text)] == found, text
    assert jobs.jobs(database, kinds=["train"]) == jobs.jobs(database, states=["failed"]) == []
    with pytest.raises(InputError, match="job 'job-x': no such id"):
        jobs.jobs(database, after="job-x")


def test_events_from_any_number(database: Database, short: dict[str, Any]) -> None:
    job = submit(database, "prepare", short)
    claim = taken(database)
    rows = [events.Happening(float(n), f"step {n}", type="metrics", data={"step": n}) for n in range(5)]
    assert claims.index(database, claim, rows, {"metrics": 5})
    assert claims.indexed(database, job.id) == {"metrics": 5}
    assert [event.number for event in events.events(database, job.id, after=2, limit=3)] == [3, 4, 5]
    assert [event.number for event in events.events(database, job.id, after=4, newest_first=True)] == [3, 2, 1]
    finish(database, claim, Outcome("succeeded", {}))
    followed = list(events.follow(database, job.id, after=5))
    assert [event.message for event in followed] == ["step 3", "step 4", "job succeeded"]
    assert followed[0].data == {"step": 3}


def test_a_recipe_is_a_set_of_jobs(database: Database, short: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "name: two\njobs:\n  a: {kind: prepare, rows: rows.jsonl}\n  b: {kind: prepare, rows: '${a.train}'}\n"
    )
    first, second = queue.submit_recipe(database, recipes.load(tmp_path / "r.yaml"))
    assert (first.name, second.name, second.needs) == ("a", "b", (first.id,))
    assert first.recipe == second.recipe
    assert second.spec["rows"] == f"${{{first.id}.train}}"
    (tmp_path / "r.yaml").write_text("name: two\njobs:\n  a: {kind: prepare, rows: none.jsonl}\n")
    with pytest.raises(InputError, match=r"r.yaml: job a: `rows`: none.jsonl: no such file"):
        queue.submit_recipe(database, recipes.load(tmp_path / "r.yaml"))


def test_costs_and_the_budget(database: Database, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_GPU_HOUR_DOLLARS", "3")
    job = submit(database, "prepare", short, Order(gpus=2, created_by="key1"))
    claim = taken(database, gpus=2)
    now = time.time()
    for _ in range(2):
        claims.beat(database, claim, now, gpu_seconds=3600)
    assert costs.of_jobs(database, [job.id]) == {job.id: costs.Cost(7200, 3, 6, 0)}
    month = costs.month_of(now)
    assert costs.by_month(database) == [costs.Share(month, "key1", "prepare", 1, 7200, 6, 0)]
    monkeypatch.setenv("LOGLORE_BUDGET_USD_PER_MONTH", "5.50")
    with pytest.raises(BudgetError, match=rf"the budget of {month} is spent: \$6.00 of \$5.50"):
        submit(database, "prepare", short, Order(gpus=1))
    assert submit(database, "prepare", short).state == "queued"
    # Deleting the job gives no money back.
    finish(database, claim, Outcome("succeeded", {}))
    requests.delete(database, job.id)
    assert costs.by_month(database) == [costs.Share(month, "key1", "prepare", 1, 7200, 6, 0)]
    with pytest.raises(BudgetError):
        submit(database, "prepare", short, Order(gpus=1))


def test_deleting(database: Database, short: dict[str, Any]) -> None:
    first = submit(database, "prepare", short)
    second = submit(database, "prepare", short, Order(depends_on=[first.id]))
    with pytest.raises(InputError, match="is queued: only a job that is paused or ended can be deleted"):
        requests.delete(database, second.id)
    requests.pause(database, first.id)
    with pytest.raises(InputError, match=f"job {second.id} needs it"):
        requests.delete(database, first.id)
    requests.cancel(database, first.id)
    requests.delete(database, first.id)
    with pytest.raises(InputError, match="no such id"):
        events.events(database, first.id)


def test_names_of_the_hub_are_pinned_and_held_until_the_job_ends(
    database: Database, short: dict[str, Any], tmp_path: Path
) -> None:
    first = datasets.add(database, "incidents", tmp_path / "rows.jsonl")
    job = submit(database, "prepare", {**short, "rows": "incidents"})
    assert job.spec["rows"] == "incidents@1"
    assert queue.parents_of(database, job) == [first.id]
    with pytest.raises(InputError, match=job.id):
        datasets.delete(database, "incidents@1")
    requests.cancel(database, job.id)
    datasets.delete(database, "incidents@1")


def test_what_needs_a_published_version_has_it_as_parent(database: Database, short: dict[str, Any]) -> None:
    first = submit(database, "prepare", short, Order(publish="a"))
    second = submit(database, "prepare", {"rows": f"${{{first.id}.train}}"})
    report = {"outputs": {}, "job": {"published": "a@1", "datasets": {"train": "a@1"}}}
    finish(database, taken(database), Outcome("succeeded", report))
    assert queue.parents_of(database, second) == ["dataset:a@1"]


def test_nothing_waits_for_what_never_comes(database: Database, short: dict[str, Any]) -> None:
    first = submit(database, "prepare", short)
    requests.cancel(database, first.id)
    with pytest.raises(InputError, match=f"job {first.id} is cancelled: nothing can wait for it"):
        submit(database, "prepare", short, Order(depends_on=[first.id]))
    with pytest.raises(InputError, match="job 'job-x': no such id"):
        submit(database, "prepare", short, Order(depends_on=["job-x"]))
    # What was refused has left nothing behind.
    assert [job.id for job in jobs.jobs(database)] == [first.id]


def test_many_claim_at_once_and_each_job_is_claimed_once(database: Database, short: dict[str, Any]) -> None:
    made = {submit(database, "prepare", short).id for _ in range(40)}

    def claim_all(worker: int) -> list[str]:
        found = []
        while claim := claims.claim(database, f"w{worker}", 0, 0, time.time()):
            found.append(claim.job.id)
        return found

    with ThreadPoolExecutor(8) as pool:
        taken_by = list(pool.map(claim_all, range(8)))
    assert sorted(job_id for each in taken_by for job_id in each) == sorted(made)


def test_the_quickstart_can_be_queued(database: Database, repository: Path) -> None:
    made = queue.submit_recipe(database, recipes.load(repository / "recipes" / "quickstart.yaml"))
    assert {job.state for job in made} == {"queued"}
    # Its first jobs need nothing, all others something.
    ready = [job for job in made if not job.needs]
    assert 0 < len(ready) < len(made)
    assert taken(database).job.id == ready[0].id
