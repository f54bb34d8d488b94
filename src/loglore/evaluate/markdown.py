"""A comparison as Markdown, for an issue or a model card; charts are the PNG files beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from loglore.evaluate import tables

_CHANGES = {"gains": "Largest gains", "losses": "Largest losses"}
_CAPTIONS = {"comparison": "Scores with 95 % intervals", "cpt": "Pretraining loss", "sft": "Fine-tuning loss"}


def report(comparison: Mapping[str, Any], figures: Sequence[str], written: str) -> str:
    """The whole report; `figures` are names of PNG files beside it, without the ending."""
    parts = ["# Comparison", "\n".join(f"- {sentence}" for sentence in comparison["findings"])]
    for table in tables.all_tables(comparison):
        parts += [f"## {table.title}", table.markdown()]
        if table.title == "Scores":
            parts.append(_image("comparison"))
    parts += [_image(name) for name in figures if name != "comparison"]
    parts += [_extremes(pair) for pair in comparison["extremes"]]
    parts += ["## Sample answers", "The first held-out row of each task, not chosen by score."]
    parts += [_sample(sample) for sample in comparison["samples"]]
    parts += ["## Provenance", tables.signatures(comparison).markdown(), _models(comparison)]
    for run in comparison["training"]:
        if run["hyperparameters"]:
            table = tables.hyperparameters(run)
            parts += [f"<details><summary>{table.title}</summary>", table.markdown(), "</details>"]
    software = ", ".join(f"{name} {version}" for name, version in comparison["software"].items())
    parts.append(f"Software: {software}. Written {written}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _image(name: str) -> str:
    return f"![{_CAPTIONS[name]}]({name}.png)"


def _models(comparison: Mapping[str, Any]) -> str:
    lines = []
    for model in comparison["models"]:
        adapter = f" + adapter `{model['model']['adapter']}`" if model["model"]["adapter"] else ""
        data = f"`{model['dataset']['path']}` (sha256 {model['dataset']['sha256'][:12]})"
        lines.append(f"- {model['label']}: `{model['model']['model']}`{adapter} on {data}")
    return "\n".join(lines)


def _sample(sample: Mapping[str, Any]) -> str:
    parts = [
        f"### {sample['task'] or 'row'}, {sample['chunk']}",
        _quoted("Input", sample["input"]),
        _quoted("Truth", sample["truth"]),
    ]
    for label, output in sample["outputs"].items():
        cut = ", cut off at the limit" if output["finish"] == "length" else ""
        heading = f"{label} (fuzzy match {output['fuzzy_match']:.3f}, ROUGE-L {output['rougeL']:.3f}{cut})"
        parts.append(_quoted(heading, output["output"] or "(empty)"))
    return "\n\n".join(parts)


def _extremes(pair: Mapping[str, Any]) -> str:
    """Truth and both answers of the rows that changed most, below each other; the HTML page shows them side by side."""
    parts = []
    for kind, title in _CHANGES.items():
        if not pair[kind]:
            continue
        parts.append(f"## {title}: {pair['model']} against {pair['against']}")
        for row in pair[kind]:
            place = f"row {row['row']}, turn {row['turn']}, {row['chunk']}"
            parts.append(f"### {row['task'].replace('_', ' ') or 'row'}, {place}: fuzzy match {row['change']:+.3f}")
            parts.append(_quoted("Truth", row["truth"]))
            for label, key in ((pair["against"], "against_output"), (pair["model"], "output")):
                parts.append(_quoted(label, row[key] or "(empty)"))
    return "\n\n".join(parts)


def _quoted(heading: str, text: str) -> str:
    """A fenced block; the fence is longer than any run of backticks inside."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{heading}:\n\n{fence}text\n{text}\n{fence}"
