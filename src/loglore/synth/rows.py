"""Rows of conversations: what is asked about which log, and the row that an answer makes."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore.data.frame import conversation
from loglore.logs.chunks import Chunk
from loglore.runs import files
from loglore.synth.material import Material

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One row to be written: `task` about `chunk`, for a split; `digest`: with a digest of a window around it."""

    split: str
    chunk: Chunk
    task: str
    language: str = "en"
    digest: bool = False

    @property
    def id(self) -> str:
        """Its name among the rows of a job."""
        return f"{self.split}/{self.chunk.id}/{self.task}"


def plan(
    pairs: Mapping[str, Sequence[tuple[Chunk, str]]], language: str, evidence_share: float, seed: int
) -> dict[str, list[Asked]]:
    """Rows to write by split; languages (`mix` takes both in turn) and digests are spread by the seed."""
    found = {}
    for split, members in pairs.items():
        draw = random.Random(f"{seed}:evidence:{split}")
        digests = set(draw.sample(range(len(members)), round(evidence_share * len(members))))
        languages = ("en", "ja") if language == "mix" else (language,)
        start = draw.randrange(len(languages))
        found[split] = [
            Asked(split, chunk, task, languages[(start + number) % len(languages)], number in digests)
            for number, (chunk, task) in enumerate(members)
        ]
    return found


def row(
    asked: Asked,
    material: Material,
    pairs: Sequence[tuple[str, str]],
    teacher: str,
    prompt: str,
    grounding: Mapping[str, int],
    **more: Any,
) -> Row:
    """A ShareGPT row with what is known of its making under `meta`."""
    meta = {
        "source": material.source,
        "lines": [material.first, material.last],
        "chunk": material.id,
        "task": asked.task,
        "language": asked.language,
        "teacher": teacher,
        "prompt": prompt,
        "grounding": dict(grounding),
    }
    if material.digest:
        meta["evidence"] = {"lines": material.last - material.first + 1, "omitted": material.omitted}
    return {"conversations": conversation(pairs, material.student), "meta": {**meta, **more}}


def write(path: Path, members: Iterable[Row]) -> int:
    """Write rows atomically, as JSON Lines or, to a `.json` file, as an array; returns their number."""
    if path.suffix != ".json":
        return files.write_jsonl(path, members)
    count = 0
    with files.replacing(path) as partial, partial.open("w", encoding="utf-8") as stream:
        for each in members:
            stream.write((",\n" if count else "[\n") + json.dumps(each, ensure_ascii=False))
            count += 1
        stream.write("\n]\n" if count else "[]\n")
    return count


def subset(rows: Iterable[Row], count: int, seed: int) -> Iterator[Row]:
    """A seeded choice of `count` rows, in their order; all when there are no more."""
    members = list(rows)
    chosen = random.Random(f"{seed}:subset").sample(range(len(members)), min(count, len(members)))
    return (members[number] for number in sorted(chosen))
