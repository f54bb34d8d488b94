"""General English that every Python has: the language reference in `pydoc_data.topics`, in two parts that do not meet.

The first 64 Ki characters measure forgetting (`models.perplexity`); the rest may be mixed into training data against
forgetting (`mix`). A paragraph of the second part that shares 50 bytes with the first is left out of it, so that a
lower perplexity never comes from having seen the text.
"""

import sys

from loglore.data.shingles import windows
from loglore.errors import JobError

MEASURED_CHARACTERS = 1 << 16
WINDOW = 50
SHORTEST = 200  # characters of a paragraph that is worth a row


def source() -> str:
    """Where the text is from (it differs a little between Python versions)."""
    return f"pydoc_data.topics of Python {sys.version_info.major}.{sys.version_info.minor}"


def measured() -> str:
    """The part on which forgetting is measured."""
    return _all()[:MEASURED_CHARACTERS]


def replayed() -> list[str]:
    """The other part, as pieces of paragraphs of at least 200 characters each, in order."""
    text = _all()
    seen = set(windows(text[:MEASURED_CHARACTERS].encode("utf-8"), WINDOW).tolist())
    pieces: list[str] = []
    piece = ""
    for paragraph in text[MEASURED_CHARACTERS:].split("\n\n"):
        hashes = windows(paragraph.encode("utf-8"), WINDOW).tolist()
        if not seen.isdisjoint(hashes) or not paragraph.strip():
            continue
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
        if len(piece) >= SHORTEST:
            pieces.append(piece)
            piece = ""
    return pieces


def _all() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise JobError("this Python lacks pydoc_data.topics, the general text") from None
    return "\n".join(topics[name] for name in sorted(topics))
