"""The submitting side of a job on a cluster: hands it to Ray Jobs, lives with it, brings its end back.

`OnRay` takes the place of `jobs.runner.here`: what comes before and after a job (checking its spec, skipping what is
done, publishing) stays on this machine, and only the job's function runs there. While this process lives it sends
pulses; a job without them saves and ends. An earlier attempt at the same run folder that still runs is ended first.
"""

import contextlib
import hashlib
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore import settings
from loglore.cluster import connection, order, places
from loglore.cluster.order import Order
from loglore.cluster.places import Shared
from loglore.cluster.wanted import Wanted, wanted
from loglore.errors import DiskFullError, InputError, JobError
from loglore.jobs.executor import BAD_INPUT, BUSY, DISK_FULL, DONE, STOPPED
from loglore.jobs.runner import BusyError
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec
from loglore.train import hyperparameters
from loglore.train.stopping import StoppedError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

LOOK_S = 0.5
ASK_S = 3.0  # between questions to Ray, whose answers take its time and ours
BEAT_S = 1.5
LEASE_S = 45.0
SILENT_S = 30.0  # without an answer of the cluster, a job is given up
SAVE_S = 120.0  # for a job that was told to stop
END_S = 60.0  # for one that was ended
LOGS = ("events.jsonl", "metrics.jsonl", "system.jsonl")  # what a reader follows while the job runs
OUTPUTS = "adapter|model|published/"  # whole folders that a job leaves
RUN = "loglore_run"  # in a Ray job's metadata: the run folder


@dataclass(frozen=True)
class OnRay:
    """Does jobs on a cluster; call it as `jobs.runner.Perform`.

    Attributes:
        address: URL of Ray's job server.
        gpus: GPUs that the queue gave the job; None where there is no queue.
        lease_s: for which a job there goes on without a sign of life from here.
    """

    address: str
    gpus: int | None = None
    lease_s: float = LEASE_S

    def __call__(self, kind: str, spec: Spec, context: RunFolder) -> dict[str, Any]:
        """Do a job there.

        Raises:
            InputError: the cluster is of other versions, has too little, or does not see the run folder or an input.
            JobError: no cluster answers, or the job failed as the job itself says.
        """
        client = connection.connect(self.address)
        want = wanted(kind, spec, self.gpus, connection.nodes_of(self.address))
        place = places.of_run(context.path, settings.load().cluster_storage)
        if not place.everywhere and want.workers > 1:
            _refuse_deepspeed(spec)
        end_earlier(self.address, context.path)
        if not place.everywhere:
            with _own_events(context):
                place.fetch_run()
        asked = self._order(kind, spec, want, place)
        asked.write(place.folder / order.FOLDER)
        context.event("submitted", cluster=self.address, ray_job=asked.attempt, workers=want.workers, gpus=want.gpus)
        place.remove(*(f"{order.FOLDER}/{name}" for name in (order.STOP, order.OUTCOME, order.PULSE)))
        place.send_run()
        place.send(*(f"{order.FOLDER}/{name}" for name in (order.ORDER, order.KEYS, order.OUTPUT)))
        if not place.everywhere:
            (place.folder / order.FOLDER / order.KEYS).unlink(missing_ok=True)
        _submit(client, context.path.absolute(), place, asked)
        return _Waiting(client, self.address, asked.attempt, place).result()

    def _order(self, kind: str, spec: Spec, want: Wanted, place: Shared) -> Order:
        folder = place.folder / order.FOLDER
        # What was left open stays open: some keys may not be given beside others.
        values, workers = absolute(spec).model_dump(mode="json", exclude_unset=True), want.workers
        if kind == "train":
            # The plan of steps is made for as many as there were first, whatever becomes of them.
            earlier = Order.read(folder).spec["nodes"] if (folder / order.ORDER).exists() else None
            planned = earlier or workers
            values |= {"nodes": planned, "processes": 1}
            # One process needs no others to be started for it: it works in the driver.
            workers = 0 if planned == workers == 1 else workers
        name = f"loglore-{hashlib.sha256(str(place.folder).encode()).hexdigest()[:12]}-{secrets.token_hex(4)}"
        inputs = place.inputs(spec)
        return Order(kind, values, workers, want.gpus, want.cpus, self.lease_s, order.home(), name, inputs)


def _refuse_deepspeed(spec: Any) -> None:
    backend = hyperparameters.load(spec.hyperparameters).distributed_backend
    if backend == "deepspeed":
        raise InputError(
            "`distributed_backend`: deepspeed needs a run folder that all machines see; with a bucket use ddp or fsdp"
        )


@contextlib.contextmanager
def _own_events(context: RunFolder) -> Iterator[None]:
    """What was written here since the last attempt stays, when that one's events are taken over."""
    place = context.path / "events.jsonl"
    ours = files.read_jsonl_log(place)
    yield
    there = files.read_jsonl_log(place)
    files.write_jsonl(place, there + [row for row in ours if row not in there])


def absolute(spec: Spec) -> Spec:
    """The spec with absolute paths: the cluster's processes have a working directory of their own."""
    changed = {name: _absolute(getattr(spec, name)) for name in spec.inputs()}
    return spec.model_copy(update=changed)


def _absolute(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: path.absolute() for name, path in value.items()}
    return [path.absolute() for path in value] if isinstance(value, list) else value.absolute()


