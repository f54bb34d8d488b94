"""What the hub works in: the open database, and names that are the same for datasets and models."""

import contextlib
import re
from collections.abc import Iterator

from loglore.errors import InputError
from loglore.store.database import Database, open_database

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
TAG = re.compile(r"[a-z][a-z0-9._-]{0,63}")


@contextlib.contextmanager
def opened(database: Database | None) -> Iterator[Database]:
    """The database given, or the settings' one for the length of the block."""
    if database is not None:
        yield database
        return
    own = open_database()
    try:
        yield own
    finally:
        own.close()


def check_name(kind: str, name: str) -> None:
    """Refuse a name that could not be a folder's and part of a URL.

    Raises:
        InputError: it is none.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{kind} name {name!r}: expected lower-case letters, digits, `.`, `_`, `-`, at most 64 of them"
        )


def check_tag(name: str) -> None:
    """Refuse a tag that could be taken for a number.

    Raises:
        InputError: it is none.
    """
    if not TAG.fullmatch(name):
        raise InputError(f"tag {name!r}: expected a lower-case letter, then letters, digits, `.`, `_`, `-`, at most 64")
