"""`loglore logs …`: facts about logs, without a model."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from loglore.cli.output import AsJson, LogPaths, table, vars_of

app = typer.Typer(help="Look into logs; needs no model.", no_args_is_help=True)


@app.command("templates")
def logs_templates(logs: LogPaths, as_json: AsJson = False) -> None:
    """The message templates of logs, with counts and first and last line."""
    from loglore.logs import reader, templates

    rows = [vars_of(template) for template in templates.mine(reader.read_table(logs)).templates]
    table(rows, ["id", "count", "first", "last", "text"], as_json)


@app.command("chunk")
def logs_chunk(
    logs: LogPaths,
    smallest: Annotated[int, typer.Option(min=1, help="Lines, at least.")] = 50,
    largest: Annotated[int, typer.Option(min=1, help="Lines, at most.")] = 150,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Cut logs into chunks of consecutive lines; one JSON object a chunk."""
    from loglore.logs import chunks, reader

    for chunk in chunks.cut(reader.read_table(logs), smallest, largest, seed):
        print(json.dumps(vars_of(chunk), ensure_ascii=False))


@app.command("evidence")
def logs_evidence(
    logs: LogPaths,
    budget: Annotated[int, typer.Option(min=64, help="Budget in characters / 4, about tokens.")] = 2000,
    question: Annotated[str, typer.Option("--question", "-q", help="What it is for.")] = "",
) -> None:
    """A digest of logs that fits a budget, with what it leaves out."""
    from loglore.logs import evidence, reader, templates

    mined = templates.mine(reader.read_table(logs))
    print(evidence.build(mined, budget, lambda text: (len(text) + 3) // 4, question).text)


@app.command("check")
def logs_check(
    logs: LogPaths,
    text: Annotated[Path, typer.Option("--text", help="File with the text to check; - for standard input.")],
    as_json: AsJson = False,
) -> None:
    """Check the claims in a text against logs."""
    from loglore.logs import grounding, reader

    content = sys.stdin.read() if str(text) == "-" else text.read_text(encoding="utf-8")
    claims = grounding.check(content, reader.read_table(logs))
    rows = [{**vars_of(claim), "text": content[claim.start : claim.end]} for claim in claims]
    table(rows, ["verdict", "kind", "text", "lines", "actual"], as_json)
