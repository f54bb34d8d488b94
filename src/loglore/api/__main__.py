"""The API's process: `python -m loglore.api --runs runs --logs examples/logs --port 8502`.

Prints two lines when it can be connected to: its base URL, and the text of the admin key when it was made just now
(else an empty line): nowhere else is that text written. It answers when the rest of it is imported; meanwhile pages
start. With `--until-eof` it ends when standard input does: that is how its starter stops it, and how it notices that
the starter is gone, since a pipe closes with the process that held it.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from loglore.api.listening import bind, first_key
from loglore.errors import InputError, JobError
from loglore.store import chats, connections
from loglore.store.database import Database, open_database

if TYPE_CHECKING:
    import uvicorn

STOP_TIMEOUT_S = 5.0
BAD_INPUT = 2


def main() -> None:
    """Parse, bind, serve."""
    parser = argparse.ArgumentParser(prog="python -m loglore.api", description="LogLore's HTTP API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; off loopback callers need a key")
    parser.add_argument("--port", type=int, default=8502, help="port to bind; 0 takes a free one")
    parser.add_argument("--require-key", action="store_true", help="callers on loopback need a key, too")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    parser.add_argument("--logs", type=Path, default=Path("examples/logs"), help="folder of logs that may be read")
    parser.add_argument("--history-days", type=float, default=30.0, help="how long completions are kept")
    cluster = "sessions may be started on a Ray cluster, too: URL of its job server"
    parser.add_argument("--cluster", nargs="?", const="", help=cluster)
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    wish = parser.parse_args()
    try:
        _serve(wish)
    except (InputError, JobError) as fault:
        print(f"loglore: {fault}", file=sys.stderr)
        sys.exit(BAD_INPUT if isinstance(fault, InputError) else 1)


def _serve(wish: argparse.Namespace) -> None:
    with contextlib.closing(open_database()) as database, contextlib.closing(bind(wish.host, wish.port)) as bound:
        host = f"[{wish.host}]" if ":" in wish.host else wish.host
        url = f"http://{host}:{bound.getsockname()[1]}"
        # Whoever wrote them is gone.
        chats.interrupt(database)
        # At the first start, so that it can be brought to other machines; without the extra s3 there are no secrets.
        if importlib.util.find_spec("cryptography"):
            connections.make_key(database)
        # The socket listens already: who reads these lines can connect.
        print(f"{url}\n{first_key(database) or ''}", flush=True)
        server = _server(wish, database, url)
        if wish.until_eof:
            threading.Thread(target=_stop_at_eof, args=(server,), daemon=True).start()
        server.run(sockets=[bound])


def _server(wish: argparse.Namespace, database: Database, url: str) -> "uvicorn.Server":
    import uvicorn

    from loglore.api.app import Parts, Studio, create_app
    from loglore.api.bounds import PatientOnce
    from loglore.api.guard import LOOPBACK
    from loglore.api.house import House
    from loglore.api.keyring import Keyring
    from loglore.cluster.serving import Place

    off_loopback = wish.host not in LOOPBACK
    keyring = Keyring(database, wish.require_key or off_loopback)
    house = House(database, f"{url}/v1", keyring.required)
    place = Place.of(wish.cluster or None, None) if wish.cluster is not None else None
    parts = Parts(house, database, keyring, wish.history_days, off_loopback, place)
    app = create_app(parts, Studio(wish.runs, wish.logs))
    config = uvicorn.Config(app, log_level="warning", http=PatientOnce, ws="none", timeout_graceful_shutdown=2)
    return uvicorn.Server(config)


def _stop_at_eof(server: "uvicorn.Server") -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True
    time.sleep(STOP_TIMEOUT_S)
    # A thread that hangs must not keep an orphan alive; the engine ends with our pipe.
    os._exit(1)


if __name__ == "__main__":
    main()
