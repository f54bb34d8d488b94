"""Job specs: frozen pydantic models parsed from recipes and spec files, with errors that name the key.

Every job kind derives its spec from `Spec`. Fields of type `Path` (or lists and mappings of them) are the job's inputs:
their content enters the job's fingerprint.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from loglore.errors import InputError


class Spec(BaseModel):
    """What a job is asked to do. Unknown keys are errors; values are checked against the field's range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Check `values` and build the spec; `where` (file and job name) starts every error message.

        Raises:
            InputError: unknown key (names the closest known one), missing key, or value out of range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as fault:
            raise InputError(f"{where}: {describe(fault, cls)}") from None

    def inputs(self) -> dict[str, list[Path]]:
        """The files and folders this job reads, by field name."""
        found = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            paths = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
            if paths and all(isinstance(path, Path) for path in paths):
                found[name] = list(paths)
        return found


def describe(fault: ValidationError, model: type[BaseModel]) -> str:
    """Pydantic's first error in one line that names the key and what was expected."""
    error = fault.errors()[0]
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return unknown_key(key, list(model.model_fields))
    missing = [".".join(map(str, one["loc"])) for one in fault.errors() if one["type"] == "missing"]
    if error["type"] == "missing":
        return f"key `{key}` is missing" if len(missing) == 1 else f"keys `{'`, `'.join(missing)}` are missing"
    more = len(fault.errors()) - 1
    return f"`{key}`: {error['msg']}, got {error['input']!r}" + (f" (and {more} more)" if more else "")


def unknown_key(key: str, known: list[str]) -> str:
    """`unknown key …` with the closest known key, or all of them when none is close."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(sorted(known))}"
    return f"unknown key `{key}`; {hint}"
