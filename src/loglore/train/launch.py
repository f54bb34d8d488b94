"""Several training processes on one machine: `torchrun` starts them, each calls the same `run(spec, context)`.

The parent follows the files of the run (progress from `metrics.jsonl`), passes SIGTERM on to the workers, which save a
checkpoint and end, and hands back what the leading one reports. What workers print is in `workers/`. On several
machines a Ray cluster starts the same workers (`loglore.cluster`), or `torchrun … -m loglore.train.launch SPEC.json
RUN` on each, with a run folder that all of them see.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.errors import InputError, JobError
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import live, stopping
from loglore.train.throughput import sparkline

if TYPE_CHECKING:
    from loglore.train.job import TrainSpec

FOLDER = "workers"
LOOK_EVERY_S = 0.3
ERRORS = {"InputError": InputError, "StoppedError": stopping.StoppedError, "JobError": JobError}
TAKING_PART = threading.Event()  # this process is one of a run that another one started


def inside() -> bool:
    """Whether this process is a worker already (or was started by `torchrun` by hand)."""
    return TAKING_PART.is_set() or int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(spec: "TrainSpec", context: RunFolder, processes: int) -> dict[str, Any]:
    """Run a train job in `processes` processes on this machine; returns the leading one's result.

    Raises:
        InputError, JobError: as the workers raised it; JobError when one of them died, with the place of its output;
            InputError for several machines, which are not started from here.
    """
    if spec.nodes and spec.nodes > 1:
        raise InputError(f"`nodes`: {spec.nodes} machines are a Ray cluster's to give: run it with --executor ray")
    folder = cleared(context.path)
    files.write_json(folder / "spec.json", spec.model_dump(mode="json"))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
        "-m", "loglore.train.launch", str(folder / "spec.json"), str(context.path),
    ]  # fmt: skip
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    with (folder / "output.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    with _passing_on_sigterm(folder), _killed_with_us(process):
        code = _follow(process, context)
    found = outcome(folder)
    if found is None:
        raise JobError(
            f"a training process ended with code {code}; its output is in {folder / 'output.log'}; "
            "the same command goes on from the last checkpoint"
        )
    return found


def cleared(run_folder: Path) -> Path:
    """The folder of a run's workers, without what earlier ones reported."""
    folder = run_folder / FOLDER
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("error-*.json"), folder / "result.json"):
        old.unlink(missing_ok=True)
    return folder


def outcome(folder: Path) -> dict[str, Any] | None:
    """What the leading worker reported; None when it did not come to that.

    Raises:
        InputError, JobError: as a worker raised it.
    """
    for path in sorted(folder.glob("error-*.json")):
        fault = files.read_json(path)
        raise ERRORS[fault["kind"]](fault["message"])
    result = folder / "result.json"
    return dict(files.read_json(result)) if result.exists() else None


def _follow(process: "subprocess.Popen[bytes]", context: RunFolder) -> int:
    """Show progress from the files that the leading worker writes, until torchrun ends."""
    metrics = context.path / "metrics.jsonl"
    planned = context.path / FOLDER / "planned.json"
    planned.unlink(missing_ok=True)
    while process.poll() is None and not planned.exists():
        time.sleep(LOOK_EVERY_S)
    if process.poll() is not None:
        return process.returncode
    plan = files.read_json(planned)
    seen = 0
    with live.watched(context, "train", plan["tokens"], plan["done"]) as tick:
        while process.poll() is None:
            rows = [row for row in files.read_jsonl_log(metrics) if "loss" in row and row["step"] > plan["step"]]
            losses = [row["loss"] for row in rows]
            for number, row in enumerate(rows[seen:], seen + 1):
                tick(row["tokens"], note=f"step {row['step']} loss {row['loss']:.3f} {sparkline(losses[:number])}")
            seen = len(rows)
            time.sleep(LOOK_EVERY_S)
    return process.returncode


@contextlib.contextmanager
def _passing_on_sigterm(folder: Path) -> Iterator[None]:
    """Workers are told directly: torchrun would kill them 30 seconds after passing it on, while they may be saving."""

    def tell(*_: Any) -> None:
        for path in folder.glob("worker-*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(path.read_text()), signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():  # whoever runs us there stops us in another way
        yield
        return
    before = signal.signal(signal.SIGTERM, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _killed_with_us(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """No worker outlives a parent that leaves by an error (Ctrl-C)."""
    try:
        yield
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def worker(spec_path: Path, run_folder: Path) -> None:
    """One process of the run, started by torchrun."""
    import torch

    from loglore.train.job import TrainSpec
    from loglore.train.world import Follower

    rank = int(os.environ["RANK"])
    folder = run_folder / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / f"worker-{rank}.pid").write_text(str(os.getpid()))
    spec = TrainSpec.parse(json.loads(spec_path.read_text("utf-8")), str(spec_path))
    own = run_folder / "spec.json"
    values = files.read_json(own) if rank == 0 and own.exists() else {}
    try:
        done = take_part(spec, RunFolder(run_folder, values) if rank == 0 else Follower(run_folder), rank)
        if done:
            torch.distributed.destroy_process_group()
    finally:
        (folder / f"worker-{rank}.pid").unlink(missing_ok=True)
    if done and rank:
        # Threads of gloo now and then abort a process while it is taken down ("terminate called without an active
        # exception"), and torchrun would then end the leading one, which is still saving. Followers have nothing to
        # take down: what they wrote is written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def take_part(spec: "TrainSpec", context: RunFolder, rank: int) -> bool:
    """Be the process `rank` of the run, and leave what came of it in its folder (`outcome`); False for an error.

    The environment is torchrun's (`RANK`, `WORLD_SIZE` …), whoever started this process.
    """
    import torch

    from loglore.train.job import run
    from loglore.train.world import join

    TAKING_PART.set()
    folder = context.path / FOLDER
    try:
        join(torch.cuda.is_available())
        result = run(spec, context)
    except (InputError, JobError) as fault:
        kind = next(name for name, error in ERRORS.items() if isinstance(fault, error))
        files.write_json(folder / f"error-{rank}.json", {"kind": kind, "message": str(fault)})
        return False
    if rank == 0:
        files.write_json(folder / "result.json", result)
    return True


if __name__ == "__main__":
    worker(Path(sys.argv[1]), Path(sys.argv[2]))
