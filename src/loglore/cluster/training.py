"""Training on a cluster: Ray Train starts the workers and joins them; each calls the one train function.

    driver ── nodes asked ── TorchTrainer ── workers: launch.take_part ── result
                  ^                             │ one is lost (its node, its process)
                  └── again, from the last checkpoint in the run folder, with those that are left where that is possible

Under `ddp` and `fsdp` fewer can go on: the plan of steps is made for the number asked for, and those who are left take
more rows each (and, under `fsdp`, more of the weights, where their memory holds them). Parts of `deepspeed` belong to a
number of processes, and so do the steps of preferences: the run waits until there are as many again. Checkpoints,
metrics and events are those of a run on one machine.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from loglore.cluster import network, nodes, order, packing, parts, places, pulse
from loglore.cluster.order import Order
from loglore.cluster.places import Shared
from loglore.errors import InputError, JobError
from loglore.jobs import process
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.telemetry import sampled
from loglore.runs.tuning import threads_wait
from loglore.train import hyperparameters, launch, stopping
from loglore.train.job import TrainSpec

MOST_LOSSES = 3  # in a row, without a checkpoint between them
STARTED = "workers started"
WAITING = "nodes are taken, or not yet known to be lost"


def train(spec: TrainSpec, context: RunFolder, asked: Order, place: Shared) -> dict[str, Any]:
    """Train on the cluster that this process is a driver of.

    Args:
        spec: with paths of this machine.
        context: this machine's run folder.
        asked: the order.
        place: of the run, for its workers.

    Returns:
        What the train function does, and `cluster`: workers of each start, and what was lost.

    Raises:
        InputError, JobError: as the train function; JobError when workers are lost again and again.
    """
    import ray

    # Ray imports torch in its workers before our code runs there.
    ray.init(logging_level="warning", runtime_env={"env_vars": threads_wait()})
    try:
        # Workers fetch for themselves what is in a bucket.
        inputs = [path for paths in spec.inputs().values() for path in paths] if place.everywhere else []
        context.event("nodes asked", nodes=nodes.check(place.text, inputs, asked.gpus > 0))
        with _stopping(place):
            if place.everywhere and packing.pack(spec, context) is not None:
                context.event("packed", by="all nodes")
            return _until_done(spec, context, asked, place)
    finally:
        ray.shutdown()


def _until_done(spec: TrainSpec, context: RunFolder, asked: Order, place: Shared) -> dict[str, Any]:
    losses: list[dict[str, Any]] = []
    row, last = 0, -1
    before = len(_starts(context))
    count, fewest = asked.workers, _fewest(spec, asked.workers)
    silent: list[str] = []
    while True:
        workers = launch.cleared(context.path)
        place.remove(launch.FOLDER)
        place.send_run()
        fault = _start(place, asked, count, silent)
        place.fetch_run()
        try:
            found = launch.outcome(workers)
        except InputError as refused:
            if count == asked.workers:
                raise
            # As many as were asked for took it: these are too few for their memory.
            context.event("too few workers", workers=count, reason=str(refused))
            found, fault, fewest = None, WAITING, asked.workers
        if found is not None:
            started = _starts(context)[before:]
            return {**found, "cluster": {"starts": started, "losses": losses}}
        room, silent = _left(asked)
        count = max(min(room, asked.workers), fewest)
        step = max(place.steps(), default=0)
        if process.ASKED.is_set():
            raise stopping.StoppedError(f"stopped without all workers; the same command goes on from step {step}")
        if fault == WAITING:
            continue
        row, last = (row + 1 if step == last else 1), step
        losses.append({"after_step": _last_step(context), "from_step": step, "reason": fault})
        context.event("workers lost", **losses[-1])
        if row > MOST_LOSSES:
            raise JobError(f"workers were lost {row} times without a step between: {fault}")


def _fewest(spec: TrainSpec, workers: int) -> int:
    """How many workers can do the work of so many."""
    backend = hyperparameters.load(spec.hyperparameters).distributed_backend
    if spec.stage == "dpo" or backend == "deepspeed":
        return workers
    return min(workers, 2) if backend == "fsdp" else 1


def _left(asked: Order) -> tuple[int, list[str]]:
    """For how many workers the nodes that are left have room, and ids of lost ones that Ray does not know of yet.

    Ray Train's own elastic range asked for workers on the lost node for minutes (Ray 2.60, nodes killed).
    """
    there, silent = nodes.answering()
    each = {"CPU": asked.cpus, **({"GPU": asked.gpus} if asked.gpus else {})}
    rooms = [node["Resources"] for node in there]
    return sum(int(min(has.get(name, 0) // needed for name, needed in each.items())) for has in rooms), silent


def _start(place: Shared, asked: Order, count: int, silent: Sequence[str]) -> str:
    """One start of `count` workers, on none of the nodes `silent`; why it ended, empty when all came to their end."""
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _work,
        train_loop_config={"run": place.text},
        scaling_config=ScalingConfig(
            num_workers=count,
            use_gpu=asked.gpus > 0,
            resources_per_worker={"CPU": asked.cpus, **({"GPU": asked.gpus} if asked.gpus else {})},
            label_selector={"ray.io/node-id": f"!in({', '.join(silent)})"} if silent else None,
        ),
        torch_config=network.torch_config("nccl" if asked.gpus else "gloo"),
        run_config=RunConfig(
            name=f"start-{time.time_ns()}",
            **place.for_ray(),
            # Whether and how it goes on is decided above: an error of the job's own must not be tried again.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )
    try:
        trainer.fit()
    except ControllerError as fault:
        if "startup timed out" in str(fault):
            return WAITING
        return " ".join(str(fault).split())[:300]
    except WorkerGroupError as fault:
        return "; ".join(f"worker {rank}: {_said(error)}" for rank, error in sorted(fault.worker_failures.items()))
    except Exception as fault:  # Ray wraps whatever a worker raised, and the loss of workers, in errors of many kinds
        return " ".join(str(fault).split())[:300]
    return ""


def _said(error: Exception) -> str:
    """What a worker raised, in a line: Ray hands over whole tracebacks, and tells of lost ones in their first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]).strip()[:200]


