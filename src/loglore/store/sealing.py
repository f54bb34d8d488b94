"""Secrets at rest: encrypted with a key that is not in the database (Fernet: AES-128-CBC with HMAC-SHA256).

The key is in `LOGLORE_HOME/secret.key`, its owner's alone, made at the first start; or in `LOGLORE_SECRET_KEY`, for
processes on other machines. Several keys may stand there, separated by white space or commas: the first one seals,
each of them opens.
"""

import contextlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from loglore.errors import InputError
from loglore.settings import load

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

VARIABLE = "LOGLORE_SECRET_KEY"
FILE = "secret.key"


def key_file() -> Path:
    """Where the key is when the environment has none."""
    return load().home / FILE


def make_key() -> bool:
    """Make a key where there is none; whether one was made. Two processes at once make one.

    Raises:
        InputError: the package `cryptography` is missing.
    """
    path = key_file()
    if load().secret_key or path.exists():
        return False
    _needed()
    from cryptography.fernet import Fernet

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    partial.touch(0o600)
    try:
        partial.write_bytes(Fernet.generate_key() + b"\n")
        with contextlib.suppress(FileExistsError):  # another process was quicker: its key it is
            path.hardlink_to(partial)
    finally:
        partial.unlink()
    return True


def seal(text: str) -> str:
    """A text as it may be written down.

    Raises:
        InputError: there is no key, or it is none.
    """
    return _keys().encrypt(text.encode()).decode()


def opened(sealed: str) -> str:
    """The text that was sealed.

    Raises:
        InputError: there is no key, or it is not the one that sealed this.
    """
    keys = _keys()
    from cryptography.fernet import InvalidToken

    try:
        return keys.decrypt(sealed).decode()
    except InvalidToken:
        raise InputError(f"{_place()}: not the key that secrets of this database were sealed with") from None


def _keys() -> "MultiFernet":
    given = load().secret_key or (key_file().read_text("utf-8", "replace") if key_file().exists() else "")
    if not given.strip():
        raise InputError(
            f"secrets of connections need their key: {key_file()} is missing; bring it here, or set {VARIABLE}"
        )
    _needed()
    from cryptography.fernet import Fernet, MultiFernet

    try:
        return MultiFernet([Fernet(each) for each in given.replace(",", " ").split()])
    except ValueError:
        raise InputError(f"{_place()}: no key; expected 32 bytes in URL-safe base64, 44 characters") from None


def _place() -> str:
    return VARIABLE if load().secret_key else str(key_file())


def _needed() -> None:
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError:
        raise InputError("connections to S3 need the extra s3: pip install 'loglore[s3]'") from None
