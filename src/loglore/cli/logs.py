"""`loglore logs …`: facts about logs of any size, without a model."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loglore.cli.logs_index import Index, indexed
from loglore.cli.logs_levels import logs_levels
from loglore.cli.output import AsJson, LogPaths, say, table, vars_of
from loglore.errors import InputError

if TYPE_CHECKING:
    from loglore.logs.evidence import CountTokens

app = typer.Typer(help="Look into logs of any size; needs no model.", no_args_is_help=True)
app.command("levels")(logs_levels)


@app.command("templates")
def logs_templates(
    logs: LogPaths,
    algorithm: Annotated[
        Literal["default", "drain"], typer.Option(help="drain: Drain3's own groups of the distinct masked messages.")
    ] = "default",
    index: Index = None,
    as_json: AsJson = False,
) -> None:
    """The message templates of logs, with counts and first and last line."""
    with indexed(logs, index) as log:
        found = log.templates if algorithm == "default" else log.drain_templates()
        rows = [vars_of(template) for template in found]
    table(rows, ["id", "count", "first", "last", "text"], as_json)


@app.command("search")
def logs_search(
    logs: Annotated[list[Path], typer.Argument(help="Log files, folders or globs, and the query as the last word.")],
    start: Annotated[str | None, typer.Option("--from", help="From this time (2026-11-22T10:00, or 10:00).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Up to this time.")] = None,
    level: Annotated[str | None, typer.Option(help="At least this severe: trace … fatal.")] = None,
    template: Annotated[list[str] | None, typer.Option(help="Template id; may be repeated.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Part of a file's name; may be repeated.")] = None,
    field: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Lines shown at most; all are counted.")] = 50,
    index: Index = None,
    as_json: AsJson = False,
) -> None:
    """Find lines: LOG… 'refused "no route" 10.0.0.5 conn* -debug'; OR between alternatives, '' for every line."""
    from loglore.logs import search, variables
    from loglore.logs.search import Filters, moment, pairs

    *paths, query = logs
    with indexed(_named(paths, query), index) as log:
        filters = Filters(
            start=moment(start, log) if start else None,
            end=moment(end, log) if end else None,
            level=level,
            templates=tuple(template or ()),
            sources=tuple(source or ()),
            fields=pairs(field or ()),
        )
        found = search.search(log, "" if query == Path() else str(query), filters, limit)
        texts = {one: log.by_id[one].text for one, _ in found.templates}
        typed = variables.of_rows(log.messages(found.rows), log.by_id) if as_json else None
    if typed is not None:
        kinds = [{"template": one, "matches": count, "text": texts[one]} for one, count in found.templates]
        result = {"matches": found.total, "shown": found.rows.height, "templates": kinds}
        result["rows"] = found.rows.with_columns(typed).to_dicts()
        print(json.dumps(result, indent=2, ensure_ascii=False, default=str))
        return
    several = len(log.sources) > 1
    for name, line, text in found.rows.select("source", "line", "text").iter_rows():
        print(f"{name}:L{line}|{text}" if several else f"L{line}|{text}")
    say(found.account())


@app.command("chunk")
def logs_chunk(
    logs: LogPaths,
    smallest: Annotated[int, typer.Option(min=1, help="Lines, at least.")] = 50,
    largest: Annotated[int, typer.Option(min=1, help="Lines, at most.")] = 150,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    index: Index = None,
) -> None:
    """Cut logs into chunks of consecutive lines; one JSON object a chunk."""
    from loglore.logs import chunks

    with indexed(logs, index) as log:
        for chunk in chunks.stream(log, smallest, largest, seed):
            print(json.dumps(vars_of(chunk), ensure_ascii=False))


@app.command("evidence")
def logs_evidence(
    logs: LogPaths,
    budget: Annotated[
        int, typer.Option(min=64, help="Tokens; without --tokenizer characters / 4 count as one.")
    ] = 2000,
    tokenizer: Annotated[Path | None, typer.Option(help="Model folder or GGUF whose tokens count.")] = None,
    question: Annotated[str, typer.Option("--question", "-q", help="What it is for.")] = "",
    before: Annotated[str | None, typer.Option(help="Window FROM..TO that --after is set against.")] = None,
    after: Annotated[str | None, typer.Option(help="Window FROM..TO.")] = None,
    index: Index = None,
    as_json: AsJson = False,
) -> None:
    """A digest of logs that fits a budget, with what it leaves out."""
    from loglore.logs import evidence, search

    with indexed(logs, index) as log:
        windows = search.windows(before, after, log)
        found = evidence.build(log, budget, _counter(tokenizer), question, windows)
    print(json.dumps(vars_of(found), indent=2, ensure_ascii=False) if as_json else found.text)


def _counter(tokenizer: Path | None) -> "CountTokens":
    if tokenizer is None:
        from loglore.logs.evidence import rough_tokens

        return rough_tokens
    from loglore.models.load import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    return lambda text: len(loaded.encode(text, add_special_tokens=False))


@app.command("check")
def logs_check(
    logs: LogPaths,
    text: Annotated[Path, typer.Option("--text", help="File with the text to check; - for standard input.")],
    index: Index = None,
    as_json: AsJson = False,
) -> None:
    """Check the claims in a text against logs."""
    from loglore.logs import grounding

    content = _read(text)
    with indexed(logs, index) as log:
        claims = grounding.check(content, log)
    rows = [{**vars_of(claim), "text": content[claim.start : claim.end]} for claim in claims]
    table(rows, ["verdict", "kind", "text", "lines", "actual"], as_json)
    say(", ".join(f"{count} {verdict}" for verdict, count in grounding.tally(claims).items()))


def _read(text: Path) -> str:
    if str(text) == "-":
        return sys.stdin.read()
    try:
        return text.read_text(encoding="utf-8")
    except OSError as fault:
        raise InputError(f"--text {text}: {fault.strerror}") from None
    except UnicodeDecodeError as fault:
        raise InputError(f"--text {text}: expected a text in UTF-8; byte {fault.start} is none") from None


def _named(paths: list[Path], query: Path) -> list[Path]:
    if not paths:
        raise typer.BadParameter(f"name at least one log before the query {str(query)!r}")
    return paths
