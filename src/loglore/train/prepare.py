"""The job `prepare`: interpretable log rows to a pretraining corpus without the events of held-out chunks."""

from pathlib import Path
from typing import Any

from pydantic import Field

from loglore.data.corpus import build_corpus, check_same_mining, held_out_templates
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec


class PrepareSpec(Spec):
    """rows: nlplog or corpus rows. chunks: a `chunks.jsonl` whose validation and test events stay out.

    validation_share: share of templates for validation. max_characters: of training text.
    """

    rows: Path
    chunks: Path | None = None
    validation_share: float = Field(0.05, ge=0, le=0.5)
    seed: int = Field(1309, ge=0)
    max_characters: int | None = Field(None, ge=1)


def run(spec: PrepareSpec, context: RunFolder) -> dict[str, Any]:
    """Write `train.jsonl` and `validation.jsonl`; the result counts rows kept and left out, by reason."""
    held_out: set[str] = set()
    if spec.chunks:
        check_same_mining(spec.rows, spec.chunks)
        held_out = held_out_templates(spec.chunks)
    corpus = build_corpus(spec.rows, held_out, spec.validation_share, spec.seed, spec.max_characters)
    files.write_jsonl(context.path / "train.jsonl", corpus.train)
    files.write_jsonl(context.path / "validation.jsonl", corpus.validation)
    context.event("prepared", train=len(corpus.train), validation=len(corpus.validation), left_out=corpus.left_out)
    return {
        "outputs": {"train": "train.jsonl", "validation": "validation.jsonl"},
        "rows": {"train": len(corpus.train), "validation": len(corpus.validation)},
        "characters": sum(len(row["text"]) for row in corpus.train),
        "held_out_events": len(held_out),
        "left_out": corpus.left_out,
    }
