"""Samples to the whole plan of a run: every optimizer step of every epoch as packed rows, known before it starts.

A plan made ahead makes resuming exact and cheap (skip the first n steps), shows the number of steps and tokens in
advance, and keeps the samples a step as asked, however they pack. Each row is one forward pass of batch size 1, which
is the only shape in which FlashAttention takes its packed path.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loglore.data.files import read_rows
from loglore.data.formats import numbered, to_corpus, to_messages
from loglore.data.packing import IGNORED, PackedRow, first_fit_decreasing, flatten, plan_rows, plan_samples, split_long
from loglore.data.render import Rendered, render_chat, render_text
from loglore.errors import InputError
from loglore.runs.progress import track
from loglore.train.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Plan:
    """steps: optimizer steps, each a list of packed rows; evaluation: packed rows; samples: in an epoch."""

    steps: list[list[PackedRow]]
    evaluation: list[PackedRow]
    samples: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return len(self.steps) // self.epochs

    @property
    def rows_per_step(self) -> int:
        """The most rows of any step: the number of forward passes a step."""
        return max(len(step) for step in self.steps)

    def tokens(self) -> int:
        """Tokens read in all steps of all epochs."""
        return sum(len(row.ids) for step in self.steps for row in step)

    def counted_tokens(self) -> int:
        """Tokens that count for the loss in all steps of all epochs."""
        return sum(int((row.targets != IGNORED).sum()) for step in self.steps for row in step)

    def fill(self, capacity: int) -> float:
        """Share of the rows' capacity that holds tokens, 0 to 1."""
        rows = sum(len(step) for step in self.steps)
        return self.tokens() / (rows * capacity)


def build(
    stage: str,
    train: Path,
    validation: Path | None,
    tokenizer: "PreTrainedTokenizerBase",
    requested: Hyperparameters,
    max_tokens: int | None = None,
) -> Plan:
    """Read, render and pack.

    Args:
        stage: `cpt` (corpus rows; long texts are cut into pieces) or `sft` (chat rows; a long row is an error).
        train: file of training rows.
        validation: file of evaluation rows, or None.
        tokenizer: of the base model.
        requested: the run's hyperparameters.
        max_tokens: use training rows from the start of the file up to this many tokens; None for all.

    Raises:
        InputError: a row that is damaged or longer than `max_sequence_length`; names file and row.
    """
    capacity = requested.max_sequence_length
    samples = _samples(stage, train, tokenizer, capacity, max_tokens)
    if stage == "cpt":
        steps = plan_rows(samples, capacity, requested.samples_per_step, requested.epochs, requested.seed)
    else:
        steps = plan_samples(samples, capacity, requested.samples_per_step, requested.epochs, requested.seed)
    held_out = _samples(stage, validation, tokenizer, capacity, None) if validation else []
    lengths = [len(sample.ids) for sample in held_out]
    evaluation = [flatten([held_out[number] for number in row]) for row in first_fit_decreasing(lengths, capacity)]
    return Plan(steps, evaluation, len(samples), requested.epochs)


def _samples(
    stage: str, path: Path, tokenizer: "PreTrainedTokenizerBase", capacity: int, max_tokens: int | None
) -> list[Rendered]:
    rows = read_rows(path)
    samples: list[Rendered] = []
    total = 0
    with track(f"tokenize {path.name}", len(rows), "rows") as tick:
        for place, row in numbered(rows, path):
            try:
                sample = (
                    render_text(to_corpus(row), tokenizer)
                    if stage == "cpt"
                    else render_chat(to_messages(row), tokenizer)
                )
            except InputError as fault:
                raise InputError(f"{place}: {fault}") from None
            if stage == "sft" and len(sample.ids) > capacity:
                raise InputError(
                    f"{place}: {len(sample.ids)} tokens, more than `max_sequence_length` {capacity}; "
                    "raise it or drop the row"
                )
            if max_tokens is not None and samples and total + len(sample.ids) > max_tokens:
                break
            total += len(sample.ids)
            samples.append(sample)
            tick()
    if not samples:
        raise InputError(f"{path}: no rows")
    return split_long(samples, capacity) if stage == "cpt" else samples
