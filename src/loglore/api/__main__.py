"""The API's process: `python -m loglore.api --runs runs --logs examples/logs --port 8502`.

Prints its base URL as the first line when it answers. With `--until-eof` it ends when standard input does: that is how
its starter stops it, and how it notices that the starter is gone, since a pipe closes with the process that held it.
"""

import argparse
import os
import socket
import sys
import threading
import time
from pathlib import Path

import uvicorn

from loglore.api import uploads
from loglore.api.app import create_app
from loglore.api.guard import LOOPBACK
from loglore.errors import InputError

STOP_TIMEOUT_S = 5.0


def main() -> None:
    """Parse, bind, serve."""
    parser = argparse.ArgumentParser(prog="python -m loglore.api", description="LogLore's HTTP API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; loopback only")
    parser.add_argument("--port", type=int, default=8502, help="port to bind; 0 takes a free one")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    parser.add_argument("--logs", type=Path, default=Path("examples/logs"), help="folder of logs that may be read")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    wish = parser.parse_args()
    try:
        bound = bind(wish.host, wish.port)
    except InputError as fault:
        print(f"loglore: {fault}", file=sys.stderr)
        sys.exit(2)
    with uploads.stored() as uploaded:
        app = create_app(wish.runs, wish.logs, uploaded)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        if wish.until_eof:
            threading.Thread(target=_stop_at_eof, args=(server,), daemon=True).start()
        host = f"[{wish.host}]" if ":" in wish.host else wish.host
        # The socket listens already: who reads this line can connect.
        print(f"http://{host}:{bound.getsockname()[1]}", flush=True)
        server.run(sockets=[bound])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on loopback.

    Raises:
        InputError: another host, or a port that is taken or out of range.
    """
    if host not in LOOPBACK:
        raise InputError(f"host {host}: the API has no keys yet, so only {', '.join(LOOPBACK)} can be bound")
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}: expected 0 (a free one) to 65535")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen()
    except OSError as fault:
        bound.close()
        raise InputError(f"{host}:{port} cannot be used: {fault.strerror}; choose another --port, or 0") from None
    return bound


def _stop_at_eof(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True
    time.sleep(STOP_TIMEOUT_S)
    # A thread that hangs must not keep an orphan alive; the engine ends with our pipe.
    os._exit(1)


if __name__ == "__main__":
    main()
