"""The plan of a recipe, printed by `loglore run --dry-run`: which jobs run, and what the training jobs will take.

Shapes come from the model and data on this machine where they are; where not, from what the recipe declares, and the
plan says so. A training job with neither says that, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore.cluster import scale
from loglore.cluster.scale import Scaled, Written
from loglore.jobs import recipes
from loglore.jobs.recipes import Job, Recipe
from loglore.train import hyperparameters
from loglore.train.estimate import GIB, Declared, estimate


@dataclass(frozen=True)
class Planned:
    """A job of the plan: what it reads, and for a train job its estimate and where the shapes are from.

    scaled: the same on other numbers of GPUs (`cluster.scale.Scaled`); written: of a synthesis, on as many nodes.
    """

    job: str
    kind: str
    reads: tuple[str, ...]
    estimate: dict[str, Any] | None
    basis: str
    scaled: tuple[Scaled, ...] = ()
    written: tuple[Written, ...] = ()


def plan(recipe: Recipe, nodes: Sequence[int] = ()) -> list[Planned]:
    """The plan of every job, in order; of trainings and syntheses also what they take on so many nodes.

    Raises:
        InputError: hyperparameters or declarations that are not what they should be.
    """
    return [_planned(job, recipe, nodes) for job in recipe.jobs]


def _planned(job: Job, recipe: Recipe, nodes: Sequence[int]) -> Planned:
    reads = tuple(dict.fromkeys(target for target, _ in job.references()))
    if job.kind == "synth":
        rows = sum(int(job.values.get(f"{name}_rows", 0)) for name in ("train", "validation", "test"))
        by_teacher = job.values.get("teacher", "analyst") != "analyst"
        there = tuple(scale.written(rows, scale.workers_of(count, by_teacher), by_teacher) for count in nodes)
        return Planned(job.name, job.kind, reads, None, "", written=there if rows else ())
    if job.kind != "train":
        return Planned(job.name, job.kind, reads, None, "")
    if not job.declared:
        return Planned(job.name, job.kind, reads, None, "no shapes declared: known when the jobs before it are done")
    where = f"{recipe.path}: job {job.name}: declared"
    declared = Declared.parse(job.declared, where)
    file = _beside(recipe, str(job.values["hyperparameters"]))
    requested = hyperparameters.load(file)
    found = estimate(job.values["stage"], requested, declared)
    per_node = scale.Links().gpus_per_node
    scaled = tuple(scale.scaled(job.values["stage"], requested, declared, per_node * count) for count in nodes)
    missing = [name for name in ("model", "train") if not _present(recipe, str(job.values[name]))]
    basis = (
        f"{' and '.join(missing)} not on this machine: shapes as the recipe declares them" if missing else "declared"
    )
    return Planned(job.name, job.kind, reads, found.as_json(), f"{basis}; speed: {declared.hardware.source}", scaled)


def forecast_lines(path: Path, folder: Path, measure: bool) -> list[str]:
    """The forecast of one training job from its own model and rows, as text; `folder` keeps the packed rows.

    Raises:
        InputError: as the job itself would.
    """
    from loglore.runs.folder import RunFolder
    from loglore.train.forecast import forecast
    from loglore.train.job import TrainSpec

    job = recipes.job_of(path, "train", {**recipes.read_yaml(path), "kind": "train"})
    values = recipes.resolve(job, Recipe("train", path, (job,)), {})
    spec = TrainSpec.parse(values, str(path))
    return forecast(spec, RunFolder(folder, {}), measure).lines()


def lines(planned: Planned) -> list[str]:
    """The plan of one job as text."""
    head = f"{planned.job} ({planned.kind})" + (f", after {', '.join(planned.reads)}" if planned.reads else "")
    if planned.estimate is None:
        told = [scale.line(one) for one in planned.written]
        return [head, *([f"    {planned.basis}"] if planned.basis else []), *told]
    found = planned.estimate
    memory = ", ".join(f"{part} {size / GIB:.1f}" for part, size in found["memory"].items())
    return [
        head,
        f"    {found['steps']:,} optimizer steps of {found['rows_per_step']:,} rows, {found['tokens']:,} tokens",
        f"    {found['memory_per_gpu'] / GIB:.1f} GiB per GPU ({memory})",
        f"    {duration(found['seconds'])} of training, ${found['dollars']:.2f} (GPUs x hours x price)",
        f"    {planned.basis}",
        *(line for one in planned.scaled for line in scale.lines(one)),
    ]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: `1 h 02 m 03 s`, `2 m 03 s`, `3 s`."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02} m {left:02} s"
    return f"{minutes} m {left:02} s" if minutes else f"{left} s"


def _beside(recipe: Recipe, value: str) -> Path:
    beside = recipe.path.parent / value
    return beside if beside.exists() else Path(value)


def _present(recipe: Recipe, value: str) -> bool:
    return not recipes.REFERENCE.search(value) and _beside(recipe, value).exists()
