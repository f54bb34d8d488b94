"""What a model version says about itself: lineage, a card to read (`README.md`) and its curves (`curves.png`).

The files in the model's folder hold what is the same whenever the same run is repeated, so that equal training gives
equal folders; time, cost and throughput are in the lineage, which the hub writes into `model.json`.
"""

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import loglore
from loglore.runs import files, fingerprint
from loglore.runs.folder import RunFolder

if TYPE_CHECKING:
    from loglore.train.job import TrainSpec

PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "tokenizers", "numpy")
STAGES = {"cpt": "continual pretraining", "sft": "supervised fine-tuning", "dpo": "preference training"}


def lineage(spec: "TrainSpec", report: Mapping[str, Any]) -> dict[str, Any]:
    """Base, datasets with their hashes, hyperparameters, metrics, cost, software and commit of a run."""
    data = {"train": spec.train, **({"validation": spec.validation} if spec.validation else {})}
    return {
        "stage": spec.stage,
        "base": {"name": base_name(spec.model), "path": str(spec.model), "sha256": fingerprint.of_path(spec.model)},
        "datasets": {name: {"path": str(path), "sha256": fingerprint.of_path(path)} for name, path in data.items()},
        "hyperparameters": {
            one["key"]: {"requested": one["requested"], "status": one["status"], "effective": one["effective"]}
            for one in report["hyperparameters"]
        },
        "metrics": {
            name: report[name]
            for name in ("steps", "samples", "tokens", "loss", "eval_loss", "perplexity", "domain_perplexity", "parity")
        },
        "run": {name: report[name] for name in ("seconds", "tokens_per_second", "cost", "device", "processes")},
        "software": software(),
        "commit": commit(),
    }


def base_name(model: Path) -> str:
    """`name@version` of a version of the hub (a folder named by its number), else the name of the folder or file."""
    facts = model / "model.json"
    if not facts.is_file():
        return model.name
    found = files.read_json(facts)
    return f"{found['name']}@{found['version']}" if "name" in found and "version" in found else model.name


def software() -> dict[str, str]:
    """Versions of what computed the run."""
    found = {"loglore": loglore.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The git commit of LogLore's source; None where it was installed as a package."""
    folder = Path(loglore.__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        # A package in a virtual environment inside someone's repository is not of that repository.
        listed = [*command[:3], "ls-files", "--error-unmatch", "__init__.py"]
        tracked = subprocess.run(listed, check=False, capture_output=True)
        found = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return found.stdout.strip() if tracked.returncode == 0 and found.returncode == 0 else None


def write(folder: Path, facts: Mapping[str, Any], context: RunFolder) -> None:
    """Write `README.md` and `curves.png` into a model or adapter folder, each whole or not at all."""
    rows = context.metrics()
    files.write_bytes(folder / "curves.png", curves(rows))
    files.write_text(folder / "README.md", text(facts))


def text(facts: Mapping[str, Any]) -> str:
    """The card in Markdown, with the front matter that model hubs read."""
    base, metrics = facts["base"], facts["metrics"]
    lines = [
        "---", f"base_model: {base['name']}", "library_name: transformers", "pipeline_tag: text-generation",
        "tags: [loglore, logs]", "---", "",
        f"# {base['name']} after {STAGES[facts['stage']]}", "",
        f"Trained with LogLore {facts['software']['loglore']} (commit {facts['commit'] or 'unknown'}).", "",
        "## Lineage", "",
        f"- base: `{base['name']}`, sha256 `{base['sha256']}`",
        *(_dataset_line(name, one) for name, one in facts["datasets"].items()),
        "", "## Metrics", "",
        f"{metrics['steps']:,} optimizer steps, {metrics['samples']:,} samples, {metrics['tokens']:,} tokens.", "",
        "| | before | after |", "|---|---|---|",
        *_metric_rows(metrics), "",
        "![Loss by optimizer step](curves.png)", "",
        "## Hyperparameters", "",
        "| key | requested | status | effective |", "|---|---|---|---|",
        *(_key_line(key, one) for key, one in facts["hyperparameters"].items()), "",
        "## Software", "",
        *(f"- {name} {version}" for name, version in facts["software"].items()), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _dataset_line(name: str, found: Mapping[str, str]) -> str:
    return f"- {name} rows: `{Path(found['path']).name}`, sha256 `{found['sha256']}`"


def _key_line(key: str, found: Mapping[str, Any]) -> str:
    effective = "" if found["effective"] is None else found["effective"]
    return f"| `{key}` | {found['requested']} | {found['status']} | {effective} |"


def _metric_rows(metrics: Mapping[str, Any]) -> list[str]:
    rows = [f"| training loss | {metrics['loss']['first']:.4f} | {metrics['loss']['last']:.4f} |"]
    if metrics["eval_loss"]:
        rows.append(f"| evaluation loss | {metrics['eval_loss']['first']:.4f} | {metrics['eval_loss']['last']:.4f} |")
    for name, label in (("perplexity", "perplexity, general text"), ("domain_perplexity", "perplexity, domain")):
        found = metrics[name]
        if found and found["before"]:
            rows.append(f"| {label} | {found['before']['perplexity']:.2f} | {found['after']['perplexity']:.2f} |")
    return rows


def curves(rows: list[dict[str, Any]]) -> bytes:
    """Loss, evaluation loss, learning rate and gradient norm by optimizer step, as a PNG."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    upper, rate, norm = (figure.add_subplot(2, 1, 1), figure.add_subplot(2, 2, 3), figure.add_subplot(2, 2, 4))
    for axes, key, label in (
        (upper, "loss", "training loss"), (upper, "eval_loss", "evaluation loss"),
        (rate, "learning_rate", "learning rate"), (norm, "grad_norm", "gradient norm"),
    ):  # fmt: skip
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            axes.plot(
                *zip(*points, strict=True), label=label, marker="o" if key == "eval_loss" else None, linewidth=1.2
            )
            axes.legend(frameon=False)
            axes.set_xlabel("optimizer step")
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
    return target.getvalue()
