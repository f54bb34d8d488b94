"""A comparison as one HTML file that needs nothing else: styles, charts and data inside, light and dark, no script."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loglore.evaluate import pairs, tables

_TEMPLATES = Path(__file__).parent / "templates"


def html(comparison: Mapping[str, Any], drawings: Mapping[str, tuple[str, str]], written: str) -> str:
    """The report page.

    Args:
        comparison: what `compare.compare` returns, with `samples`.
        drawings: `comparison`, `cpt`, `sft` to an SVG element and its description.
        written: when, for the footer; all else depends on the inputs alone.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        comparison=comparison,
        drawings={name: Markup(svg) for name, (svg, _) in drawings.items()},
        scores=tables.scores(comparison),
        further=tables.further(comparison),
        wins=tables.wins(comparison),
        slices=tables.slices(comparison),
        last_turns=tables.last_turns(comparison),
        changes=[change for pair in comparison["extremes"] for change in _changes(pair)],
        differences=tables.differences(comparison),
        forgetting=tables.forgetting(comparison),
        harness=tables.harness_tasks(comparison),
        groundedness=tables.groundedness(comparison),
        convergence=tables.convergence(comparison),
        training=tables.training(comparison),
        answers=tables.answers(comparison),
        signatures=tables.signatures(comparison),
        hyperparameters=[tables.hyperparameters(run) for run in comparison["training"] if run["hyperparameters"]],
        written=written,
    )


def _changes(pair: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The largest gains and losses of a pair, each answer in pieces that are marked where the truth has them, too."""
    found = []
    for kind, word in (("gains", "gain"), ("losses", "loss")):
        for row in pair[kind]:
            truth = row["truth"]
            columns = [
                (pair["against"], row["against_fuzzy_match"], pairs.marked(truth, row["against_output"])),
                (pair["model"], row["fuzzy_match"], pairs.marked(truth, row["output"])),
            ]
            found.append({**row, "word": word, "pair": f"{pair['model']} vs {pair['against']}", "columns": columns})
    return found
