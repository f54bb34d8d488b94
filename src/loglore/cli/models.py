"""`loglore models …`: the local model hub."""

import json
from pathlib import Path
from typing import Annotated

import typer

from loglore.cli.output import AsJson, table

app = typer.Typer(help="The local model hub.", no_args_is_help=True)
Reference = Annotated[str, typer.Argument(help="NAME, NAME@VERSION or NAME@TAG.")]


@app.command("list")
def models_list(as_json: AsJson = False) -> None:
    """Models and versions in the hub."""
    from loglore.hub import models

    rows = [{**version.card, "tags": ", ".join(version.row.tags)} for version in models.models()]
    table(rows, ["name", "version", "created", "bytes", "tags"], as_json)


@app.command("show")
def models_show(reference: Reference) -> None:
    """Everything that is known of one version: files, lineage, what was made from it, scores."""
    from loglore.hub import models, show
    from loglore.store.database import open_database

    database = open_database()
    print(json.dumps(show.version(database, models.find(reference, database).row), indent=2, ensure_ascii=False))


@app.command("add")
def models_add(
    name: Annotated[str, typer.Argument(help="Name in the hub.")],
    path: Annotated[Path, typer.Argument(help="Hugging Face folder or .gguf file.")],
    licence: Annotated[str, typer.Option(help="Its terms.")] = "",
    parent: Annotated[
        list[str] | None, typer.Option(help="Made from: dataset:NAME@N, model:NAME@N; repeatable.")
    ] = None,
) -> None:
    """Add a model as the next version of NAME."""
    from loglore.hub import models

    added = models.add(name, path, {"added": str(path.name)}, licence=licence, parents=parent)
    print(f"{added.name}@{added.version}")


@app.command("download")
def models_download(
    reference: Annotated[str, typer.Argument(help="NAME@VERSION of the hub, or org/name of Hugging Face's.")],
) -> None:
    """Bring a model's files to this machine and print where they are; one of Hugging Face's joins the hub."""
    from loglore.hub import models

    print(models.download(reference))


@app.command("delete")
def models_delete(reference: Reference) -> None:
    """Remove one version; refused while something depends on it."""
    from loglore.hub import models

    removed = models.delete(reference)
    print(f"removed {removed.name}@{removed.version}")


@app.command("tag")
def models_tag(
    reference: Reference,
    tag: Annotated[str, typer.Argument(help="Name that will stand for this version, such as `production`.")],
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tag instead.")] = False,
) -> None:
    """Let a tag point at a version, wherever it pointed before."""
    from loglore.hub import models

    tagged = models.untag(reference, tag) if remove else models.tag(reference, tag)
    print(f"{tagged.name}@{tagged.version}: {', '.join(tagged.row.tags) or 'no tags'}")


@app.command("export")
def models_export(reference: Reference, folder: Annotated[Path, typer.Argument(help="New folder to write.")]) -> None:
    """Write a version with everything that is known of it to a folder, for `models import` elsewhere."""
    from loglore.hub import transfer
    from loglore.store.database import open_database

    print(f"{folder}: {transfer.export(open_database(), reference, folder).reference}")


@app.command("import")
def models_import(
    folder: Annotated[Path, typer.Argument(help="Folder that `models export` wrote.")],
    name: Annotated[str | None, typer.Option(help="Name in this hub; default: the one it had.")] = None,
) -> None:
    """Add an exported version; every file's hash is compared."""
    from loglore.hub import transfer
    from loglore.store.database import open_database

    print(transfer.take(open_database(), folder, name).reference)
