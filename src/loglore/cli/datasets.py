"""`loglore data add|list|show|delete`: datasets in the hub."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loglore.cli.output import AsJson, table

if TYPE_CHECKING:
    from loglore.store.versions import Version

app = typer.Typer(help="Datasets in the hub.", no_args_is_help=True)
Reference = Annotated[str, typer.Argument(help="NAME, NAME@VERSION or NAME@TAG.")]


@app.command("add")
def data_add(
    name: Annotated[str, typer.Argument(help="Name in the hub.")],
    path: Annotated[str, typer.Argument(help="File or folder; with --connection an object or a prefix in its bucket.")],
    format_: Annotated[str | None, typer.Option("--format", help="Row format it must have; default: as found.")] = None,
    licence: Annotated[str, typer.Option(help="Its terms.")] = "",
    parent: Annotated[
        list[str] | None, typer.Option(help="Made from: dataset:NAME@N, model:NAME@N; repeatable.")
    ] = None,
    connection: Annotated[str | None, typer.Option(help="Bring it from this S3 connection.")] = None,
) -> None:
    """Check every row, then add the rows as the next version of NAME."""
    from loglore.hub import datasets
    from loglore.store.database import open_database

    database = open_database()
    wanted = datasets.format_of(format_)
    about = datasets.About(licence, parent or [])
    if connection is None:
        added = datasets.add(database, name, Path(path), wanted, about)
    else:
        added = datasets.bring(database, name, connection, path, wanted, about)
    print(added.reference)


@app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """Datasets and versions in the hub."""
    from loglore.hub import datasets
    from loglore.store.database import open_database

    rows = [_row(version) for version in datasets.datasets(open_database())]
    table(rows, ["name", "version", "format", "rows", "bytes", "created", "tags"], as_json)


@app.command("show")
def data_show(reference: Reference) -> None:
    """Everything that is known of one version."""
    from loglore.hub import datasets, show
    from loglore.store.database import open_database

    database = open_database()
    shown = show.version(database, datasets.find(database, reference))
    print(json.dumps(shown, indent=2, ensure_ascii=False))


@app.command("tag")
def data_tag(
    reference: Reference,
    tag: Annotated[str, typer.Argument(help="Name that will stand for this version, such as `production`.")],
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tag instead.")] = False,
) -> None:
    """Let a tag point at a version, wherever it pointed before."""
    from loglore.hub import datasets
    from loglore.store.database import open_database

    database = open_database()
    tagged = (datasets.untag if remove else datasets.tag)(database, reference, tag)
    print(f"{tagged.reference}: {', '.join(tagged.tags) or 'no tags'}")


@app.command("delete")
def data_delete(reference: Reference) -> None:
    """Remove one version; refused while something depends on it."""
    from loglore.hub import datasets
    from loglore.store.database import open_database

    print(f"removed {datasets.delete(open_database(), reference).reference}")


def _row(version: "Version") -> dict[str, Any]:
    from loglore.hub.contents import card_of

    return {**card_of(version), "tags": ", ".join(version.tags)}
