"""`loglore models …`: the local model hub."""

from pathlib import Path
from typing import Annotated

import typer

from loglore.cli.output import AsJson, table

app = typer.Typer(help="The local model hub.", no_args_is_help=True)


@app.command("list")
def models_list(as_json: AsJson = False) -> None:
    """Models and versions in the hub."""
    from loglore.hub import models

    rows = [dict(version.card) for version in models.models()]
    table(rows, ["name", "version", "created", "bytes"], as_json)


@app.command("add")
def models_add(
    name: Annotated[str, typer.Argument(help="Name in the hub.")],
    path: Annotated[Path, typer.Argument(help="Hugging Face folder or .gguf file.")],
) -> None:
    """Add a model as the next version of NAME."""
    from loglore.hub import models

    added = models.add(name, path, {"added": str(path.name)})
    print(f"{added.name}@{added.version}")


@app.command("delete")
def models_delete(reference: Annotated[str, typer.Argument(help="name@version")]) -> None:
    """Remove one version."""
    from loglore.hub import models

    removed = models.delete(reference)
    print(f"removed {removed.name}@{removed.version}")
