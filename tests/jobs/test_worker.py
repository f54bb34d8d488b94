"""Workers and jobs as real processes: killed, stopped, told to end; what is queued is done, and done once."""

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import psutil
import pytest
from support_gate import Gate
from support_workers import kill, pid_of, processes_of, until, until_state, work_off, worker

from loglore.hub import datasets
from loglore.jobs import family, queue
from loglore.jobs.executor import Assignment
from loglore.jobs.local import LocalExecutor
from loglore.jobs.queue import BudgetError, Order, submit
from loglore.runs import files
from loglore.store import costs, events, jobs, requests
from loglore.store.database import Database
from loglore.store.jobs import Job


@pytest.fixture
def database_url(home: Path) -> str:
    """SQLite alone: what differs on PostgreSQL, `test_queue` asks."""
    return f"sqlite:///{home / 'loglore.db'}"


def told(database: Database, job: Job) -> list[str]:
    return [event.message for event in events.events(database, job.id, limit=1000)]


def test_jobs_are_done_in_order_with_what_they_need(database: Database, short: dict[str, Any], tmp_path: Path) -> None:
    first = submit(database, "prepare", short, Order(publish="clean"))
    second = submit(
        database, "prepare", {"rows": f"${{{first.id}.train}}", "validation_share": 0}, Order(publish="again")
    )
    broken = submit(database, "prepare", {**short, "rows": str(tmp_path / "bad.jsonl")} | _bad(tmp_path))
    work_off(tmp_path)
    done = jobs.find(database, second.id)
    assert done.state == "succeeded" and done.report is not None and done.report["rows"]["train"] == 2
    assert files.read_json(Path(done.folder) / "report.json") == done.report
    assert "prepared: train 2, validation 0" in told(database, second)
    assert done.report["job"]["published"] == "again@1"
    made = datasets.find(database, "clean@1")
    assert datasets.find(database, "again").parents == (made.id,)
    assert made.facts["origin"]["job"] == first.id
    # A dataset's name is a job's input as well as a path.
    named = submit(database, "prepare", {"rows": "clean", "validation_share": 0})
    work_off(tmp_path)
    assert jobs.find(database, named.id).state == "succeeded"
    failed = jobs.find(database, broken.id)
    assert (failed.state, failed.error_code, failed.attempts) == ("failed", "invalid_input", 1)
    assert failed.error is not None and "bad.jsonl" in failed.error
    assert failed.error in queue.log_of(failed).read_text()


def _bad(folder: Path) -> dict[str, Any]:
    (folder / "bad.jsonl").write_text('{"text": \n')
    return {}


def test_the_job_of_a_killed_worker_goes_on_with_another(
    database: Database, held_up: dict[str, Any], gate: Gate, tmp_path: Path
) -> None:
    job = submit(database, "nlplog", held_up)
    with worker(tmp_path) as first, worker(tmp_path, lost_s=1e9) as second:
        gate.wait_until_asked()
        owner = first if f".{first.process.pid}." in str(jobs.find(database, job.id).worker) else second
        orphan = psutil.Process(pid_of(job))
        owner.end(signal.SIGKILL)
        # On one machine nobody waits for heartbeats: the process is gone. The job's own ends with its worker.
        orphan.wait(60)
        gate.wait_until_asked()
        assert len(processes_of(job)) == 1
        gate.open()
        done = until_state(database, job, "succeeded", "failed")
    assert (done.state, done.attempts, gate.requests) == ("succeeded", 2, 2)
    assert any("was lost" in line for line in told(database, job))


def test_a_killed_job_is_tried_again_and_not_for_ever(
    database: Database, held_up: dict[str, Any], gate: Gate, tmp_path: Path
) -> None:
    job = submit(database, "nlplog", held_up, Order(max_attempts=2))
    with worker(tmp_path):
        gate.wait_until_asked()
        kill(pid_of(job))
        gate.wait_until_asked()
        kill(pid_of(job))
        failed = until_state(database, job, "failed")
    assert (failed.error_code, failed.error, failed.attempts) == ("crashed", "its process ended by signal 9", 2)
    requests.resume(database, job.id)
    gate.open()
    work_off(tmp_path)
    assert jobs.find(database, job.id).state == "succeeded"


