"""Charts: loss by optimizer step, and a log's lines over time by level. Colours hold on light and dark ground.

Altair is imported by who draws: a page without a chart is there half a second sooner.
"""

import datetime
import importlib
import itertools
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from loglore.studio.words import say

# After Okabe and Ito, whose colours the colour-blind tell apart, at a lightness that shows on white and on near-black.
SERIES = ["#2f86c5", "#dd6b20", "#14a07a", "#c26fa0", "#8878dd", "#b58a14"]
DAY_MS = 86_400_000
GB, MEBIBYTE = 1e9, 1 << 20
SPAN = "span"
# As far from white as from the near-black of the dark scheme: a contrast of 4.2 : 1 on both.
ONSET = "#8368dd"
LABEL_SHARE = 0.12  # of the width of a timeline, that the ids at a mark need
MOST_IDS, LONGEST_TOLD = 3, 80
LEVELS = {
    "fatal": "#b91c1c",
    "error": "#ef4444",
    "warning": "#f59e0b",
    "info": "#38a3a5",
    "debug": "#8aa0a8",
    "trace": "#aab8bd",
    "none": "#b8c3c7",
}


@cache
def prepare() -> None:
    """Import what charts are drawn with, while a visitor is still choosing what to look at; once in a process."""
    threading.Thread(target=_imports, daemon=True).start()


def _imports() -> None:
    for name in ("altair", "polars", "pyarrow"):  # the last by Streamlit, for the data of a chart
        importlib.import_module(name)


def _frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    import polars as pl

    return pl.DataFrame([dict(row) for row in rows])


