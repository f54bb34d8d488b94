"""`loglore logs levels`: lines by level over time; added to the group `logs`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from loglore.cli.logs_index import Index, indexed
from loglore.cli.output import AsJson, LogPaths


def logs_levels(
    logs: LogPaths,
    png: Annotated[Path | None, typer.Option("--png", help="Write a picture here instead.")] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write a vector picture here instead.")] = None,
    buckets: Annotated[int, typer.Option(min=1, max=500, help="Columns, at most.")] = 60,
    index: Index = None,
    as_json: AsJson = False,
) -> None:
    """Events by level over time: in the terminal, as a picture, or as JSON."""
    from loglore.logs import histogram

    with indexed(logs, index) as log:
        found = histogram.count(log, buckets)
    if png is not None:
        histogram.draw(found, png, "png")
    if svg is not None:
        histogram.draw(found, svg, "svg")
    if as_json:
        rows = {"bucket_seconds": found.seconds, "untimed": found.untimed, "rows": found.rows}
        print(json.dumps(rows, indent=2))
    elif png is None and svg is None:
        from rich.console import Console

        Console().print(histogram.terminal(found))