def test_what_a_teacher_is_paid_is_a_cost_and_counts_against_the_budget(
    database: Database, held_up: dict[str, Any], gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The gate's answers have one token of prompt and one of text.
    paid = {**held_up, "teacher": {**held_up["teacher"], "price_in": 2e6, "price_out": 3e6}}
    monkeypatch.setenv("LOGLORE_BUDGET_USD_PER_MONTH", "4")
    first, second = (submit(database, "nlplog", paid, Order(created_by="key1")) for _ in range(2))
    gate.open()
    work_off(tmp_path)
    found = costs.of_jobs(database, [first.id, second.id])
    assert (found[first.id].dollars, found[first.id].endpoint_dollars, found[first.id].gpu_seconds) == (5, 5, 0)
    (share,) = costs.by_month(database)
    assert (share.created_by, share.kind, share.dollars, share.endpoint_dollars) == ("key1", "nlplog", 5, 5)
    waiting = jobs.find(database, second.id)
    assert (waiting.state, waiting.error_code) == ("paused", "budget")
    assert "$5.00 of $4.00" in str(waiting.error)
    with pytest.raises(BudgetError, match=r"\$5.00 of \$4.00"):
        submit(database, "nlplog", paid)
    assert submit(database, "nlplog", held_up).state == "queued"
    # What an earlier job has paid for costs the next one nothing.
    monkeypatch.setenv("LOGLORE_BUDGET_USD_PER_MONTH", "6")
    requests.resume(database, second.id)
    work_off(tmp_path)
    assert jobs.find(database, second.id).state == "succeeded"
    assert costs.of_jobs(database, [second.id])[second.id].dollars == 0


def test_ctrl_c_queues_running_jobs_again(
    database: Database, held_up: dict[str, Any], gate: Gate, tmp_path: Path
) -> None:
    job = submit(database, "nlplog", held_up, Order(max_attempts=1))
    with worker(tmp_path) as running:
        gate.wait_until_asked()
        assert running.end(signal.SIGINT) == 0
    found = jobs.find(database, job.id)
    assert (found.state, found.note, found.attempts, found.worker) == ("queued", "interrupted", 0, None)
    assert processes_of(job) == []
    gate.open()
    work_off(tmp_path)
    assert jobs.find(database, job.id).state == "succeeded"


def test_pause_resume_and_cancel_of_a_running_job(
    database: Database, held_up: dict[str, Any], gate: Gate, tmp_path: Path
) -> None:
    job = submit(database, "nlplog", held_up)
    with worker(tmp_path):
        gate.wait_until_asked()
        requests.pause(database, job.id)
        assert until_state(database, job, "paused").error is None
        requests.resume(database, job.id)
        gate.wait_until_asked()
        requests.cancel(database, job.id)
        until_state(database, job, "cancelled")
        until(lambda: not processes_of(job))


def test_a_worker_that_stood_still_finds_its_claim_gone(
    database: Database, held_up: dict[str, Any], gate: Gate, tmp_path: Path
) -> None:
    job = submit(database, "nlplog", held_up)
    with worker(tmp_path) as sleeper:
        gate.wait_until_asked()
        sleeper.send(signal.SIGSTOP)
        before = pid_of(job)
        with worker(tmp_path, lost_s=1) as other:
            gate.wait_until_asked()
            assert pid_of(job) != before
            sleeper.send(signal.SIGCONT)
            until(lambda: "the claim was lost" in sleeper.said)
            # What the sleeper ends is its own attempt, not the other's.
            gate.open()
            assert until_state(database, job, "succeeded", "failed").state == "succeeded"
            assert other.end() == 0
    assert told(database, job).count("job succeeded") == 1


def test_a_job_without_pulses_ends_by_itself(held_up: dict[str, Any], gate: Gate, home: Path) -> None:
    place = home / "jobs" / "job-1"
    attempt = LocalExecutor().start(Assignment("job-1", "t", "nlplog", held_up, None, (), None, place, (), 1.0))
    until(lambda: attempt.poll() is not None)
    assert family.members(family.mark("job-1")) == []
    assert not (place / "run" / "report.json").exists()
    # A worker whose database was away when it ended sends one more.
    attempt.pulse()
    attempt.stop()


def test_two_processes_in_one_folder_are_refused(database: Database, short: dict[str, Any], tmp_path: Path) -> None:
    import fcntl

    job = submit(database, "prepare", short)
    home = queue.home_of(job.id)
    home.mkdir(parents=True)
    # The note stands until the next try: long enough to be read.
    with worker(tmp_path, retry_s=1.0), (home / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        until(lambda: "another run is working in this folder" in jobs.find(database, job.id).note)
        fcntl.flock(stream, fcntl.LOCK_UN)
        done = until_state(database, job, "succeeded", "failed")
    assert (done.state, done.attempts) == ("succeeded", 1)


def test_slots_and_gpus(database: Database, held_up: dict[str, Any], gate: Gate, tmp_path: Path) -> None:
    made = [submit(database, "nlplog", held_up, Order(gpus=gpus)) for gpus in (2, 1, 1, 0)]
    with worker(tmp_path, gpus=3, slots=3):
        until(lambda: len(jobs.jobs(database, states=["running"])) == 3)
        seen = {job.id: _gpus_of(job) for job in made if jobs.find(database, job.id).state == "running"}
        assert seen == {made[0].id: "0,1", made[1].id: "2", made[3].id: ""}
        gate.open()
        until(lambda: len(jobs.jobs(database, states=["succeeded"])) == 4)


def _gpus_of(job: Job) -> str:
    until(lambda: processes_of(job))
    return processes_of(job)[0].environ()["CUDA_VISIBLE_DEVICES"]


def test_a_job_that_spends_the_budget_is_paused(
    database: Database, held_up: dict[str, Any], gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_BUDGET_USD_PER_MONTH", "0.01")
    monkeypatch.setenv("LOGLORE_GPU_HOUR_DOLLARS", "360")  # a dime a second
    job = submit(database, "nlplog", held_up, Order(gpus=1))
    with worker(tmp_path, gpus=1):
        paused = until_state(database, job, "paused")
        assert paused.error_code == "budget"
        assert paused.error is not None and "is spent: $" in paused.error and "of $0.01" in paused.error
        # Resumed without more money it does not even start.
        requests.resume(database, job.id)
        assert until_state(database, job, "paused").attempts == 0
    assert gate.requests <= 1


def test_a_locked_database_is_waited_for(
    database: Database, held_up: dict[str, Any], gate: Gate, home: Path, tmp_path: Path
) -> None:
    job = submit(database, "nlplog", held_up)
    with worker(tmp_path) as running:
        gate.wait_until_asked()
        holder = sqlite3.connect(home / "loglore.db", timeout=30)
        holder.execute("BEGIN EXCLUSIVE")
        until(lambda: "trying again" in running.said)
        gate.open()
        holder.rollback()
        holder.close()
        assert until_state(database, job, "succeeded", "failed").state == "succeeded"
        until(lambda: "the database answers again" in running.said)
    assert gate.requests == 1


def test_training_goes_on_from_its_checkpoint(database: Database, tiny_model: Path, tmp_path: Path) -> None:
    files.write_jsonl(tmp_path / "rows.jsonl", [{"text": f"error {n}: link down at {n * 7}"} for n in range(600)])
    (tmp_path / "h.json").write_text(
        json.dumps({
            "batch_size": 1, "gradient_accumulation_steps": 1, "epochs": 30, "max_sequence_length": 128,
            "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no",
            "eval_strategy": "no",
        })
    )  # fmt: skip
    values = {"stage": "cpt", "model": str(tiny_model), "train": "rows.jsonl", "hyperparameters": "h.json"}
    job = submit(database, "train", {**values, "general_text": False}, Order(publish="tiny"), beside=tmp_path)
    assert job.id.startswith("ftjob-")
    checkpoints = Path(job.folder) / "checkpoints"
    with worker(tmp_path) as first:
        until(lambda: _steps(database, job) >= 3)
        assert first.end(signal.SIGINT) == 0
    saved = max(int(path.name.removeprefix("step-")) for path in checkpoints.iterdir())
    assert jobs.find(database, job.id).state == "queued"
    with worker(tmp_path) as second:
        until(lambda: _steps(database, job) >= saved + 3)
        second.end(signal.SIGKILL)
        until(lambda: not processes_of(job))
    with worker(tmp_path) as third:
        until(lambda: len(_done(job)) == 3)
        # After the kill it went on from the checkpoint, not from the beginning.
        first_start, *later = _done(job)
        assert first_start == 0 and later[0] == later[1] > 0
        before = _steps(database, job)
        until(lambda: _steps(database, job) > before)
        requests.cancel(database, job.id)
        until_state(database, job, "cancelled")
        assert third.end() == 0
    numbers = [event.data["step"] for event in events.events(database, job.id, limit=5000) if event.type == "metrics"]
    assert numbers == sorted(set(numbers))


def _done(job: Job) -> list[int]:
    """Tokens that were done already, at each start of the training."""
    rows = files.read_jsonl_log(Path(job.folder) / "events.jsonl")
    return [row["done"] for row in rows if "done" in row]


def _steps(database: Database, job: Job) -> int:
    newest = events.events(database, job.id, limit=20, newest_first=True)
    return max((event.data["step"] for event in newest if event.type == "metrics" and event.data), default=0)
