"""The table of the logs that a verb is given; shared by the verbs of the group `logs`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loglore.cli.output import say

if TYPE_CHECKING:
    from loglore.logs.table import LogTable

Index = Annotated[
    Path | None, typer.Option("--index", help="Folder for the log's index; default: below LOGLORE_HOME/logs.")
]


@contextmanager
def indexed(logs: list[Path], index: Path | None) -> "Iterator[LogTable]":
    """The table of some logs, read with a bar, and notes on what was left out, on standard error."""
    from loglore.logs import table as tables
    from loglore.runs.progress import indexing_bar

    with indexing_bar() as on_progress:
        found = tables.index(logs, index, on_progress)
    for note in found.notes:
        say(note)
    yield found