def losses(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Training loss as lines and evaluation loss as points, by optimizer step; `runs`: label to rows of metrics."""
    import altair as alt

    rows = [
        {"job": label, "step": row["step"], "loss": row[name], "what": what}
        for label, metrics in runs.items()
        for row in metrics
        for name, what in (("loss", "training"), ("eval_loss", "validation"))
        if name in row
    ]
    base = alt.Chart(_frame(rows)).encode(
        x=alt.X("step:Q", title=say("charts.step"), axis=alt.Axis(tickMinStep=1, grid=False)),
        y=alt.Y("loss:Q", title=say("charts.loss"), scale=alt.Scale(zero=False)),
        color=alt.Color(
            "job:N",
            scale=alt.Scale(domain=list(runs), range=SERIES[: len(runs)]),
            legend=alt.Legend(orient="top", title=None),
        ),
        tooltip=["job:N", "what:N", "step:Q", alt.Tooltip("loss:Q", format=".4f")],
    )
    line = base.transform_filter("datum.what == 'training'").mark_line(strokeWidth=1.8)
    points = base.transform_filter("datum.what == 'validation'").mark_line(
        point=alt.OverlayMarkDef(size=45, filled=True), strokeDash=[4, 3], strokeWidth=1.2
    )
    # An empty layer would be a picture without a name.
    layers = [line, points] if any(row["what"] == "validation" for row in rows) else [line]
    return alt.layer(*layers).properties(height=280)


def timeline(rows: Sequence[Mapping[str, Any]], bucket_seconds: float, begins: Sequence[Mapping[str, Any]] = ()) -> Any:
    """Lines over time, stacked by level, the severe ones at the bottom where they can be compared.

    Args:
        rows: `time` (start of a bucket, ISO 8601), `level`, `lines`.
        bucket_seconds: width of a bucket.
        begins: templates (`id`, `text`) that begin or jump at a time (`at`, ISO 8601): each is a rule with its id.
    """
    import altair as alt

    levels = list(LEVELS)
    present = [level for level in levels if level in {row["level"] for row in rows}]
    values: list[dict[str, Any]] = []
    for row in rows:
        start = _milliseconds(row)
        end = start + bucket_seconds * 1000
        values.append({**row, "start": start, "end": end, "order": levels.index(row["level"])})
    first, last = min(value["start"] for value in values), max(value["end"] for value in values)
    clock = alt.Axis(
        grid=False, format="%H:%M:%S" if last - first < DAY_MS else "%b %d %H:%M", labelOverlap=True, tickCount=8
    )
    bars = (
        alt.Chart(_frame(values))
        .mark_bar(orient="vertical")
        .encode(
            x=alt.X("start:T", scale=alt.Scale(type="utc"), title=None, axis=clock),
            x2="end:T",
            y=alt.Y(
                "lines:Q",
                title=say("charts.lines_per", span=_span(bucket_seconds)),
                stack="zero",
                axis=alt.Axis(tickCount=3, format="d"),
            ),
            color=alt.Color(
                "level:N",
                scale=alt.Scale(domain=present, range=[LEVELS[level] for level in present]),
                legend=alt.Legend(orient="right", title=None),
            ),
            order="order:Q",
            tooltip=["level:N", "lines:Q", alt.Tooltip("time:N", title=say("charts.since"))],
        )
        # A span that is drawn with the mouse is what the page then shows the lines of.
        .add_params(alt.selection_interval(name=SPAN, encodings=["x"]))
    )
    marks = _onsets(begins, first, last)
    return (alt.layer(bars, *_rules(marks)) if marks else bars).properties(height=170)


def _onsets(begins: Sequence[Mapping[str, Any]], first: float, last: float) -> list[dict[str, Any]]:
    """What begins between two moments, a mark a moment; ids that would be written over each other stand at one mark."""
    found: dict[float, list[Mapping[str, Any]]] = {}
    for each in begins:
        at = _milliseconds({"time": each["at"]})
        if first <= at <= last:
            found.setdefault(at, []).append(each)
    marks: list[dict[str, Any]] = []
    labels: list[list[str]] = []
    free = first
    for at, here in sorted(found.items()):
        ids = [str(each["id"]) for each in here]
        if at < free and labels:
            labels[-1] += ids
            marks.append({"at": at, "ids": []})
        else:
            labels.append(ids)
            marks.append({"at": at, "ids": ids})
            free = at + (last - first) * LABEL_SHARE
        marks[-1]["begins"] = "; ".join(f"{each['id']} {each['text'][:LONGEST_TOLD]}" for each in here)
    for mark in marks:
        ids = mark.pop("ids")
        mark["label"] = " ".join(ids[:MOST_IDS]) + (f" +{len(ids) - MOST_IDS}" if len(ids) > MOST_IDS else "")
    return marks


def _rules(marks: Sequence[Mapping[str, Any]]) -> list[Any]:
    import altair as alt

    base = alt.Chart(_frame(marks)).encode(
        x=alt.X("at:T", scale=alt.Scale(type="utc"), title=None),
        tooltip=[alt.Tooltip("begins:N", title=say("charts.begins"))],
    )
    rule = base.mark_rule(color=ONSET, strokeWidth=1.5, strokeDash=[5, 3])
    label = base.mark_text(color=ONSET, align="left", baseline="bottom", dx=-2, dy=-3, fontWeight="bold").encode(
        y=alt.value(0), text="label:N"
    )
    return [rule, label]


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s"


def curve(rows: Sequence[Mapping[str, Any]], name: str, title: str) -> Any:
    """One metric by optimizer step."""
    import altair as alt

    values = [{"step": row["step"], "value": row[name]} for row in rows if name in row]
    return (
        alt.Chart(_frame(values))
        .mark_line(color=SERIES[0], strokeWidth=1.8)
        .encode(
            x=alt.X("step:Q", title=say("charts.step"), axis=alt.Axis(tickMinStep=1, grid=False)),
            y=alt.Y("value:Q", title=title, axis=alt.Axis(format="~g")),
            tooltip=["step:Q", alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(height=180)
    )


def system(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a job uses of the machine over time: a chart by unit (`%`, `W`, `GB`, `MB/s`), as far as it was measured."""
    found: dict[str, list[dict[str, Any]]] = {}
    for before, row in itertools.pairwise([*rows[:1], *rows]):
        moment = _milliseconds(row)
        for unit, points in _system_points(before, row).items():
            found.setdefault(unit, []).extend(
                {"time": moment, "what": name, "value": float(value)} for name, value in points.items()
            )
    return {unit: _over_time(points, unit) for unit, points in found.items() if points}


def _over_time(points: Sequence[Mapping[str, Any]], unit: str) -> Any:
    import altair as alt

    names = list(dict.fromkeys(point["what"] for point in points))
    scale = alt.Scale(domain=[0, 100]) if unit == "%" else alt.Scale(zero=True)
    colours = [SERIES[place % len(SERIES)] for place in range(len(names))]
    return (
        alt.Chart(_frame(points))
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("time:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(grid=False, format="%H:%M:%S")),
            y=alt.Y("value:Q", title=unit, scale=scale, axis=alt.Axis(tickCount=4)),
            color=alt.Color(
                "what:N", scale=alt.Scale(domain=names, range=colours), legend=alt.Legend(orient="top", title=None)
            ),
            tooltip=["what:N", alt.Tooltip("value:Q", format=".4~g", title=unit)],
        )
        .properties(height=180)
    )


def _milliseconds(row: Mapping[str, Any]) -> float:
    return datetime.datetime.fromisoformat(row["time"]).timestamp() * 1000


def _system_points(before: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """A sample by unit and name; rates are since the sample before."""
    shares = {"CPU": row.get("machine_cpu_percent"), "RAM": row.get("machine_memory_percent")}
    watts, memory = {}, {"job": row["memory_bytes"] / GB if "memory_bytes" in row else None}
    for number, gpu in enumerate(row.get("gpus") or []):
        shares |= {f"GPU {number}": gpu.get("utilisation_percent"), f"GPU {number} memory": gpu.get("memory_percent")}
        shares[f"GPU {number} power"] = gpu.get("power_percent")
        watts[f"GPU {number}"] = gpu.get("power_watts")
        memory[f"GPU {number}"] = gpu["memory_mb"] * MEBIBYTE / GB if "memory_mb" in gpu else None
    seconds = (_milliseconds(row) - _milliseconds(before)) / 1000
    rates = {}
    for name, key in (("received", "network_received_bytes"), ("sent", "network_sent_bytes")):
        if seconds > 0 and key in row and key in before:
            rates[name] = (row[key] - before[key]) / seconds / 1e6
    found = {"%": shares, "GB": memory, "W": watts, "MB/s": rates}
    return {
        unit: {name: value for name, value in points.items() if value is not None} for unit, points in found.items()
    }


def intervals(scores: Sequence[Mapping[str, Any]]) -> Any:
    """Scores as bars by metric and model with intervals; rows: `model`, `metric`, `value`, `low`, `high`."""
    import altair as alt

    models = list(dict.fromkeys(row["model"] for row in scores))
    colours = alt.Scale(domain=models, range=[SERIES[place % len(SERIES)] for place in range(len(models))])
    base = alt.Chart(_frame(scores)).encode(
        x=alt.X("metric:N", title=None, sort=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("model:N", sort=models),
        tooltip=["model:N", "metric:N", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high"))],
    )
    bars = base.mark_bar().encode(
        y=alt.Y("value:Q", title=None, axis=alt.Axis(format=".2f")),
        color=alt.Color("model:N", scale=colours, legend=alt.Legend(orient="top", title=None)),
    )
    whiskers = base.mark_rule(strokeWidth=1.6, color="#7a868c").encode(y="low:Q", y2="high:Q")
    return alt.layer(bars, whiskers).properties(height=260)


def histogram(edges: Sequence[float], counts: Sequence[int], title: str, rows: str) -> Any:
    """How many rows lie between each two edges; `title` and `rows` are written at the axes."""
    import altair as alt

    bars = [
        {"start": start, "end": end, "rows": count}
        for (start, end), count in zip(itertools.pairwise(edges), counts, strict=True)
    ]
    return (
        alt.Chart(_frame(bars))
        .mark_bar(color=SERIES[0])
        .encode(
            x=alt.X("start:Q", title=title, axis=alt.Axis(grid=False)),
            x2="end:Q",
            y=alt.Y("rows:Q", title=rows, axis=alt.Axis(tickMinStep=1)),
            tooltip=["start:Q", "end:Q", "rows:Q"],
        )
        .properties(height=220)
    )


def costs(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Dollars by month and kind of job; rows: `month`, `kind`, `dollars`."""
    import altair as alt

    return (
        alt.Chart(_frame(rows))
        .mark_bar()
        .encode(
            x=alt.X("month:N", title=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("dollars:Q", title="$"),
            color=alt.Color("kind:N", scale=alt.Scale(range=SERIES), legend=alt.Legend(orient="top", title=None)),
            tooltip=["month", "kind", alt.Tooltip("dollars:Q", format="$.2f")],
        )
        .properties(height=220)
    )
