"""Raw log lines as a pretraining corpus: what the ablation compares interpretable rows with (Ji et al., 2025)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loglore.data.corpus import Corpus
from loglore.data.files import Row, placed_rows
from loglore.errors import InputError
from loglore.logs import reader


def raw_corpus(
    logs: Sequence[Path], chunks: Path, validation_share: float, seed: int, max_characters: int | None
) -> Corpus:
    """Raw lines of the training chunks, one row a chunk: what `build_corpus` is compared with.

    Args:
        logs: the files or folders that the chunks were cut from.
        chunks: rows of a `chunks.jsonl`; those of other splits than `train` stay out.
        validation_share: share of chunks, 0 to 0.5, for validation.
        seed: of the shuffle and the split.
        max_characters: stop adding training rows at this many characters; None for all.

    Raises:
        InputError: a chunk of a log that is not given or shorter than the chunk says, or nothing left.
    """
    kept, left_out = _rows(logs, chunks)
    order = [kept[number] for number in np.random.default_rng(seed).permutation(len(kept))]
    held = round(len(order) * validation_share)
    train = order[held:]
    if max_characters is not None:
        total = np.cumsum([len(row["text"]) for row in train])
        train = train[: int(np.searchsorted(total, max_characters, side="right"))]
    if len(train) < len(order) - held:
        left_out["beyond max_characters"] = len(order) - held - len(train)
    if not train:
        raise InputError(f"{chunks}: no row is left for training ({dict(left_out)})")
    return Corpus(train, order[:held], dict(left_out))


def _rows(logs: Sequence[Path], chunks: Path) -> tuple[list[Row], Counter[str]]:
    lines = {path.name: reader.read_table([path])["text"].to_list() for path in reader.expand(logs)}
    kept: list[Row] = []
    left_out: Counter[str] = Counter()
    for place, row in placed_rows(chunks):
        if row.get("split") != "train":
            left_out["held-out chunk"] += 1
            continue
        first, last = row["lines"]
        found = lines.get(row["source"], [])
        if last > len(found):
            raise InputError(
                f"{place}: chunk {row['id']}: no such lines in the logs given ({', '.join(sorted(lines))})"
            )
        kept.append({"text": "\n".join(found[first - 1 : last]) + "\n", "meta": {"chunk": row["id"]}})
    return kept, left_out
