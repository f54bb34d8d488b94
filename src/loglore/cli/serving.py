"""`loglore serve`, `loglore sessions …`, `loglore keys …`: endpoints, and who may use them."""

import datetime
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loglore.cli import cluster
from loglore.cli.output import AsJson, say, table
from loglore.errors import InputError

if TYPE_CHECKING:
    from loglore.store.keys import Key
    from loglore.store.sessions import SessionRow

sessions_app = typer.Typer(help="Running endpoints.", no_args_is_help=True)
keys_app = typer.Typer(help="Keys of the API: who may call, what, and how much.", no_args_is_help=True)

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SESSION_COLUMNS = ["id", "models", "state", "url", "interactions", "restarts", "reason"]
KEY_COLUMNS = ["id", "name", "state", "scopes", "requests_per_minute", "tokens_per_minute", "expires", "last_used"]
HISTORY_COLUMNS = ["id", "created", "model", "status", "prompt_tokens", "completion_tokens", "seconds", "response"]


def serve(
    model: Annotated[list[str], typer.Argument(help="name, name@version, a folder or a .gguf file; one or several.")],
    host: Annotated[str, typer.Option(help="Address to bind; off loopback callers need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    context: Annotated[int | None, typer.Option(min=256, help="Tokens a conversation may hold.")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Conversations answered at the same time.")] = 1,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait; more get 429.")] = 64,
    replicas: Annotated[int, typer.Option(min=1, help="Engines for each model; follow-ups stay on theirs.")] = 1,
    adapter: Annotated[
        list[str] | None, typer.Option(help="ID=PATH of a LoRA adapter; answers as model ID. Repeatable.")
    ] = None,
    engine: Annotated[
        Literal["llama.cpp", "vllm", "transformers"] | None, typer.Option(help="Default: by file and hardware.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Model id for clients; default: the model's name.")] = None,
    idle: Annotated[str | None, typer.Option(help="End a session nobody used for so long: 90s, 30m, 8h, 7d.")] = None,
    duration: Annotated[str | None, typer.Option(help="End a session after so long.")] = None,
    interactions: Annotated[int | None, typer.Option(min=1, help="End a session after so many requests.")] = None,
    history: Annotated[bool, typer.Option(help="Keep questions and answers in the database.")] = True,
    history_days: Annotated[float, typer.Option(min=0.01, help="For how many days.")] = 30.0,
    require_key: Annotated[bool, typer.Option("--require-key", help="Ask for a key on loopback, too.")] = False,
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    storage: cluster.Storage = None,
) -> None:
    """Start an OpenAI-compatible endpoint for one or more models; Ctrl-C stops it."""
    from loglore.api import serving
    from loglore.serve.plans import plan
    from loglore.serve.supervised import Limits

    if len(model) > 1 and (adapter or name):
        raise InputError("--adapter and --name belong to one model; with several, start one `loglore serve` for each")
    limits = Limits(_seconds("idle", idle), _seconds("duration", duration), interactions)
    place = cluster.place(executor, address, storage)
    plans = [
        plan(
            each,
            name=name,
            adapters=_adapters(adapter or []),
            engine=engine,
            context=context,
            parallel=parallel,
            queue=queue,
            limits=limits,
            keep_history=history,
            replicas=replicas,
            place=place,
        )
        for each in model
    ]
    serving.serve(serving.Wish(plans, host, port, require_key, history_days, place))


@sessions_app.command("list")
def sessions_list(
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False, as_json: AsJson = False
) -> None:
    """Sessions of all servers on this machine."""
    from loglore.store import sessions
    from loglore.store.database import open_database

    rows = [_session(row) for row in sessions.sessions(open_database(), ended)]
    table([row for row in rows if ended or row["state"] != "lost"], SESSION_COLUMNS, as_json)


@sessions_app.command("show")
def sessions_show(session: Annotated[str, typer.Argument(help="Id, see `list`.")], as_json: AsJson = False) -> None:
    """One session, with sample code."""
    from loglore.serve.samples import samples
    from loglore.store import sessions
    from loglore.store.database import open_database

    row = sessions.find(open_database(), session)
    code = samples(row.url, row.models[0], row.needs_key)
    if as_json:
        table([{**_session(row), "samples": code}], SESSION_COLUMNS, as_json)
        return
    table([_session(row)], SESSION_COLUMNS, as_json)
    for language, text in code.items():
        print(f"\n# {language}\n{text.rstrip()}")


