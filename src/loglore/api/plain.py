"""JSON of any shape that a caller sends and gets back: nothing in it that JSON, UTF-8 or a database cannot hold."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field

LARGEST = 1 << 20


def check(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse NaN and infinities, lone surrogates, NUL characters, and more than a megabyte.

    Raises:
        ValueError: with what was found.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise ValueError("a text that is not Unicode (a lone surrogate)") from None
    except (ValueError, RecursionError):
        raise ValueError("a number that JSON does not have (NaN, infinity), or too deep a nesting") from None
    if "\\u0000" in text:
        raise ValueError("a text with a NUL character")
    if size > LARGEST:
        raise ValueError(f"{size:,} bytes as JSON, expected at most {LARGEST:,}")
    return value


Values = Annotated[dict[str, Any], AfterValidator(check)]
HubName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", examples=["incidents"])]
