"""A comparison as one HTML file that needs nothing else: styles, charts and data inside, light and dark, no script."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loglore.evaluate import tables

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
        differences=tables.differences(comparison),
        forgetting=tables.forgetting(comparison),
        groundedness=tables.groundedness(comparison),
        convergence=tables.convergence(comparison),
        training=tables.training(comparison),
        answers=tables.answers(comparison),
        signatures=tables.signatures(comparison),
        hyperparameters=[tables.hyperparameters(run) for run in comparison["training"] if run["hyperparameters"]],
        written=written,
    )
