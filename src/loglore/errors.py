"""The two errors users see as one line: bad input (exit code 2) and a failed job (exit code 1).

Raise them where the fault is found. The message names the file, row or key, says what was found and what was expected.
"""


class InputError(ValueError):
    """Something the user gave (file, row, key, argument) is not what was expected; the CLI exits with 2."""


class JobError(RuntimeError):
    """A job could not go on for a reason outside its input (disk full, a process that died); the CLI exits with 1."""