@sessions_app.command("stop")
def sessions_stop(session: Annotated[str, typer.Argument(help="Id, see `list`.")]) -> None:
    """End a session; open answers may still finish."""
    from loglore.store import sessions
    from loglore.store.database import open_database

    database = open_database()
    row = sessions.request_stop(database, session)
    if row.state in sessions.ENDED:
        print(f"{row.id} has ended already: {row.reason}")
        return
    if _session(row)["state"] == "lost":
        sessions.update(database, row.id, state="failed", reason="its server is gone", ended=time.time())
    print(f"{row.id} ends")


@sessions_app.command("history")
def sessions_history(
    session: Annotated[str, typer.Argument(help="Id, see `list --all`.")],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What a session was asked and answered, the newest first."""
    from loglore.store import completions, sessions
    from loglore.store.database import open_database

    database = open_database()
    rows = completions.history(database, sessions.find(database, session).id, limit)
    if not as_json:
        rows = [_shown(row) for row in rows]
    table(rows, HISTORY_COLUMNS, as_json)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="chat, manage; repeatable. Default: chat.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Default: no limit.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Prompt and answer. Default: no limit.")] = None,
    expires: Annotated[str | None, typer.Option(help="After so long: 12h, 90d. Default: never.")] = None,
) -> None:
    """Make a key and print it, once."""
    from loglore.store import audit, keys
    from loglore.store.database import open_database

    now = time.time()
    seconds = _seconds("expires", expires)
    database = open_database()
    key, text = keys.create(
        database,
        name,
        scope or ["chat"],
        now,
        None if seconds is None else now + seconds,
        requests_per_minute,
        tokens_per_minute,
    )
    audit.audit(database, None, "key.create", key.id, {"name": key.name, "scopes": list(key.scopes)})
    say(f"key {key.id} ({key.name}), scopes {', '.join(key.scopes)}; it cannot be shown again:")
    print(text)


@keys_app.command("list")
def keys_list(as_json: AsJson = False) -> None:
    """All keys, never their text."""
    from loglore.store import keys
    from loglore.store.database import open_database

    table([_key(key) for key in keys.keys(open_database())], KEY_COLUMNS, as_json)


@keys_app.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="Id, see `list`.")]) -> None:
    """Make a key useless, within a second on running servers."""
    from loglore.store import audit, keys
    from loglore.store.database import open_database

    database = open_database()
    revoked = keys.revoke(database, key, time.time())
    audit.audit(database, None, "key.revoke", revoked.id, {"name": revoked.name})
    print(f"revoked {revoked.id} ({revoked.name})")


def _adapters(texts: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise InputError(f"--adapter {text}: expected ID=PATH")
        if name in found:
            raise InputError(f"--adapter {text}: {name} is named twice")
        found[name] = Path(path)
    return found


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text)
    if match is None or not float(match[1]):
        raise InputError(f"--{option} {text}: expected a time such as 90s, 30m, 8h or 7d")
    return float(match[1]) * UNITS[match[2] or "s"]


def _session(row: "SessionRow") -> dict[str, Any]:
    from loglore.cli.output import vars_of
    from loglore.store import sessions

    lost = row.state not in sessions.ENDED and not row.lives()
    times = {name: _time(getattr(row, name)) for name in ("started", "ended", "last_used")}
    return {**vars_of(row), **times, "models": ", ".join(row.models), "state": "lost" if lost else row.state}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the history as a line."""
    start = " ".join(row["response"].split())[:40]
    return {**row, "created": _time(row["created"]), "seconds": round(row["seconds"], 2), "response": start}


def _key(key: "Key") -> dict[str, Any]:
    from loglore.cli.output import vars_of

    shown = {name: value for name, value in vars_of(key).items() if name != "sha256"}
    times = {name: _time(shown[name]) for name in ("created", "expires", "revoked", "last_used")}
    return {**shown, **times, "scopes": ", ".join(key.scopes), "state": key.state(time.time())}


def _time(value: float | None) -> str | None:
    if value is None:
        return None
    return datetime.datetime.fromtimestamp(value, datetime.UTC).isoformat(timespec="seconds")
