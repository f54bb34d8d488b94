"""Preference rows (sharegpt-dpo) as token ids: one prompt, the answer that was chosen and the one that was rejected.

Both conversations are rendered by the same proven way as fine-tuning rows (`data.render`), so the answers are what the
model will have to write, each with its end of turn. A token that straddles the border of prompt and answer belongs to
the prompt; where the two conversations differ there, both answers begin one token earlier.

    conversations …, question ─┬─ chosen    ─>  prompt_ids | chosen_ids
                               └─ rejected  ─>             | rejected_ids
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loglore.data import sources
from loglore.data.files import Row, placed_rows
from loglore.data.formats import RowError, detect
from loglore.data.render import Rendered, Renderer
from loglore.data.samples import conversation_of
from loglore.errors import InputError
from loglore.runs.progress import track

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 256


@dataclass(frozen=True)
class Pair:
    """Token ids of one row: `prompt`, and the `chosen` and the `rejected` answer that may follow it."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def tokens(self) -> int:
        """Tokens that the model reads: the prompt once for each answer."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


def read_pairs(path: Path, tokenizer: "PreTrainedTokenizerBase", limit: int) -> list[Pair]:
    """All pairs of a file of sharegpt-dpo rows.

    Args:
        path: file of rows.
        tokenizer: of the base model, with a chat template.
        limit: the most tokens that a prompt and one of its answers may have (`max_sequence_length`).

    Raises:
        InputError: another format, a damaged row, a row whose answers are equal or longer than `limit`; names file
            and row. Or no rows at all.
    """
    renderer = Renderer(tokenizer)
    _ = renderer.method  # a template that cannot work is refused before any row is read
    listing = sources.find(path)
    found: list[Pair] = []
    with track(f"tokenize {path.name}", sum(file.size for file in listing.files) / 1e6, "MB") as tick:
        placed = placed_rows(listing, on_bytes=lambda count: tick(count / 1e6))
        while batch := list(itertools.islice(placed, AT_ONCE)):
            found += _pairs([(str(place), row) for place, row in batch], renderer, limit)
    if not found:
        raise InputError(f"{path}: no rows")
    return found


def _pairs(rows: Sequence[tuple[str, Row]], renderer: Renderer, limit: int) -> Iterator[Pair]:
    marked = []
    for place, row in rows:
        try:
            _check(row)
            for answer in ("chosen", "rejected"):
                conversation = conversation_of({**row, "chosen": row[answer]})
                whole = renderer.mark(conversation.turns, conversation.tools)
                # Earlier answers of the conversation are part of the prompt here.
                marked.append(type(whole)(whole.text, whole.spans[-1:]))
        except InputError as fault:
            raise InputError(f"{place}: {fault}") from None
    rendered = renderer.encode(marked)
    for (place, _), chosen, rejected in zip(rows, rendered[::2], rendered[1::2], strict=True):
        longest = max(len(chosen.ids), len(rejected.ids))
        if longest > limit:
            raise InputError(f"{place}: {longest} tokens, more than `max_sequence_length` {limit}")
        yield _pair(chosen, rejected)


def _check(row: Row) -> None:
    kind = detect(row)
    if kind != "sharegpt-dpo":
        raise RowError(
            f"{kind} rows hold one answer; stage dpo takes sharegpt-dpo (conversations, chosen, rejected)",
            "unknown-format",
        )
    if row["chosen"] == row["rejected"]:
        raise RowError("`chosen` and `rejected` are the same answer: nothing to prefer", "wrong-type")


def _pair(chosen: Rendered, rejected: Rendered) -> Pair:
    (first, end), (other, other_end) = _answer(chosen), _answer(rejected)
    start = min(first, other)
    differs = np.flatnonzero(chosen.ids[:start] != rejected.ids[:start])
    start = int(differs[0]) if len(differs) else start
    return Pair(chosen.ids[:start].tolist(), chosen.ids[start:end].tolist(), rejected.ids[start:other_end].tolist())


def _answer(sample: Rendered) -> tuple[int, int]:
    counted = np.flatnonzero(sample.mask)
    return int(counted[0]), int(counted[-1]) + 1


def columns(pairs: Sequence[Pair]) -> dict[str, list[Any]]:
    """Columns of a `datasets.Dataset` in the names that TRL's trainers look for."""
    return {
        "prompt_ids": [pair.prompt for pair in pairs],
        "chosen_ids": [pair.chosen for pair in pairs],
        "rejected_ids": [pair.rejected for pair in pairs],
    }
