"""`loglore train` and `loglore export`: a spec file, or options that make one."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from loglore.cli import cluster
from loglore.cli.output import AsJson, say, table
from loglore.errors import InputError

Stage = Literal["cpt", "sft", "dpo"]
Quantization = Literal["f16", "bf16", "q8_0"]
RunOut = Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; an unfinished run there goes on.")]


def train(
    spec: Annotated[Path | None, typer.Argument(help="Spec file (YAML), instead of options.")] = None,
    stage: Annotated[Stage | None, typer.Option(help="Pretraining, fine-tuning or preferences.")] = None,
    model: Annotated[str | None, typer.Option(help="Base: name, name@version, org/name, a folder or a .gguf.")] = None,
    rows: Annotated[Path | None, typer.Option("--train", help="Training rows.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Rows for the evaluation loss.")] = None,
    hyperparameters: Annotated[Path | None, typer.Option(help="JSON file of hyperparameters.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Read so many tokens from the start of the rows.")] = None,
    replay: Annotated[float | None, typer.Option(help="Share of general text mixed into pretraining.")] = None,
    processes: Annotated[int | None, typer.Option(help="Training processes; default: one a GPU.")] = None,
    price: Annotated[float | None, typer.Option(help="Dollars per GPU-hour.")] = None,
    report_to: Annotated[list[str] | None, typer.Option(help="mlflow, tensorboard or wandb; repeatable.")] = None,
    publish: Annotated[str | None, typer.Option(help="Name in the hub for the trained model.")] = None,
    out: RunOut = None,
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    storage: cluster.Bucket = None,
    nodes: cluster.Nodes = None,
    gpus_per_node: cluster.GpusPerNode = None,
) -> None:
    """Base model + samples + hyperparameters to a model version."""
    from loglore.jobs import recipes, runner

    given = {
        "stage": stage,
        "model": model,
        "train": rows and str(rows),
        "validation": validation and str(validation),
        "hyperparameters": hyperparameters and str(hyperparameters),
        "max_tokens": max_tokens,
        "replay": replay,
        "processes": processes,
        "price_per_gpu_hour": price,
        "report_to": report_to,
        "publish": publish,
    }
    values = {name: value for name, value in given.items() if value is not None}
    perform = cluster.on_ray(executor, address, storage, nodes, gpus_per_node) or runner.here
    if processes is not None and gpus_per_node is not None:
        raise InputError("--processes and --gpus-per-node are the same: give one of them")
    shape = {name: count for name, count in (("nodes", nodes), ("processes", gpus_per_node)) if count is not None}
    if spec is not None:
        _only_one(spec, values)
        folder = out or Path("runs") / spec.stem
        report = runner.run_values("train", recipes.read_yaml(spec) | shape, folder, say, spec, perform)
    else:
        missing = [option for option in ("stage", "model", "train", "hyperparameters") if option not in values]
        if missing:
            raise InputError(f"expected a spec file, or the options; missing: --{', --'.join(missing)}")
        values["model"] = _found(str(model))
        folder = out or Path("runs") / f"{stage}-{_short(str(model))}"
        report = runner.run_values("train", values | shape, folder, say, perform=perform)
    print(json.dumps(report, indent=2, ensure_ascii=False))


def export(
    model: Annotated[
        str, typer.Argument(help="name, name@version, org/name, a folder or a .gguf; or a spec file (.yaml).")
    ],
    to: Annotated[list[str] | None, typer.Option(help="safetensors, gguf, ollama, adapter; repeatable.")] = None,
    quantization: Annotated[Quantization | None, typer.Option(help="Type of a GGUF's matrices [q8_0].")] = None,
    adapter: Annotated[Path | None, typer.Option(help="LoRA adapter folder, merged in; --to adapter: beside.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in the GGUF's header; default: the model's.")] = None,
    out: RunOut = None,
    as_json: AsJson = False,
) -> None:
    """A model version as safetensors, GGUF or for Ollama, compared with the model before it is given out."""
    from loglore.jobs import runner

    given = {"to": to, "gguf_type": quantization, "adapter": adapter and str(adapter), "name": name}
    values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if Path(model).suffix in (".yaml", ".yml"):
        _only_one(Path(model), values)
        folder = out or Path("runs") / Path(model).stem
        report = runner.run_spec("export", Path(model), folder, say)
    else:
        if not to:
            raise InputError("expected --to safetensors, gguf, ollama or adapter, once or several times")
        if quantization and set(to) == {"safetensors"}:
            raise InputError("--quantization is of a GGUF: it changes nothing with --to safetensors alone")
        folder = out or Path("runs") / f"export-{_short(model)}"
        values |= {"model": _found(model), "name": name or _short(model)}
        report = runner.run_values("export", values, folder, say)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _show_export(folder, report)


def _show_export(folder: Path, report: dict[str, Any]) -> None:
    """The files with what they are for, then what the comparison with the model said."""
    from loglore.export.card import USES

    rows = [
        {"file": str(folder / path), "what for": USES[kind]} for kind, path in report["outputs"].items() if kind in USES
    ]
    table(rows, ["file", "what for"], as_json=False)
    for kind, check in (("GGUF", report.get("parity")), ("adapter", report.get("adapter_parity"))):
        if check:
            print(
                f"{kind}: next token agrees at {check['agreement']:.1%} of {check['positions']} positions, "
                f"perplexity ratio {check['perplexity_ratio']:.4f}; see {folder / report['outputs']['card']}"
            )


def _only_one(spec: Path, values: dict[str, Any]) -> None:
    if values:
        raise InputError(f"{spec}: give a spec file or options, not both ({', '.join(values)})")


def _found(model: str) -> str:
    from loglore.jobs.names import model_path

    return str(model_path(model))


def _short(model: str) -> str:
    """A model's name as part of a folder's."""
    stem = Path(model).name.removesuffix(".gguf")
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in stem).strip(".-") or "model"
