"""What a dataset is in tokens: totals, quantiles, a histogram, fill when packed, what a limit would cut off, steps.

All from the lengths of the rows alone, so that one pass of the tokenizer answers every question.

Worked example, lengths 2, 4, 6, 12 and limits 4, 8: one row in two is longer than 4 and loses (2 + 8) of 24 tokens; at
8 one in four loses 4 of 24. Packed at 8 (12 in pieces of 8 and 4): rows [8], [6, 2], [4, 4], fill 1.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loglore.data.packing import Numbers, best_fit_decreasing
from loglore.data.render import Rendered
from loglore.data.samples import Stage

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
LIMITS = (4096, 8192, 16384)
BIN_TOKENS = 1000  # of the histogram; the tutorial's picture has bars of about that width
MOST_BINS = 60


@dataclass(frozen=True)
class Truncation:
    """What cutting at `limit` tokens would do: shares of rows that are longer and of tokens that are lost, 0 to 1."""

    limit: int
    rows: float
    tokens: float


@dataclass(frozen=True)
class Packed:
    """Rows of `capacity` tokens: their number, share of them that is filled (0 to 1), optimizer steps over all epochs.

    fill_bound: no packing of these lengths fills more (Martello and Toth's bound L2, 1990).
    """

    capacity: int
    rows: int
    fill: float
    fill_bound: float
    steps: int


@dataclass(frozen=True)
class TokenStats:
    """Token statistics of a dataset.

    rows: samples; tokens: of all; counted: those that count for the loss; quantiles: length by share of rows;
    mode: middle of the fullest bar of the histogram; edges and counts: the histogram.
    """

    rows: int
    tokens: int
    counted: int
    mean: float
    shortest: int
    longest: int
    mode: int
    quantiles: dict[str, int]
    edges: list[int]
    counts: list[int]
    truncation: list[Truncation]
    packed: Packed

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Step:
    """An optimizer step: `size` packed rows (pretraining) or samples (fine-tuning) over all GPUs; epochs of a run."""

    size: int
    epochs: int


def lengths_of(batches: Iterable[list[Rendered]]) -> tuple[Numbers, int]:
    """Length of every sample, and the number of tokens that count for the loss (a first one is never predicted)."""
    lengths: list[int] = []
    counted = 0
    for batch in batches:
        lengths.extend(len(sample.ids) for sample in batch)
        counted += sum(int(np.count_nonzero(sample.mask[1:])) for sample in batch)
    return np.array(lengths, dtype=np.int64), counted


def describe(lengths: Numbers, counted: int, stage: Stage, capacity: int, step: Step) -> TokenStats:
    """Statistics of samples of these lengths (tokens, at least one sample).

    Args:
        lengths: int64 [samples].
        counted: tokens that count for the loss.
        stage: `cpt` cuts samples longer than `capacity` into pieces, `sft` shortens them to it.
        capacity: tokens a packed row.
        step: for the number of optimizer steps.
    """
    edges, counts = histogram(lengths)
    fullest = int(np.argmax(counts))
    total = int(lengths.sum())
    return TokenStats(
        rows=len(lengths),
        tokens=total,
        counted=counted,
        mean=total / len(lengths),
        shortest=int(lengths.min()),
        longest=int(lengths.max()),
        mode=int(edges[fullest] + edges[fullest + 1]) // 2,
        quantiles={
            f"{share:.0%}": int(value)
            for share, value in zip(QUANTILES, np.quantile(lengths, QUANTILES, method="lower"), strict=True)
        },
        edges=edges.tolist(),
        counts=counts.tolist(),
        truncation=[truncation(lengths, limit) for limit in LIMITS],
        packed=packed(lengths, stage, capacity, step),
    )


def histogram(lengths: Numbers) -> tuple[Numbers, Numbers]:
    """Edges and counts of bars of 1,000 tokens; narrower for short rows, wider for very long ones: 8 to 62 bars."""
    longest = int(lengths.max())
    width = max(BIN_TOKENS, _round_up(longest / MOST_BINS)) if longest >= 10 * BIN_TOKENS else _round_up(longest / 20)
    edges = np.arange(0, longest + width + 1, width)
    return edges, np.histogram(lengths, edges)[0]


def truncation(lengths: Numbers, limit: int) -> Truncation:
    """What would be lost if every sample were cut at `limit` tokens."""
    lost = np.maximum(lengths - limit, 0)
    return Truncation(limit, float((lost > 0).mean()), float(lost.sum() / lengths.sum()))


def packed(lengths: Numbers, stage: Stage, capacity: int, step: Step) -> Packed:
    """The samples packed by best fit decreasing, and the optimizer steps they make."""
    if stage == "cpt":
        whole = np.repeat(capacity, (lengths // capacity).sum())
        pieces = np.concatenate([whole, lengths % capacity])
    else:
        pieces = np.minimum(lengths, capacity)
    pieces = pieces[pieces > (1 if stage == "cpt" else 0)]
    total = int(pieces.sum())
    rows = len(best_fit_decreasing(pieces, capacity))
    parts = rows if stage == "cpt" else len(lengths)
    return Packed(
        capacity=capacity,
        rows=rows,
        fill=total / (rows * capacity),
        fill_bound=total / (fewest_rows(pieces, capacity) * capacity),
        steps=math.ceil(parts / step.size) * step.epochs,
    )


def fewest_rows(lengths: Numbers, capacity: int) -> int:
    """Lower bound on the number of rows: Martello and Toth's L2 ("Knapsack Problems", 1990, section 8.3).

    For each k up to half the capacity: samples longer than capacity - k fill a row alone; those longer than half need
    a row each, too, and the ones of at least k fill the room beside these at best.
    """
    sizes = np.bincount(lengths, minlength=capacity + 1)
    tokens = sizes * np.arange(capacity + 1)
    count_to, tokens_to = np.concatenate([[0], np.cumsum(sizes)]), np.concatenate([[0], np.cumsum(tokens)])
    k = np.arange(capacity // 2 + 1)
    half = capacity // 2 + 1
    alone = count_to[-1] - count_to[capacity - k + 1]
    large = count_to[capacity - k + 1] - count_to[half]
    large_tokens = tokens_to[capacity - k + 1] - tokens_to[half]
    small_tokens = tokens_to[half] - tokens_to[k]
    beside = np.maximum(0, -(-(small_tokens - (large * capacity - large_tokens)) // capacity))
    return int((alone + large + beside).max())


def lines(stats: TokenStats, stage: Stage) -> list[str]:
    """The statistics for a reader, with a bar for each part of the histogram."""
    made = stats.packed
    quantiles = "  ".join(f"{share} {value:,}" for share, value in stats.quantiles.items())
    most = max(stats.counts)
    return [
        f"{stats.rows:,} samples, {stats.tokens:,} tokens, {stats.counted:,} count for the loss ({stage})",
        f"tokens a sample: {stats.shortest:,} to {stats.longest:,}, mean {stats.mean:,.0f}, mode about {stats.mode:,}",
        f"quantiles: {quantiles}",
        *(
            f"{start:>9,} {'█' * math.ceil(40 * count / most)} {count:,}"
            for start, count in zip(stats.edges, stats.counts, strict=False)
            if count
        ),
        *(
            f"cut at {cut.limit:,}: {cut.rows:.1%} of samples are longer, {cut.tokens:.1%} of tokens lost"
            for cut in stats.truncation
        ),
        f"packed at {made.capacity:,}: {made.rows:,} rows, fill {made.fill:.2%} (at best {made.fill_bound:.2%})",
        f"about {made.steps:,} optimizer steps",
    ]


def picture(stats: TokenStats, title: str) -> bytes:
    """PNG of the histogram with median and `max_sequence_length` marked."""
    import io

    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.add_subplot()
    edges = np.array(stats.edges)
    axes.bar(edges[:-1], stats.counts, np.diff(edges) * 0.94, align="edge", color="#3b82c4", zorder=2)
    marks = [(stats.quantiles["50%"], "median", "#1f2a37"), (stats.packed.capacity, "sequence limit", "#e08a2e")]
    for place, label, color in marks:
        if place <= edges[-1]:
            axes.axvline(place, color=color, linewidth=1.4, linestyle=(0, (4, 2)), zorder=3, label=f"{label} {place:,}")
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel("tokens a sample")
    axes.set_ylabel("samples")
    if edges[-1] >= 5000:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k"))
    axes.set_xlim(0, edges[-1])
    axes.grid(axis="y", color="#d4d9e0", linewidth=0.8, zorder=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=150, facecolor="white")
    return target.getvalue()


def _round_up(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, … that is not smaller."""
    power = 10 ** max(math.floor(math.log10(max(value, 1))), 0)
    return int(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value))