def end_earlier(address: str, run_folder: Path, timeout_s: float = END_S) -> None:
    """End what an earlier attempt at a run folder left running on the cluster, and wait until it has.

    Raises:
        JobError: no cluster answers. BusyError: it has not ended in time.
    """
    client = connection.connect(address)
    with connection.answering(address):
        mine = [each for each in client.list_jobs() if (each.metadata or {}).get(RUN) == str(run_folder.absolute())]
        left = [str(each.submission_id) for each in mine if not each.status.is_terminal()]
        for job in left:
            client.stop_job(job)
        deadline = time.monotonic() + timeout_s
        while left and time.monotonic() < deadline:
            left = [job for job in left if not client.get_job_status(job).is_terminal()]
            time.sleep(LOOK_S / 5)
    if left:
        raise BusyError(
            f"{run_folder}: an earlier attempt has not ended on the cluster at {address}: {', '.join(left)}"
        )


def _submit(client: "JobSubmissionClient", run: Path, place: Shared, asked: Order) -> None:
    """Submit the driver; for training it takes nothing itself, its workers do."""
    expected = ",".join(f"{name}={version}" for name, version in order.versions().items())
    connection.submit(
        client,
        entrypoint=f"python -m loglore.cluster.driver {shlex.quote(place.text)} {expected}",
        submission_id=asked.attempt,
        metadata={RUN: str(run)},
        runtime_env={"env_vars": order.environment()},
        entrypoint_num_cpus=0 if asked.workers else asked.cpus,
        entrypoint_num_gpus=0 if asked.workers else asked.gpus,
    )


class _Waiting:
    """A submitted job, while this process waits for it."""

    def __init__(self, client: "JobSubmissionClient", address: str, job: str, place: Shared) -> None:
        self.client, self.address, self.job, self.place = client, address, job, place
        self.folder = folder = place.folder / order.FOLDER
        self._beats = 0
        self._asked = self._answered = 0.0  # of Ray, and by it
        self._told = (folder / order.OUTPUT).stat().st_size if (folder / order.OUTPUT).exists() else 0

    def result(self) -> dict[str, Any]:
        """Wait for the end; Ctrl-C (SIGTERM in a worker's process) lets the job save first."""
        try:
            self._until_ended(lambda: False)
        except KeyboardInterrupt:
            (self.folder / order.STOP).touch()
            self.place.send(f"{order.FOLDER}/{order.STOP}")
            deadline = time.monotonic() + SAVE_S
            self._until_ended(lambda: time.monotonic() > deadline)
            outcome = self._outcome()
            if outcome is None or outcome["status"] != DONE:
                end_earlier(self.address, self.place.folder)
                raise
        result = self._judged()
        self.place.end()
        return result

    def _until_ended(self, enough: Callable[[], bool]) -> None:
        beaten, self._answered = 0.0, time.monotonic()
        while not enough():
            if time.monotonic() - beaten > BEAT_S:
                self._beats, beaten = self._beats + 1, time.monotonic()
                (self.folder / order.PULSE).write_text(str(self._beats))
                with contextlib.suppress(
                    InputError
                ):  # a bucket that does not answer now; the next one may come through
                    self.place.send(f"{order.FOLDER}/{order.PULSE}")
                    self.place.fetch(f"{order.FOLDER}/{order.OUTPUT}", *LOGS)
            ended = self._has_ended()
            if ended:
                # Checkpoints stay where the next attempt looks for them.
                self.place.fetch(f"{order.FOLDER}/{order.OUTPUT}", f"{order.FOLDER}/{order.OUTCOME}")
                self.place.fetch_run(OUTPUTS)
            self._relay()
            if ended:
                return
            time.sleep(LOOK_S)

    def _has_ended(self) -> bool:
        """Whether Ray says so; it is asked when the job has left its outcome, else seldom."""
        if time.monotonic() - self._asked < ASK_S and not (self.folder / order.OUTCOME).exists():
            return False
        self._asked = time.monotonic()
        try:
            with connection.answering(self.address):
                ended = self.client.get_job_status(self.job).is_terminal()
        except JobError as fault:
            if time.monotonic() - self._answered > SILENT_S:
                raise JobError(f"{fault}; the job there ends, and the same command goes on where it was") from None
            return False
        self._answered = time.monotonic()
        return bool(ended)

    def _relay(self) -> None:
        """What the job has printed since the last look, on standard error."""
        output = self.folder / order.OUTPUT
        if not output.exists():
            return
        with output.open("rb") as stream:
            stream.seek(self._told)
            new = stream.read()
        self._told += len(new)
        if new:
            sys.stderr.write(new.decode("utf-8", "replace"))
            sys.stderr.flush()

    def _outcome(self) -> dict[str, Any] | None:
        path = self.folder / order.OUTCOME
        return dict(files.read_json(path)) if path.exists() else None

    def _judged(self) -> dict[str, Any]:
        """The job's result, or its error as its own."""
        outcome = self._outcome()
        if outcome is None:
            raise self._death()
        status, message = outcome["status"], str(outcome["message"])
        if status == DONE:
            return dict(outcome["result"])
        if status == DISK_FULL:
            raise DiskFullError(message, 1)
        raise {BAD_INPUT: InputError, BUSY: BusyError, STOPPED: StoppedError}.get(status, JobError)(message)

    def _death(self) -> Exception:
        """Why a job ended without saying so itself."""
        with connection.answering(self.address):
            found = self.client.get_job_info(self.job)
            lines = self.client.get_job_logs(self.job).strip().splitlines()
        last = lines[-1] if lines else str(found.message or found.status)
        if found.driver_exit_code == BAD_INPUT:
            return InputError(last.removeprefix("loglore: "))
        if str(found.status) == "STOPPED":
            return StoppedError(f"Ray job {self.job} was stopped on the cluster; the same command goes on")
        again = "the same command goes on from its last checkpoint"
        return JobError(f"Ray job {self.job} ended without a result: {last[:300]}; {again}")
