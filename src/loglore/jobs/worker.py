"""The worker: claims jobs, has an executor run them, keeps their claims alive, and writes down how they end.

    every look:  heartbeats → what ended → new lines of run folders → workers that are gone → claims

One thread, one loop. Whatever the database refuses is tried again with the next look: a job goes on meanwhile, and ends
at a checkpoint when its claim cannot be kept (`Patience.lease_s`). What counts as long is time in which this process
looked; a machine that stood still for an hour lost nothing by it, and a clock that is set back does not matter.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loglore.errors import InputError, JobError
from loglore.jobs import budget, family, indexing, queue
from loglore.jobs.executor import (
    BAD_INPUT,
    BUSY,
    DISK_FULL,
    DONE,
    FAILED,
    STOPPED,
    Assignment,
    Attempt,
    Executor,
)
from loglore.jobs.kinds import SPEC_VERSION
from loglore.runs import files
from loglore.store import claims
from loglore.store.claims import Claim, Outcome, Running
from loglore.store.database import Database

Say = Callable[[str], None]
LONGEST_RETRY_S = 300.0
AGAIN_EVERY_S = 3.0  # a wish to stop is repeated: it may have come before the job listened


@dataclass(frozen=True)
class Patience:
    """Seconds.

    Attributes:
        look_s: between looks at everything. beat_s: between heartbeats.
        lease_s: for which a job goes on without one.
        lost_s: after which a worker without heartbeat is lost; longer than the lease.
        save_s: for a job to save and end.
        retry_s: before a second attempt; doubled with every further one.
    """

    look_s: float = 0.3
    beat_s: float = 2.0
    lease_s: float = 45.0
    lost_s: float = 60.0
    save_s: float = 120.0
    retry_s: float = 5.0


@dataclass
class Held:
    """A claimed job that is being run.

    Attributes:
        claim: proof that it is ours.
        attempt: what runs it.
        gpus: which it holds.
        billed: GPUs that are paid for.
        costs: whether it costs money: those GPUs, or what endpoints are paid.
        beaten: when the last heartbeat was written, by the monotonic clock.
        told: why it was told to stop: a note, or None.
        told_first, told_last: when, by the monotonic clock.
        outcome: what became of it instead of an interruption (no money left).
        marks: how far its run folder was read.
    """

    claim: Claim
    attempt: Attempt
    gpus: Sequence[str]
    billed: int
    costs: bool
    beaten: float
    told: str | None = None
    told_first: float = 0.0
    told_last: float = 0.0
    outcome: Outcome | None = None
    marks: dict[str, Any] = field(default_factory=dict)


@dataclass
class Worker:
    """One worker.

    Attributes:
        database: of the queue.
        executor: what runs jobs.
        gpus: names of the GPUs that it gives out, as in CUDA_VISIBLE_DEVICES.
        slots: most jobs at once.
        say: takes a line for its log.
        patience: its times.
        name: that no other process has.
        hurry: set, a worker that is stopping waits for no job: they go on from their last checkpoints.
    """

    database: Database
    executor: Executor
    gpus: Sequence[str] = ()
    slots: int = 1
    say: Say = print
    patience: Patience = field(default_factory=Patience)
    name: str = field(default_factory=family.own_name)
    hurry: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._held: list[Held] = []
        self._seen: dict[str, tuple[float, float]] = {}  # token: its heartbeat, and for how long it has not changed
        self._searched = time.monotonic()
        self._refused = ""

    def run(self, stop: threading.Event, until_idle: bool = False) -> None:
        """Work until `stop` is set, then let running jobs save and queue them again; or until nothing is to be done."""
        while not stop.is_set():
            busy = self._try(self.look)
            if until_idle and not busy and not self._held and not self._refused:
                break
            if not busy:
                stop.wait(self.patience.look_s)
        while self._held:
            for held in self._held:
                self._tell(held, "interrupted")
                if self.hurry.is_set():
                    held.attempt.kill()
            self._try(self.look, False)
            if self._held and self.hurry.is_set():
                return  # the database does not answer; who looks next finds this worker gone
            time.sleep(self.patience.look_s / 3)

    def look(self, claiming: bool = True) -> bool:
        """Look once at everything; whether something was done.

        Raises:
            JobError: the database does not answer; the next look goes on.
        """
        for held in list(self._held):
            self._keep(held)
        ended = [held for held in list(self._held) if self._collect(held)]
        for held in self._held:
            self._index(held, once=True)
        self._search()
        started = claiming and len(self._held) < self.slots and self._claim()
        return bool(ended) or started

    def _try(self, look: Callable[..., bool], *arguments: bool) -> bool:
        """Look; a database that refuses is mentioned once, and waited for."""
        try:
            done = look(*arguments)
        except JobError as fault:
            if str(fault) != self._refused:
                self.say(f"{fault}; trying again")
            self._refused = str(fault)
            self._end_expired()
            return False
        if self._refused:
            self.say("the database answers again")
        self._refused = ""
        return done

    def _keep(self, held: Held) -> None:
        """Heartbeat, pulse, and what is wanted of the job."""
        now = time.monotonic()
        if now - held.beaten >= self.patience.beat_s:
            wanted = claims.beat(self.database, held.claim, time.time(), held.billed * (now - held.beaten))
            if wanted is None:
                self._lose(held)
                return
            held.beaten = now
            held.attempt.pulse()
            if wanted != "run":
                self._tell(held, f"{wanted} requested")
            elif held.costs:
                self._watch_budget(held)
        if held.told is not None:
            self._insist(held, now)

    def _tell(self, held: Held, why: str) -> None:
        if held.told is None:
            held.told, held.told_first = why, time.monotonic()
            held.attempt.stop()
            held.told_last = held.told_first

    def _insist(self, held: Held, now: float) -> None:
        if held.attempt.poll() is not None:
            return
        if now - held.told_first > self.patience.save_s:
            held.attempt.kill()
        elif now - held.told_last > AGAIN_EVERY_S:
            held.told_last = now
            held.attempt.stop()

    def _lose(self, held: Held) -> None:
        """The claim is somebody else's: nothing of the job may run here any more."""
        held.attempt.kill()
        self._held.remove(held)
        self.say(f"{held.claim.job.id}: the claim was lost, the job ended here")

    def _end_expired(self) -> None:
        """End what could not be kept alive for long: others may claim it soon."""
        for held in self._held:
            if time.monotonic() - held.beaten > self.patience.lease_s and held.attempt.poll() is None:
                self._tell(held, "interrupted: the database did not answer")
                held.attempt.kill()

    def _watch_budget(self, held: Held) -> None:
        message = budget.over(self.database)
        if message:
            held.outcome = Outcome("held", code="budget", message=message, note="budget")
            self._tell(held, "budget")

    def _collect(self, held: Held) -> bool:
        """Write down how an attempt ended, if it did."""
        code = held.attempt.poll()
        if code is None:
            return False
        self._index(held, once=False)
        outcome = outcome_of(held, code, time.time(), self.patience.retry_s)
        left = held.billed * (time.monotonic() - held.beaten)
        claims.beat(self.database, held.claim, time.time(), left)
        held.beaten = time.monotonic()
        state = claims.end(self.database, held.claim, outcome, time.time())
        self._held.remove(held)
        why = outcome.message or outcome.note
        self.say(f"{held.claim.job.id}: {state or 'lost'}" + (f": {why}" if why else ""))
        return True

    def _index(self, held: Held, once: bool) -> None:
        job = held.claim.job
        while True:
            found = indexing.look(Path(job.folder), held.marks)
            if found.marks != held.marks:
                if not claims.index(self.database, held.claim, found.happenings, found.marks, found.paid):
                    return
                held.marks = found.marks
            if once or not found.more:
                return

    def _search(self) -> None:
        """Look for jobs whose workers are gone: on this machine at once, elsewhere when heartbeats stay away."""
        now = time.monotonic()
        if now - self._searched < self.patience.beat_s:
            return
        # Time in which this process did not look says nothing about others.
        watched, self._searched = min(now - self._searched, 2 * self.patience.beat_s), now
        own = {held.claim.token for held in self._held}
        seen: dict[str, tuple[float, float]] = {}
        for each in claims.running(self.database):
            if each.token in own:
                continue
            beat, silent = self._seen.get(each.token, (each.heartbeat, 0.0))
            silent = silent + watched if beat == each.heartbeat else 0.0
            seen[each.token] = each.heartbeat, silent
            if silent > self.patience.lost_s or family.is_gone(each.worker):
                self._reclaim(each)
        self._seen = seen

    def _reclaim(self, lost: Running) -> None:
        state = claims.reclaim(self.database, lost, time.time())
        if state is not None:
            self.say(f"{lost.id}: worker {lost.worker} was lost, the job is {state}")

    def _claim(self) -> bool:
        taken = {gpu for held in self._held for gpu in held.gpus}
        free = [gpu for gpu in self.gpus if gpu not in taken]
        claim = claims.claim(self.database, self.name, len(self.gpus), len(free), time.time())
        if claim is None:
            return False
        job = claim.job
        gpus = free if job.gpus is None else free[: job.gpus]
        billed = len(gpus) or int(job.spec.get("price_per_gpu_hour") is not None)
        costs = budget.costs_money(job.spec, billed, job.price)
        message = budget.over(self.database) if costs else None
        if message:
            refusal = Outcome("held", code="budget", message=message, note="budget")
            claims.end(self.database, claim, refusal, time.time())
            self.say(f"{job.id}: {message}")
            return True
        try:
            attempt = self.executor.start(self._assignment(claim, gpus))
        except (InputError, OSError) as fault:
            claims.end(self.database, claim, _not_started(fault, self.patience.retry_s), time.time())
            self.say(f"{job.id}: {fault}")
            return True
        marks = claims.indexed(self.database, job.id)
        self._held.append(Held(claim, attempt, gpus, billed, costs, time.monotonic(), marks=marks))
        attempt.pulse()
        self.say(f"{job.id}: {job.kind} started" + (f" on GPU {', '.join(gpus)}" if gpus else ""))
        return True

    def _assignment(self, claim: Claim, gpus: Sequence[str]) -> Assignment:
        job = claim.job
        if job.spec_version > SPEC_VERSION:
            raise InputError(
                f"its spec has version {job.spec_version}, of a newer LogLore; this one knows {SPEC_VERSION}"
            )
        return Assignment(
            job_id=job.id,
            token=claim.token,
            kind=job.kind,
            values=queue.resolved(self.database, job),
            publish=job.publish,
            parents=queue.parents_of(self.database, job),
            by=job.created_by,
            home=Path(job.folder).parent,
            gpus=gpus,
            lease_s=self.patience.lease_s,
        )


