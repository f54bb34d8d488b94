"""Rows of interpretable log questions to a pretraining corpus, held-out events left out.

A row names the templates it speaks of (`meta.template`, `meta.templates`); one that names a template of a held-out
chunk would teach the answer of a test row, and is counted and left out.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loglore.data.files import Row, placed_rows, read_rows
from loglore.data.formats import to_corpus
from loglore.errors import InputError


@dataclass(frozen=True)
class Corpus:
    """Training and validation rows `{"text", "meta"}` and how many rows were left out, by reason."""

    train: list[Row]
    validation: list[Row]
    left_out: dict[str, int]


def held_out_templates(chunks: Path, splits: Iterable[str] = ("validation", "test")) -> set[str]:
    """Keys of all templates that occur in chunks of these splits (rows of a `chunks.jsonl`)."""
    keys: set[str] = set()
    for place, row in placed_rows(chunks):
        if "split" not in row or "templates" not in row:
            raise InputError(f"{place}: expected the fields `split` and `templates`, found {sorted(row)}")
        if row["split"] in splits:
            keys.update(row["templates"])
    return keys


def check_same_mining(rows: Path, chunks: Path) -> None:
    """Refuse rows whose template keys mostly occur in no chunk: nothing held out could be recognised in them.

    Raises:
        InputError: more than half of the rows name a template that no chunk of any split has.
    """
    known = held_out_templates(chunks, ("train", "validation", "test"))
    keys = [row.get("meta", {}).get("template") for row in read_rows(rows)]
    strange = sum(key not in known for key in keys)
    if 2 * strange > len(keys):
        raise InputError(
            f"{rows}: {strange} of {len(keys)} rows name templates that no chunk of {chunks} has; they were made from "
            "other logs or by another version: make them again (loglore synth nlplog)"
        )


def build_corpus(
    rows: Path, held_out: set[str], validation_share: float, seed: int, max_characters: int | None
) -> Corpus:
    """Convert, drop rows about held-out templates, shuffle, cut to `max_characters`, split by template.

    Args:
        rows: file of nlplog or corpus rows.
        held_out: template keys that must not occur.
        validation_share: share of templates, 0 to 0.5, whose rows go to validation.
        seed: of the shuffle and the split.
        max_characters: stop adding training rows at this many characters; None for all.

    Raises:
        InputError: a damaged row (named), or nothing left.
    """
    left_out: Counter[str] = Counter()
    kept: list[Row] = []
    for place, row in placed_rows(rows):
        try:
            text = to_corpus(row)
        except InputError as fault:
            raise InputError(f"{place}: {fault}") from None
        meta = row.get("meta", {})
        if held_out & {meta.get("template"), *meta.get("templates", [])}:
            left_out["speaks of a held-out event"] += 1
        else:
            kept.append({"text": text, "meta": meta})
    order = np.random.default_rng(seed).permutation(len(kept))
    shuffled = [kept[number] for number in order]
    topics = list(dict.fromkeys(_topic(row) for row in shuffled))
    validation_topics = set(topics[: round(len(topics) * validation_share)])
    validation = [row for row in shuffled if _topic(row) in validation_topics]
    train = [row for row in shuffled if _topic(row) not in validation_topics]
    short = _cut(train, max_characters)
    if len(short) < len(train):
        left_out["beyond max_characters"] = len(train) - len(short)
    if not short:
        raise InputError(f"{rows}: no row is left for training ({dict(left_out)})")
    return Corpus(short, validation, dict(left_out))


def _topic(row: Row) -> str:
    return str(row["meta"].get("template", row["text"]))


def _cut(rows: list[Row], max_characters: int | None) -> list[Row]:
    if max_characters is None:
        return rows
    total = np.cumsum([len(row["text"]) for row in rows])
    return rows[: int(np.searchsorted(total, max_characters, side="right"))]