def _work(config: dict[str, Any]) -> None:
    """One worker, in a thread of a process that Ray started."""
    from ray import train as ray_train

    world = ray_train.get_context()
    rank, place = world.get_world_rank(), places.at(config["run"])
    place.fetch(f"{order.FOLDER}/{order.ORDER}")
    asked = Order.read(place.folder / order.FOLDER)
    threading.Thread(target=pulse.watch, args=(place, asked, stopping.ask), name="pulse", daemon=True).start()
    spec = place.placed(TrainSpec.parse(asked.spec, "train"), asked)
    if rank == 0:
        done = _lead(spec, place, world.get_world_size())
    else:
        place.fetch_trees("checkpoints/")
        done = launch.take_part(spec, parts.Following(place), rank)
        place.send(f"{launch.FOLDER}/error-{rank}.json")
    if not done:
        # The others must not wait for this one.
        raise JobError(f"worker {rank} ended with an error: {place.folder / launch.FOLDER}")
    # Of a machine's workers the last to need the copy: the leading one saves when the others have ended.
    if rank == 0 or (world.get_node_rank() > 0 and world.get_local_rank() == 0):
        place.leave()


def _lead(spec: TrainSpec, place: Shared, size: int) -> bool:
    place.fetch_run(".")
    context = parts.Leading(place)
    context.event(STARTED, workers=size)
    with places.handing_on(place.send_run), sampled(context):
        return launch.take_part(spec, context, 0)


@contextlib.contextmanager
def _stopping(place: Shared) -> Iterator[None]:
    """SIGTERM becomes the wish that all workers see; they save, and end together."""

    def tell(*_: Any) -> None:
        process.ASKED.set()
        (place.folder / order.FOLDER / order.STOP).touch()
        place.send(f"{order.FOLDER}/{order.STOP}")

    # Ray has put its own in place of the driver's.
    before = signal.signal(signal.SIGTERM, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _starts(context: RunFolder) -> list[int]:
    rows = files.read_jsonl_log(context.path / "events.jsonl")
    return [int(row["workers"]) for row in rows if row["event"] == STARTED]


def _last_step(context: RunFolder) -> int:
    return max((int(row["step"]) for row in context.metrics() if "loss" in row), default=0)