def outcome_of(held: Held, code: int, now: float, retry_s: float) -> Outcome:
    """What an attempt's exit status, and what the job left behind, mean for the job."""
    job = held.claim.job
    home = Path(job.folder).parent
    if code == DONE:
        return _succeeded(held, now, retry_s)
    if held.told is not None:
        return held.outcome or Outcome("stopped", note=held.told)
    message = _message(home) or (f"its process ended by signal {-code}" if code < 0 else f"status {code}")
    if code == BAD_INPUT:
        return Outcome("failed", code="invalid_input", message=message)
    if code == STOPPED:
        return Outcome("stopped", note="interrupted")
    if code == BUSY:
        return Outcome("stopped", note=message, not_before=now + retry_s)
    if code == DISK_FULL:
        return Outcome("held", code="disk_full", message=message, note="disk full")
    reason = "job_failed" if code == FAILED else "crashed"
    return Outcome("again", code=reason, message=message, not_before=now + _wait(job.attempts, retry_s))


def _succeeded(held: Held, now: float, retry_s: float) -> Outcome:
    job = held.claim.job
    try:
        report: dict[str, Any] = files.read_json(Path(job.folder) / "report.json")
    except InputError as fault:
        return Outcome("again", code="crashed", message=str(fault), not_before=now + _wait(job.attempts, retry_s))
    if report.get("unfinished") and job.attempts < job.max_attempts:
        message = "not all of it could be done"
        return Outcome("again", code="unfinished", message=message, not_before=now + _wait(job.attempts, retry_s))
    return Outcome("succeeded", report)


def _wait(attempts: int, retry_s: float) -> float:
    return min(retry_s * 2.0 ** (attempts - 1), LONGEST_RETRY_S)


def _message(home: Path) -> str:
    """What the job's process wrote last about its end; nothing when it was killed."""
    path = home / "outcome.json"
    return str(files.read_json(path)["message"]) if path.exists() else ""


def _not_started(fault: InputError | OSError, retry_s: float) -> Outcome:
    from loglore.errors import is_full_disk

    if is_full_disk(fault):
        return Outcome("held", code="disk_full", message=f"disk full: {fault}", note="disk full")
    if isinstance(fault, InputError):
        return Outcome("failed", code="invalid_input", message=str(fault))
    return Outcome("again", code="job_failed", message=str(fault), not_before=time.time() + retry_s)
