"""`loglore cluster check`: what the cluster has, whether its nodes fit together, whether a job's estimate fits."""

import json
import secrets
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from loglore.cluster import connection, look, order
from loglore.cluster.connection import GIB, Node
from loglore.cluster.wanted import wanted
from loglore.data.sources import S3
from loglore.errors import InputError, JobError
from loglore.jobs import recipes
from loglore.jobs.recipes import Recipe
from loglore.runs.folder import RunFolder
from loglore.train import hyperparameters
from loglore.train.estimate import Declared, Hardware, estimate
from loglore.train.forecast import forecast
from loglore.train.job import TrainSpec

LOOK_S = 0.5
ANSWER_S = 180.0


@dataclass(frozen=True)
class Checked:
    """nodes with what they said (id: versions, fault, gpu_memory); lines: what was found, for a reader."""

    nodes: list[Node]
    answers: dict[str, dict[str, Any]]
    lines: list[str]

    def rows(self) -> list[dict[str, Any]]:
        """One row a node."""
        return [
            {
                "node": node.name,
                "role": "head" if node.head else "worker",
                "cpus": node.cpus,
                "gpus": node.gpus,
                "accelerator": node.accelerator,
                "memory_gib": round(node.memory / GIB, 1),
                "gpu_memory_gib": round(least / GIB, 1) if (least := _gpu_memory(self.answers, [node])) else None,
                **{key: self.answers.get(node.id, {}).get(key) for key in ("versions", "fault")},
            }
            for node in self.nodes
        ]


def check(
    address: str, storage: Path | str, spec: Path | None, nodes: int | None, gpus_per_node: int | None
) -> Checked:
    """Look at a cluster.

    Args:
        address: URL of its job server.
        storage: a folder, or a place in a bucket, that this machine and all nodes should see.
        spec: recipe or spec file of a training job to fit, or None.
        nodes: of training jobs, in place of what the file says.
        gpus_per_node: the same.

    Raises:
        InputError: versions that differ, storage that is not shared, a job that does not fit: the first of them.
        JobError: no cluster answers.
    """
    client = connection.connect(address)
    found = connection.nodes_of(address)
    where = str(storage)
    if not where.startswith(S3):
        if not Path(where).is_dir():
            raise InputError(f"{where}: no such folder")
        where = str(Path(where).absolute())
    answers = _answers(client, address, where)
    for answer in answers.values():
        if answer["fault"]:
            raise InputError(answer["fault"])
    silent = [node.name for node in found if node.id not in answers]
    if silent:
        raise JobError(f"{silent[0]}, a node of the cluster at {address}, has not answered; is it of another one?")
    versions = ", ".join(f"{name} {version}" for name, version in order.versions().items())
    gpus, cpus = sum(node.gpus for node in found), sum(node.cpus for node in found)
    lines = [f"{len(found)} nodes, {cpus:g} CPUs, {gpus} GPUs; {versions} on all of them; all see {where}"]
    if spec is not None:
        lines += fits(spec, found, answers, nodes, gpus_per_node)
    return Checked(found, answers, lines)


def _answers(client: Any, address: str, where: str) -> dict[str, dict[str, Any]]:
    """What every node says, by id."""
    job = connection.submit(
        client,
        entrypoint=f"python -m loglore.cluster.look {shlex.quote(where)}",
        submission_id=f"loglore-check-{secrets.token_hex(4)}",
        runtime_env={"env_vars": order.environment()},
    )
    with connection.answering(address):
        deadline = time.monotonic() + ANSWER_S
        while not client.get_job_status(job).is_terminal():
            if time.monotonic() > deadline:
                client.stop_job(job)
                raise JobError(f"the nodes of the cluster at {address} have not answered for {ANSWER_S:.0f} s")
            time.sleep(LOOK_S)
        said = client.get_job_logs(job).strip().splitlines()
    last = said[-1] if said else "no answer"
    if last.startswith(look.FAULT):
        raise InputError(last.removeprefix(look.FAULT))
    if not last.startswith(look.MARK):
        raise InputError(f"{last}; is LogLore {order.versions()['LogLore']} installed on the cluster's head?")
    return {answer["id"]: answer for answer in json.loads(last.removeprefix(look.MARK))}


