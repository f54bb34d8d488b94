"""The job `prepare`: a pretraining corpus, without what is held out.

From interpretable rows, those about events of held-out chunks left out; or, to compare with, from the raw log itself:
one row a training chunk, its lines as they stand.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from loglore.data.corpus import Corpus, build_corpus, check_same_mining, held_out_templates
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec
from loglore.train.raw_lines import raw_corpus


class PrepareSpec(Spec):
    """rows: nlplog or corpus rows. chunks: a `chunks.jsonl` whose validation and test events stay out.

    logs: instead of rows, the logs that the chunks were cut from: a corpus of raw lines. validation_share: share of
    templates (raw: of chunks) for validation. max_characters: of training text.
    """

    rows: Path | None = None
    logs: list[Path] | None = None
    chunks: Path | None = None
    validation_share: float = Field(0.05, ge=0, le=0.5)
    seed: int = Field(1309, ge=0)
    max_characters: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> "PrepareSpec":
        if (self.rows is None) == (self.logs is None):
            raise ValueError("expected `rows` (interpretable rows) or `logs` (raw lines), and not both")
        if self.logs is not None and self.chunks is None:
            raise ValueError("`logs` needs `chunks`, which say what is held out")
        return self


def run(spec: PrepareSpec, context: RunFolder) -> dict[str, Any]:
    """Write `train.jsonl` and `validation.jsonl`; the result counts rows kept and left out, by reason."""
    held_out: set[str] = set()
    if spec.chunks:
        held_out = held_out_templates(spec.chunks)
    corpus = _corpus(spec, held_out)
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


def _corpus(spec: PrepareSpec, held_out: set[str]) -> Corpus:
    if spec.rows is None:
        assert spec.logs is not None and spec.chunks is not None
        return raw_corpus(spec.logs, spec.chunks, spec.validation_share, spec.seed, spec.max_characters)
    if spec.chunks:
        check_same_mining(spec.rows, spec.chunks)
    return build_corpus(spec.rows, held_out, spec.validation_share, spec.seed, spec.max_characters)
