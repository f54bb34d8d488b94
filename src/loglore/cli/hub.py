"""`loglore hub …`: what datasets and models share: collection of what nothing refers to, connections to S3."""

import os
from typing import Annotated

import typer

from loglore.cli.output import AsJson, table, vars_of

app = typer.Typer(help="Upkeep of the hub, and S3 connections.", no_args_is_help=True)
connections_app = typer.Typer(help="Named S3 buckets that datasets are brought from.", no_args_is_help=True)
app.add_typer(connections_app, name="connections")

SECRET = "LOGLORE_CONNECTION_SECRET"


@app.command("collect")
def hub_collect(as_json: AsJson = False) -> None:
    """Remove the bytes that no version, file or upload refers to."""
    from loglore.hub import collect
    from loglore.store.database import open_database

    table([vars_of(collect.collect(open_database()))], ["objects", "bytes", "expired", "leftovers"], as_json)


@app.command("check")
def hub_check() -> None:
    """Compare every object's bytes with its hash; exit code 1 when one is missing or damaged."""
    from loglore.hub import collect
    from loglore.store.database import open_database

    print(f"{collect.verify(open_database()):,} objects are whole")


@connections_app.command("add")
def connections_add(
    name: Annotated[str, typer.Argument(help="Name of the connection.")],
    bucket: Annotated[str, typer.Option(help="Name of the bucket.")],
    key_id: Annotated[str, typer.Option(help="Access key id.")],
    endpoint: Annotated[str | None, typer.Option(help="URL of the S3 service; default Amazon's.")] = None,
    region: Annotated[str | None, typer.Option(help="Default: the service's.")] = None,
) -> None:
    """Keep a connection; its secret is asked for, or taken from LOGLORE_CONNECTION_SECRET, never from the arguments."""
    from loglore.hub import connections
    from loglore.store.connections import Secret
    from loglore.store.database import open_database

    text = os.environ.get(SECRET) or typer.prompt("Secret", hide_input=True)
    made = connections.add(open_database(), name, bucket, key_id, Secret(text), endpoint=endpoint, region=region)
    print(f"{made.name}: bucket {made.bucket}")


@connections_app.command("list")
def connections_list(as_json: AsJson = False) -> None:
    """All connections, never their secrets."""
    from loglore.hub import connections
    from loglore.store.database import open_database

    rows = [vars_of(each) for each in connections.connections(open_database())]
    table(rows, ["name", "bucket", "endpoint", "region", "key_id"], as_json)


@connections_app.command("look")
def connections_look(
    name: Annotated[str, typer.Argument(help="Name of the connection.")],
    prefix: Annotated[str, typer.Argument(help="Only objects below this prefix.")] = "",
    as_json: AsJson = False,
) -> None:
    """What is in the bucket."""
    from loglore.hub import connections
    from loglore.store.database import open_database

    table(connections.look(open_database(), name, prefix), ["name", "bytes"], as_json)


@connections_app.command("reseal")
def connections_reseal() -> None:
    """Seal all secrets again with the first key of secret.key, after a new one was put in front of it."""
    from loglore.store import connections
    from loglore.store.database import open_database

    print(f"{connections.reseal(open_database())} secrets sealed again")


@connections_app.command("delete")
def connections_delete(name: Annotated[str, typer.Argument(help="Name of the connection.")]) -> None:
    """Forget a connection and its secret."""
    from loglore.hub import connections
    from loglore.store.database import open_database

    print(f"removed {connections.delete(open_database(), name).name}")
