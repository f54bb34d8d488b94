"""What the verbs share: printing tables and JSON, and running one job of a kind."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loglore.jobs.runner import Perform

LogPaths = Annotated[list[Path], typer.Argument(help="Log files, folders or globs; - for standard input.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the run; an unfinished run there goes on.")]


def vars_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass instance, slots or not."""
    from dataclasses import asdict

    return asdict(value)


def run_job(kind: str, spec: Path, out: Path, perform: "Perform | None" = None) -> None:
    """Run one job of a kind from its spec file, here or where `perform` does it, and print its report."""
    from loglore.jobs import runner

    report = runner.run_spec(kind, spec, out, say, perform or runner.here)
    print(json.dumps(report, indent=2, ensure_ascii=False))


# Characters of a cell at most: a line of a log may have megabytes.
LONGEST_CELL = 2000


def say(text: str) -> None:
    """A line of progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def table(rows: list[dict[str, Any]], columns: list[str], as_json: bool) -> None:
    """Print rows as a table of some columns, long cells cut, or all of them, whole, as JSON."""
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False, default=str))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from loglore.logs.findings import shorten

    shown = Table(*columns, box=None)
    for row in rows:
        cells = ("" if row[column] is None else shorten(str(row[column]), LONGEST_CELL) for column in columns)
        # `Text`, because a cell with `[n<*>]` in it is no markup.
        shown.add_row(*(Text(cell) for cell in cells))
    Console().print(shown)
