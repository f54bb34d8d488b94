"""`loglore synth …`: logs to training samples."""

from pathlib import Path
from typing import Annotated

import typer

from loglore.cli.output import OutFolder, run_job

app = typer.Typer(help="Logs to training samples, by a teacher.", no_args_is_help=True)


@app.command("nlplog")
def synth_nlplog(spec: Annotated[Path, typer.Argument(help="Spec file (YAML).")], out: OutFolder) -> None:
    """Five interpretable questions on every event of your logs, as NLPLog rows."""
    run_job("nlplog", spec, out)


@app.command("chat")
def synth_chat(spec: Annotated[Path, typer.Argument(help="Spec file (YAML).")], out: OutFolder) -> None:
    """Chunks of your logs to root causes, summaries, patterns, comparisons and conversations."""
    run_job("synth", spec, out)