def fits(
    path: Path, found: Sequence[Node], answers: dict[str, dict[str, Any]], nodes: int | None, gpus_per_node: int | None
) -> list[str]:
    """Whether the training jobs of a file fit, one line each.

    Raises:
        InputError: the first that does not, with both numbers; or nothing is known of its shape.
    """
    content = recipes.read_yaml(path)
    if "jobs" in content:
        recipe = recipes.shaped(recipes.load(path), nodes, gpus_per_node)
        jobs = [job for job in recipe.jobs if job.kind == "train"]
        return [_fit(job.name, *_declared(job, recipe, found), found, answers) for job in jobs]
    given = {name: value for name, value in (("nodes", nodes), ("processes", gpus_per_node)) if value is not None}
    job = recipes.job_of(path, "train", {**content, **given, "kind": "train"})
    spec = TrainSpec.parse(recipes.resolve(job, Recipe("train", path, (job,)), {}), str(path))
    workers = wanted("train", spec, None, found).workers
    with tempfile.TemporaryDirectory(prefix="loglore-check-") as folder:
        exact = spec.model_copy(update={"nodes": workers, "processes": 1})
        needed = forecast(exact, RunFolder(Path(folder), {})).memory_in_all
    return [_fit("train", workers, needed, found, answers)]


def _declared(job: recipes.Job, recipe: Recipe, found: Sequence[Node]) -> tuple[int, float]:
    """Workers and bytes a worker, by the shapes that a recipe declares."""
    where = f"{recipe.path}: job {job.name}"
    if not job.declared:
        raise InputError(f"{where}: no shapes declared; give the spec file of the job, with its model at hand")
    declared = Declared.parse(job.declared, where)
    shape = SimpleNamespace(nodes=job.values.get("nodes"), processes=job.values.get("processes"))
    if shape.nodes is None and shape.processes is None:
        shape.processes = declared.hardware.gpus
    workers = wanted("train", shape, None, found).workers
    hardware: Hardware = declared.hardware.model_copy(update={"gpus": workers})
    file = recipe.path.parent / str(job.values["hyperparameters"])
    requested = hyperparameters.load(file if file.exists() else Path(str(job.values["hyperparameters"])))
    found_there = estimate(job.values["stage"], requested, declared.model_copy(update={"hardware": hardware}))
    return workers, sum(found_there.memory.values())


def _fit(name: str, workers: int, needed: float, found: Sequence[Node], answers: dict[str, dict[str, Any]]) -> str:
    gpus = sum(node.gpus for node in found)
    if gpus:
        room, what = _gpu_memory(answers, found), "GPU"
        if not room:
            return f"{name}: {workers} GPUs of {gpus}, {needed / GIB:.1f} GiB each; the GPUs' memory is not known"
    else:
        able = [node for node in found if node.cpus >= 1]
        each = -(-workers // len(able))
        room, what = min(node.memory for node in able) // each, "worker"
    if needed > room:
        raise InputError(
            f"{name} does not fit: {needed / GIB:.1f} GiB a {what} are needed and {room / GIB:.1f} GiB are there, with "
            f"{workers} workers; more of them with fsdp or deepspeed divide it"
        )
    return f"{name} fits: {workers} {what}s, {needed / GIB:.1f} GiB of {room / GIB:.1f} each"


def _gpu_memory(answers: dict[str, dict[str, Any]], nodes: Sequence[Node]) -> int:
    """Bytes of the smallest GPU; 0 where none is known."""
    sizes = [size for node in nodes for size in answers.get(node.id, {}).get("gpu_memory", ())]
    return min(sizes, default=0)
