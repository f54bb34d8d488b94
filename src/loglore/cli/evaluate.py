"""`loglore test` and `loglore compare`: a spec file, or options that make one."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from loglore.cli import cluster
from loglore.cli.output import AsJson, say
from loglore.errors import InputError

Spec = Annotated[Path | None, typer.Argument(help="Spec file (YAML), instead of options.")]
TestOut = Annotated[
    Path | None, typer.Option("--out", "-o", help="Run folder; default runs/test-MODEL-DATASET. A stopped run goes on.")
]
CompareOut = Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")]


def test(
    spec: Spec = None,
    model: Annotated[
        str | None, typer.Option(help="name, name@version, a folder or a .gguf; with --endpoint the id there.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Chat rows with true answers, or a folder of splits (its test file).")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Test the model at this OpenAI-compatible URL.")] = None,
    replica: Annotated[
        list[str] | None, typer.Option(help="Another URL of the same model, to share the rows; may be repeated.")
    ] = None,
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the endpoint's key.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Most requests in flight at the endpoint.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="LoRA adapter folder.")] = None,
    turns: Annotated[str | None, typer.Option(help="all assistant turns, or the last one.")] = None,
    suite: Annotated[str | None, typer.Option(help="own rows, or logs: the five log tasks.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only rows of this task; may be repeated.")] = None,
    rows_per_task: Annotated[int | None, typer.Option(help="At most so many rows a task.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Share of probability sampled from.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends an answer; may be repeated.")] = None,
    system: Annotated[str | None, typer.Option(help="System message, instead of the rows' own.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows answered together in this process.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling, drawn rows and bootstrap.")] = None,
    out: TestOut = None,
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    storage: cluster.Bucket = None,
    as_json: AsJson = False,
) -> None:
    """Score a model or an endpoint on a dataset (a test job)."""
    from loglore.jobs import runner

    given = {
        "dataset": dataset and str(dataset),
        "adapter": adapter and str(adapter),
        "turns": turns,
        "suite": suite,
        "tasks": task,
        "rows_per_task": rows_per_task,
        "max_new_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "stop": stop,
        "system": system,
        "batch_size": batch_size,
        "seed": seed,
        "replicas": replica,
        **_tested(model, endpoint, key_env, concurrency),
    }
    values = {name: value for name, value in given.items() if value is not None}
    perform = cluster.on_ray(executor, address, storage) or runner.here
    if spec is not None:
        if values:
            raise InputError(f"{spec}: give a spec file or options, not both ({', '.join(values)})")
        report = runner.run_spec("test", spec, out or Path("runs") / spec.stem, say, perform)
    else:
        if dataset is None or model is None:
            raise InputError("expected a spec file, or --model and --dataset")
        name = f"test-{_short(model)}-{_short(str(dataset))}"
        report = runner.run_values("test", values, out or Path("runs") / name, say, perform=perform)
    _show(report, as_json)


def compare(
    runs: Annotated[list[str], typer.Argument(help="Folders of finished test jobs, as RUN or LABEL=RUN.")],
    plot: Annotated[Path | None, typer.Option(help="Also write the bar chart to this .png or .svg file.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Label that the others are compared with; default: the first.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="Training rows: adds the score of copying the nearest training answer.")
    ] = None,
    training: Annotated[list[str] | None, typer.Option(help="Folder of a training run, for its curves.")] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 1000,
    out: CompareOut = Path("runs/compare"),
    as_json: AsJson = False,
) -> None:
    """Compare test jobs on the rows they have in common: differences with intervals, slices, gains and losses."""
    from loglore.jobs import runner

    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise InputError(f"--plot {plot}: expected a name that ends in .png or .svg")
    given = {"baseline": baseline, "train": train and str(train), "training": training and _labelled(training)}
    values: dict[str, Any] = {"tests": _labelled(runs), "resamples": resamples}
    values |= {name: value for name, value in given.items() if value is not None}
    report = runner.run_values("compare", values, out, say)
    if plot is not None:
        from loglore.runs.files import write_bytes

        write_bytes(plot, (out / report["outputs"][f"comparison_{plot.suffix[1:]}"]).read_bytes())
    _show(report, as_json)


def _tested(model: str | None, endpoint: str | None, key_env: str | None, concurrency: int | None) -> dict[str, Any]:
    """The keys of a spec that say what is tested."""
    asked = {"key_env": key_env, "concurrency": concurrency}
    chosen = {name: value for name, value in asked.items() if value is not None}
    if endpoint is not None:
        if model is None:
            raise InputError("--endpoint needs --model, the id of the model there")
        return {"endpoint": {"url": endpoint, "model": model, **chosen}}
    if chosen:
        raise InputError(f"--{next(iter(chosen)).replace('_', '-')} is for an --endpoint")
    if model is None:
        return {}
    from loglore.hub.models import resolve

    return {"model": str(resolve(model))}


def _labelled(runs: list[str]) -> dict[str, str]:
    """Label to folder; without a label the folder's name, with its parent's where two are the same."""
    found: dict[str, str] = {}
    plain = [Path(run).name for run in runs if "=" not in run]
    for run in runs:
        label, _, path = run.rpartition("=")
        folder = Path(path)
        name = label or (folder.name if plain.count(folder.name) == 1 else f"{folder.parent.name}/{folder.name}")
        if name in found:
            raise InputError(f"two runs have the label {name!r}: name them, as in LABEL={path}")
        found[name] = path
    return found


def _short(name: str) -> str:
    """A part of a folder's name."""
    stem = Path(name).name.split(".jsonl")[0]
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in stem).strip(".-") or "data"


def _show(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {name: value for name, value in report.items() if name != "summary"}, indent=2, ensure_ascii=False
            )
        )
    else:
        print(report["summary"])
