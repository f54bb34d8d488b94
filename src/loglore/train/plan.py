"""Samples to the whole plan of a run: every optimizer step of every epoch as packed rows, known before it starts.

A plan made ahead makes resuming exact and cheap (skip the first n steps), shows the number of steps and tokens in
advance, and keeps the samples a step as asked, however they pack. Each row is one forward pass of batch size 1, which
is the only shape in which FlashAttention takes its packed path.

The plan holds numbers of samples; tokens stay in the packed dataset on disk (`data.packed`) and are mapped when a step
is read. So a run that is started again tokenizes nothing, and the processes of one machine share one copy.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from loglore.data import sources
from loglore.data.files import Place, Row, placed_rows
from loglore.data.long_rows import Policy
from loglore.data.packed import PackedDataset, PackSettings, Render, Source, open_or_build
from loglore.data.packing import Numbers, PackedRow, plan_rows, plan_samples
from loglore.data.samples import Stage, render_rows
from loglore.runs.fingerprint import of_path
from loglore.runs.progress import track
from loglore.train.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Steps(Sequence[list[PackedRow]]):
    """Optimizer steps, each a list of packed rows that are read when the step is asked for.

    Args:
        dataset: where the samples are.
        rows: of each step, the samples of each row.
    """

    def __init__(self, dataset: PackedDataset, rows: Sequence[list[Numbers]]) -> None:
        self.dataset = dataset
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> list[PackedRow]: ...
    @overload
    def __getitem__(self, number: slice) -> "Steps": ...
    def __getitem__(self, number: int | slice) -> "list[PackedRow] | Steps":
        if isinstance(number, slice):
            return Steps(self.dataset, self.rows[number])
        return [self.dataset.row(samples) for samples in self.rows[number]]

    def row(self, step: int, place: int) -> PackedRow | None:
        """Row `place` of a step, read alone; None when the step has fewer."""
        rows = self.rows[step]
        return self.dataset.row(rows[place]) if place < len(rows) else None

    def tokens(self) -> list[int]:
        """Tokens of each step, without reading them."""
        lengths = self.dataset.lengths
        return [sum(int(lengths[samples].sum()) for samples in rows) for rows in self.rows]


@dataclass(frozen=True)
class Plan:
    """steps: optimizer steps, each a list of packed rows; evaluation: packed rows; epochs: how often it is all read."""

    steps: Steps
    evaluation: Sequence[PackedRow]
    epochs: int

    @property
    def samples(self) -> int:
        """Samples in an epoch."""
        return len(self.steps.dataset.lengths)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return len(self.steps) // self.epochs

    @property
    def rows_per_step(self) -> int:
        """The most rows of any step: the number of forward passes a step."""
        return max(len(rows) for rows in self.steps.rows)

    def tokens(self) -> int:
        """Tokens read in all steps of all epochs."""
        return int(self.steps.dataset.report["tokens"]) * self.epochs

    def counted_tokens(self) -> int:
        """Tokens that count for the loss in all steps of all epochs."""
        return int(self.steps.dataset.report["counted_tokens"]) * self.epochs

    def fill(self, capacity: int) -> float:
        """Share of the rows' capacity that holds tokens, 0 to 1."""
        return self.tokens() / (sum(len(rows) for rows in self.steps.rows) * capacity)


def build(
    stage: Stage,
    train: Path,
    validation: Path | None,
    tokenizer: "PreTrainedTokenizerBase",
    requested: Hyperparameters,
    max_tokens: int | None = None,
    long_rows: Policy = "shorten_log",
    cache: Path | None = None,
    processes: int = 1,
    render: Render = render_rows,
) -> Plan:
    """Read, render and pack, or map what an earlier run packed.

    Args:
        stage: `cpt` (corpus rows; long texts are cut into pieces) or `sft` (chat rows).
        train: file of training rows.
        validation: file of evaluation rows, or None.
        tokenizer: of the base model.
        requested: the run's hyperparameters.
        max_tokens: use training rows from the start of the file up to this many tokens; None for all.
        long_rows: what happens to chat rows longer than `max_sequence_length` (`data.long_rows`).
        cache: folder for packed datasets; None for one that lasts as long as the plan.
        processes: training processes; a step is `batch_size` x accumulation rows or samples on each.
        render: makes samples of training rows, in their order.

    Raises:
        InputError: a row that is damaged or that `long_rows` does not bring within the limit; names file and row.
    """
    if cache is None:
        # The arrays stay mapped after the files are gone (POSIX).
        with tempfile.TemporaryDirectory(prefix="loglore-packed-") as folder:
            place = Path(folder)
            return build(
                stage, train, validation, tokenizer, requested, max_tokens, long_rows, place, processes, render
            )
    capacity, epochs, seed = requested.max_sequence_length, requested.epochs, requested.seed
    settings = PackSettings(stage, capacity, long_rows, max_tokens, seed if stage == "cpt" else None)
    dataset = _packed(cache, train, tokenizer, settings, render)
    step = requested.samples_per_step * processes
    if stage == "cpt":
        rows = plan_rows(dataset.packing, step, epochs, seed)
    else:
        rows = plan_samples(dataset.lengths, capacity, step, epochs, seed)
    evaluation: Sequence[PackedRow] = []
    if validation:
        evaluation = _packed(cache, validation, tokenizer, PackSettings(stage, capacity, long_rows))
    return Plan(Steps(dataset, rows), evaluation, epochs)


def _packed(
    cache: Path,
    path: Path,
    tokenizer: "PreTrainedTokenizerBase",
    settings: PackSettings,
    render: Render = render_rows,
) -> PackedDataset:
    source = Source(str(path), of_path(path), lambda: _rows(path))
    return open_or_build(cache, source, tokenizer, settings, render)


def _rows(path: Path) -> Iterator[tuple[Place, Row]]:
    listing = sources.find(path)
    with track(f"tokenize {path.name}", sum(file.size for file in listing.files) / 1e6, "MB") as tick:
        yield from placed_rows(listing, on_bytes=lambda count: tick(count / 1e6))
