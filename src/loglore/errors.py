"""The errors users see as one line: bad input (exit code 2) and a failed job (exit code 1), two kinds of it by name.

Raise them where the fault is found. The message names the file, row or key, says what was found and what was expected.
"""

import errno

# How a full disk reads in errors of libraries that write files in Rust (safetensors) or C++ (torch), and of SQLite.
FULL_DISK = ("No space left on device", "PytorchStreamWriter failed writing", "database or disk is full")


class InputError(ValueError):
    """Something the user gave (file, row, key, argument) is not what was expected; the CLI exits with 2."""


class JobError(RuntimeError):
    """A job could not go on for a reason outside its input (disk full, a process that died); the CLI exits with 1."""


class UnavailableError(JobError):
    """The database or the object storage does not answer now; the same call works again once it does (HTTP 503)."""


class DiskFullError(JobError):
    """There is no room for what is to be written; nothing of it was kept (HTTP 507).

    Attributes:
        missing: bytes that are missing, at least 1.
    """

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.missing = missing


def is_full_disk(fault: BaseException) -> bool:
    """Whether the reason of an error is a disk without room, as the system or a library below says it."""
    if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return isinstance(fault, DiskFullError) or any(sign in str(fault) for sign in FULL_DISK)
