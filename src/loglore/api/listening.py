"""What a server needs before it can answer: a socket that listens, and the first key. Nothing here is slow to import.

Connections wait in the socket's queue while the rest of the API is imported.
"""

import socket
import time

from loglore.errors import InputError
from loglore.store import audit, keys
from loglore.store.database import Database

BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: no such address here, or a port that is taken or out of range.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}: expected 0 (a free one) to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
    except (OSError, UnicodeError):
        raise InputError(f"host {host}: no such address") from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as fault:
        bound.close()
        raise InputError(f"{host}:{port} cannot be used: {fault.strerror}; choose another --port, or 0") from None
    return bound


def first_key(database: Database) -> str | None:
    """The text of an admin key, made when there is no key yet, not even a revoked one; to be shown once."""
    if keys.keys(database):
        return None
    made, text = keys.create(database, "admin", keys.SCOPES, time.time())
    audit.audit(database, None, "key.create", made.id, {"name": made.name, "scopes": list(made.scopes)})
    return text
