"""`loglore serve`: sessions and the gateway in front of them, in the foreground until Ctrl-C or the last one's end."""

import asyncio
import contextlib
import resource
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop

from loglore.api.app import Parts, create_app
from loglore.api.bounds import PatientOnce
from loglore.api.guard import LOOPBACK
from loglore.api.house import House
from loglore.api.keyring import Keyring
from loglore.api.listening import bind
from loglore.cluster.serving import Place
from loglore.errors import InputError, JobError
from loglore.serve.engine import Session
from loglore.serve.samples import samples
from loglore.serve.supervised import Plan
from loglore.store import keys
from loglore.store.database import Database, open_database

# Addresses that are no place to connect to.
ANYWHERE = ("0.0.0.0", "::")
STOP_TIMEOUT_S = 2


@dataclass(frozen=True)
class Wish:
    """What `loglore serve` is asked for.

    Attributes:
        plans: the sessions.
        host: address to bind; off loopback callers need a key.
        port: port to bind; 0 takes a free one.
        require_key: callers on loopback need a key, too.
        history_days: how long completions are kept.
        place: a cluster on which sessions may be started through the API.
    """

    plans: Sequence[Plan]
    host: str = "127.0.0.1"
    port: int = 8000
    require_key: bool = False
    history_days: float = 30.0
    place: Place | None = None


def serve(wish: Wish) -> None:
    """Serve until Ctrl-C, SIGTERM, or the end of the last session; says where first.

    Raises:
        InputError: port taken, off loopback without a key, or a session that cannot be started.
        JobError: an engine failed at its start; or the last session failed later.
    """
    with contextlib.closing(open_database()) as database, contextlib.closing(bind(wish.host, wish.port)) as bound:
        off_loopback = wish.host not in LOOPBACK
        if (off_loopback or wish.require_key) and not _has_key(database):
            what = f"host {wish.host} can be reached from other machines, so callers" if off_loopback else "callers"
            raise InputError(f"{what} need a key, and there is none; create one: loglore keys create NAME")
        _allow_many_files()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(wish, database, bound))


async def _serve(wish: Wish, database: Database, bound: socket.socket) -> None:
    named = socket.gethostname() if wish.host in ANYWHERE else wish.host
    host = f"[{named}]" if ":" in named else named
    off_loopback = wish.host not in LOOPBACK
    keyring = Keyring(database, wish.require_key or off_loopback)
    house = House(database, f"http://{host}:{bound.getsockname()[1]}/v1", keyring.required)
    app = create_app(Parts(house, database, keyring, wish.history_days, off_loopback, wish.place))
    config = uvicorn.Config(
        app, log_level="warning", http=PatientOnce, ws="none", timeout_graceful_shutdown=STOP_TIMEOUT_S
    )
    server = GatewayServer(config)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        if not await _unless(stop, _start_all(house, wish.plans)):
            return
        for session in house.open():
            print(_greeting(house.url, session.plan.models, session.session, keyring.required), flush=True)
        print("Ctrl-C stops it.", flush=True)
        serving = asyncio.ensure_future(server.serve([bound]))
        finished = await _unless(stop, house.watch(), serving)
        server.should_exit = True
        await serving
    finally:
        await house.close()
    if not finished:
        print("stopped", file=sys.stderr)
        return
    ends = [f"{each.plan.models[0]}: {each.reason}" for each in house.all]
    if any(each.state == "failed" for each in house.all):
        raise JobError("; ".join(ends))
    print("all sessions have ended: " + "; ".join(ends), file=sys.stderr)


async def _start_all(house: House, plans: Sequence[Plan]) -> None:
    for plan in plans:
        await house.start(plan)


async def _unless(stop: asyncio.Event, *work: asyncio.Future[None] | Coroutine[Any, Any, None]) -> bool:
    """Await the first of `work` to end, and raise what it raised; False when `stop` came first."""
    stopping = asyncio.ensure_future(stop.wait())
    tasks = [asyncio.ensure_future(each) for each in work]
    await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    ended = [task for task in tasks if task.done()]
    for task in (stopping, tasks[0]):
        task.cancel()
    await asyncio.wait({stopping, tasks[0]})
    for task in ended:
        task.result()
    return bool(ended)


class GatewayServer(uvicorn.Server):
    """uvicorn without its own signal handlers: sessions must be ended in order, before and after it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_serve`."""
        yield


def _has_key(database: Database) -> bool:
    return any(key.state(time.time()) == "active" for key in keys.keys(database))


def _allow_many_files() -> None:
    """A stream needs two sockets; the usual soft limit of 1,024 files would end at 500 streams."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _greeting(url: str, models: Sequence[str], session: Session | None, needs_key: bool) -> str:
    assert session is not None
    others = "".join(f"\n  with an adapter: {name}" for name in models[1:])
    return (
        f"{models[0]} answers at {url}  ({session.context:,} tokens a conversation){others}\n"
        f"  engine: {session.kind}{f' on node {session.node}' if session.node else ''}, log: {session.log}\n"
        f"  {samples(url, models[0], needs_key)['curl']}\n"
        f"  loglore chat --endpoint {url} LOG"
    )
