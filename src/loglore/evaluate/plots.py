"""Charts of a comparison, drawn once and saved twice: PNG for people's slides, SVG for the page (it follows its theme).

Matplotlib without pyplot: no global state, no display. In the SVG, text and lines take the colors of the page around
them by CSS, so that one drawing serves light and dark.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loglore.evaluate import metrics
from loglore.evaluate.curves import TrainingRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinguishable in grey print and with the usual colour vision deficiencies, on white as on near-black.
COLORS = ("#8a94a6", "#3b82c4", "#e08a2e", "#2f9e77", "#a56cc1", "#c25b6a")
_INK, _LINE, _PAPER = "#1f2a37", "#d4d9e0", "#fffffe"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "loglore",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
}


_TITLE_PAD = 34  # points: room for one line of legend
_LEGEND_WIDTH = 110  # characters
MOST_NUMBERED = 3  # more bars leave no room for numbers
_COPIED: dict[str, Any] = {"linewidth": 1.3, "linestyle": (0, (4, 2)), "zorder": 4}
_TRAINING: dict[str, Any] = {"linewidth": 1.2, "alpha": 0.65}
_EVALUATION: dict[str, Any] = {"linewidth": 1.6, "linestyle": (0, (4, 2)), "marker": "o", "markersize": 5.5}


def color(place: int) -> str:
    """Color of the model or run at `place` in its list."""
    return COLORS[place % len(COLORS)]


Values = Mapping[str, Mapping[str, float]]


def bars(models: Mapping[str, Values], rows: int, chunks: int, copied: Values | None = None) -> "Figure":
    """Grouped bars with 95 % intervals: one group a score, one bar a model.

    Args:
        models: label to score name to `value`, `low`, `high`, each 0 to 1.
        rows: test rows.
        chunks: log chunks they are from.
        copied: scores of the nearest training answer, a line across each group.
    """
    with _styled():
        figure, axes = _axes((10, 4.6), f"Scores on {rows} held-out rows from {chunks} log chunks, with 95 % intervals")
        width = 0.8 / len(models)
        highest = 0.0
        for place, (label, scores) in enumerate(models.items()):
            spots = [group - 0.4 + (place + 0.5) * width for group in range(len(metrics.NAMES))]
            tops = _one_model(
                axes, spots, width * 0.92, [scores[name] for name in metrics.NAMES], (label, color(place))
            )
            highest = max(highest, *tops)
            if len(models) <= MOST_NUMBERED:
                for spot, top, name in zip(spots, tops, metrics.NAMES, strict=True):
                    _number(axes, spot, top, scores[name]["value"])
        if copied is not None:
            for group, name in enumerate(metrics.NAMES):
                known: dict[str, Any] = {"label": "nearest training answer"} if group == 0 else {}
                span = (group - 0.44, group + 0.44)
                axes.plot(span, [copied[name]["value"]] * 2, color=_INK, **known, **_COPIED)
            highest = max(highest, *(copied[name]["value"] for name in metrics.NAMES))
        axes.set_xticks(range(len(metrics.NAMES)), [metrics.LABELS[name] for name in metrics.NAMES])
        axes.set_ylim(0, min(highest * 1.1 + 0.02, 1.05))
        axes.set_ylabel("score (0 to 1, higher is better)")
        _legend(axes, axes.get_legend_handles_labels())
    return figure


def losses(runs: Sequence[TrainingRun], title: str) -> "Figure":
    """Loss by optimizer step, runs overlaid: a thin line for training, marked points for evaluation."""
    with _styled():
        from matplotlib.lines import Line2D

        figure, axes = _axes((10, 4.2), title)
        offset = 1 if len(runs) > 1 else 0  # overlaid runs take the colors of the tuned models in the bar chart
        handles = []
        for place, run in enumerate(runs, offset):
            axes.plot(*zip(*run.training, strict=True), color=color(place), **_TRAINING)
            if run.evaluation:
                axes.plot(*zip(*run.evaluation, strict=True), color=color(place), **_EVALUATION)
            handles.append(Line2D([], [], color=color(place), linewidth=5, label=run.label))
        handles.append(Line2D([], [], color=_INK, label="training", **_TRAINING))
        if any(run.evaluation for run in runs):
            handles.append(Line2D([], [], color=_INK, label="evaluation", **_EVALUATION))
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss (nats a token)")
        axes.margins(x=0.02)
        _legend(axes, (handles, [str(handle.get_label()) for handle in handles]))
    return figure


def png(figure: "Figure") -> bytes:
    """The figure on white, 150 dots an inch."""
    return _save(figure, "png", facecolor="white", dpi=150)


def standalone_svg(figure: "Figure") -> str:
    """The figure as an SVG file on white, with text as text."""
    return _save(figure, "svg", facecolor="white", metadata={"Date": None, "Creator": None}).decode("utf-8")


def svg(figure: "Figure", description: str) -> str:
    """The figure as an `<svg>` element without background, in the colors of the page, described for screen readers."""
    from html import escape

    text = _save(figure, "svg", transparent=True, metadata={"Date": None, "Creator": None}).decode("utf-8")
    text = text[text.index("<svg") :]
    head, _, body = text.partition(">")
    view = head[head.index('viewBox="') :].split('"')[1]
    body = body.replace(_INK, "currentColor").replace(_LINE, "var(--line)").replace(_PAPER, "var(--paper)")
    label = escape(description, quote=True)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {spaces} viewBox="{view}" role="img" aria-label="{label}">{body}'


def _save(figure: "Figure", kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    with _styled():
        figure.savefig(target, format=kind, **options)
    return target.getvalue()


def _styled() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _axes(size: tuple[float, float], title: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, pad=_TITLE_PAD)
    axes.grid(axis="y", zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def _one_model(
    axes: "Axes", spots: list[float], width: float, scores: list[Mapping[str, float]], named: tuple[str, str]
) -> list[float]:
    """Draw one model's bars; returns the upper ends of their intervals."""
    values = [score["value"] for score in scores]
    # A percentile interval need not contain its value; matplotlib takes no negative error.
    down = [max(score["value"] - score["low"], 0) for score in scores]
    up = [max(score["high"] - score["value"], 0) for score in scores]
    label, fill = named
    error = {"ecolor": _INK, "elinewidth": 1, "capsize": 2.5}
    axes.bar(spots, values, width, yerr=[down, up], color=fill, label=label, error_kw=error, zorder=2)
    return [value + above for value, above in zip(values, up, strict=True)]


def _number(axes: "Axes", spot: float, top: float, value: float) -> None:
    # On a ground of its own: a baseline's line may run behind it.
    ground = {"boxstyle": "square,pad=0.1", "facecolor": _PAPER, "edgecolor": "none"}
    label = f"{value:.3f}"
    axes.annotate(
        label, (spot, top), (0, 3), textcoords="offset points", ha="center", fontsize=7.5, bbox=ground, zorder=5
    )


def _legend(axes: "Axes", entries: tuple[list[Any], list[str]]) -> None:
    """Between title and plot, where the title's padding leaves room; a long one takes more lines, not more width."""
    lines = -(-sum(len(label) + 6 for label in entries[1]) // _LEGEND_WIDTH)
    axes.set_title(axes.get_title("left"), pad=_TITLE_PAD + 20 * (lines - 1))
    legend = axes.legend(
        *entries,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=-(-len(entries[0]) // lines),
        frameon=False,
        handlelength=1.6,
        columnspacing=1.8,
    )
    legend.set_in_layout(False)
