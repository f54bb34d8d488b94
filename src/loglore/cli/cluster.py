"""`loglore cluster …`, and what other verbs need to run jobs on a Ray cluster."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loglore.cli.output import AsJson, table
from loglore.errors import InputError

if TYPE_CHECKING:
    from loglore.cluster.serving import Place
    from loglore.cluster.submission import OnRay

app = typer.Typer(help="A Ray cluster: what it has, and whether a job fits.", no_args_is_help=True)

ExecutorName = Literal["local", "ray"]
ExecutorOption = Annotated[ExecutorName, typer.Option("--executor", help="Where jobs run: here, or on a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(help="URL of Ray's job server [RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265]."),
]
Nodes = Annotated[int | None, typer.Option(min=1, help="Machines for each training job.")]
GpusPerNode = Annotated[int | None, typer.Option(min=1, help="GPUs (without any: processes) on each of them.")]

Bucket = Annotated[
    str | None,
    typer.Option("--storage", help="s3://bucket/prefix, for machines that share no disk [LOGLORE_CLUSTER_STORAGE]."),
]
Storage = Annotated[Path | None, typer.Option(help="With --executor ray: a folder that all nodes see [LOGLORE_HOME].")]


@app.callback()
def root() -> None:
    """A Ray cluster: what it has, and whether a job fits."""


@app.command("check")
def check(
    spec: Annotated[Path | None, typer.Argument(help="Recipe or spec file of a training job: does it fit?")] = None,
    address: Address = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Folder or s3://bucket/prefix all nodes should see [LOGLORE_CLUSTER_STORAGE, else this one]."
        ),
    ] = None,
    nodes: Nodes = None,
    gpus_per_node: GpusPerNode = None,
    as_json: AsJson = False,
) -> None:
    """What every node has, whether all fit together and see the storage, and whether a job's estimate fits."""
    from loglore import settings
    from loglore.cluster import check as checks
    from loglore.cluster.connection import address_of

    where = storage or settings.load().cluster_storage or str(Path.cwd())
    found = checks.check(address_of(address), where, spec, nodes, gpus_per_node)
    table(found.rows(), ["node", "role", "cpus", "gpus", "accelerator", "memory_gib", "gpu_memory_gib"], as_json)
    if not as_json:
        print("\n".join(found.lines))


def on_ray(
    executor: ExecutorName,
    address: str | None,
    storage: str | None,
    nodes: int | None = None,
    gpus_per_node: int | None = None,
) -> "OnRay | None":
    """What does jobs on the cluster; None where they run here.

    Raises:
        InputError: options of a cluster, and no cluster; a storage that is no bucket.
    """
    if executor == "local":
        refuse_without_ray(address=address, storage=storage, nodes=nodes, gpus_per_node=gpus_per_node)
        return None
    hand_on_by(storage)
    from loglore.cluster.connection import address_of
    from loglore.cluster.submission import OnRay

    return OnRay(address_of(address))


def hand_on_by(storage: str | None) -> None:
    """Have this process, and those that it starts, hand runs to the cluster's machines by a bucket.

    Raises:
        InputError: it is none.
    """
    if storage is None:
        return
    if not storage.startswith("s3://"):
        raise InputError(
            f"--storage {storage}: expected s3://bucket/prefix; a run folder that all nodes see needs none"
        )
    os.environ["LOGLORE_CLUSTER_STORAGE"] = storage


@contextlib.contextmanager
def by_all_nodes(
    kind: str, values: Mapping[str, Any], address: str | None, storage: Path
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """What all nodes of a cluster do together: a run folder that lasts as long as the block, and the result.

    Args:
        kind: a verb of `cluster.everywhere`.
        values: of its spec, but for `beside`: relative paths in them are looked up here.
        address: URL of the job server.
        storage: a folder that all nodes see.

    Raises:
        InputError, JobError: as the verb, or as `cluster.submission.OnRay`.
    """
    import tempfile

    from loglore import settings
    from loglore.cluster import everywhere
    from loglore.runs.folder import RunFolder

    if settings.load().cluster_storage:
        raise InputError("LOGLORE_CLUSTER_STORAGE is for jobs: data verbs need a folder that all nodes see")
    perform = on_ray("ray", address, None)
    assert perform is not None
    if not storage.is_dir():
        raise InputError(f"--storage {storage}: no such folder")
    spec = everywhere.spec_class(kind).parse({**values, "beside": str(Path.cwd())}, kind)
    with tempfile.TemporaryDirectory(prefix=f".loglore-{kind}-", dir=storage.absolute()) as folder:
        context = RunFolder(Path(folder) / "run", spec.model_dump(mode="json"))
        yield context.path, perform(kind, spec, context)


def place(executor: ExecutorName, address: str | None, storage: Path | None) -> "Place | None":
    """Where engines run on the cluster; None where they run here.

    Raises:
        InputError: options of a cluster and no cluster, or no such folder.
    """
    if executor == "local":
        refuse_without_ray(address=address, storage=storage)
        return None
    from loglore.cluster.serving import Place

    return Place.of(address, storage)


def refuse_without_ray(**options: object) -> None:
    """Refuse options that would be ignored."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')} is of a cluster: add --executor ray")
