"""Lengths of rows as training will render them, and what the sequence limit will do to the long ones.

Pretraining texts are cut into pieces and lose nothing. A conversation is brought within the limit by the policy that
training will use (`long_rows`), so that what is told here is what will happen there: log lines or turns left out, or a
row that the policy cannot bring within the limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loglore.data import long_rows
from loglore.data.files import Place
from loglore.data.render import Conversation, Marked, Renderer
from loglore.errors import InputError

Measurable = tuple[Place, str | tuple[Conversation, Marked]]


@dataclass(frozen=True)
class Limit:
    """renderer: of the model's tokenizer; capacity: tokens a row may have; policy: for longer conversations."""

    renderer: Renderer
    capacity: int
    policy: long_rows.Policy = "shorten_log"


@dataclass(frozen=True, slots=True)
class Length:
    """tokens: of a row; lost: those that the policy leaves out; fault: what is to be said of it, with `message`.

    Training would refuse a row that is `unfit`.
    """

    tokens: int = 0
    lost: int = 0
    fault: Literal["", "too-long", "unfit"] = ""
    message: str = ""


def lengths(rows: Sequence[Measurable], limit: Limit) -> list[Length]:
    """Lengths of rows, many with one call of the tokenizer.

    Args:
        rows: each a pretraining text, or a conversation as `Renderer.mark` has marked it.
        limit: what to count with.
    """
    renderer = limit.renderer
    texts = [what for _, what in rows if isinstance(what, str)]
    chats = [what[1].text for _, what in rows if not isinstance(what, str)]
    of_texts = iter([len(sample.ids) for sample in renderer.texts(texts)] if texts else [])
    of_chats = iter(renderer.token_counts(chats) if chats else [])
    return [
        _text(next(of_texts), limit) if isinstance(what, str) else _chat(place, *what, next(of_chats), limit)
        for place, what in rows
    ]


def _text(tokens: int, limit: Limit) -> Length:
    pieces = -(-tokens // limit.capacity)
    if pieces <= 1:
        return Length(tokens)
    message = f"{tokens:,} tokens; cut into {pieces:,} pieces in pretraining, nothing lost"
    return Length(tokens, 0, "too-long", message)


def _chat(place: Place, row: Conversation, marked: Marked, tokens: int, limit: Limit) -> Length:
    if tokens <= limit.capacity:
        return Length(tokens)
    counted = long_rows.Limit(limit.capacity, limit.policy)
    try:
        (fitted,) = long_rows.fit([(str(place), row)], limit.renderer.encode([marked]), counted, limit.renderer)
    except InputError as fault:
        return Length(tokens, 0, "unfit", str(fault).removeprefix(f"{place}: "))
    lost = tokens - len(fitted.ids)
    what = ", ".join(f"{count:,} {name}" for name, count in counted.counts.items() if not name.startswith("rows"))
    beyond = f"{tokens:,} tokens, {tokens - limit.capacity:,} beyond {limit.capacity:,}"
    return Length(tokens, lost, "too-long", f"{beyond}: {lost:,} lost ({what})")
