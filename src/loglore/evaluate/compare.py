"""The job `compare`: any number of test and training runs -> what differs, by how much, and whether that can be said.

Models are compared on the rows that all test runs answered, by paired differences: both models get the same
resampled chunks, so what makes a row hard for both cancels. Intervals are not adjusted for the number of comparisons:
of twenty true zeros about one will look like a difference. Beside the models stand two answers that need none
(`baselines`): the nearest training answer, where training rows are given, and an empty one.
"""

import dataclasses
import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from loglore.errors import InputError
from loglore.evaluate import (
    baselines,
    bootstrap,
    curves,
    findings,
    markdown,
    metrics,
    page,
    pairs,
    plots,
    summary,
    tables,
)
from loglore.evaluate import rows as row_tables
from loglore.evaluate.measures import BY_NAME
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec

if TYPE_CHECKING:
    import polars as pl

SAMPLES = 5
ALL_PAIRS = 4  # with more models, only pairs with the baseline are compared


class CompareSpec(Spec):
    """What to compare.

    tests: label to folder of a finished test job, in the order of tables and charts. training: label to folder of a
    finished training job; curves of a stage are overlaid, and the first `sft` run is the reference of the others.
    baseline: label in `tests` that slices, gains and perplexity ratios refer to; the first one if not given. train: the
    training rows, for the baseline that copies the nearest training answer. resamples, seed: of the bootstrap.
    """

    tests: dict[str, Path] = Field(min_length=1)
    training: dict[str, Path] = Field(default_factory=dict)
    baseline: str | None = None
    train: Path | None = None
    resamples: int = Field(1000, ge=100)
    seed: int = 0

    @model_validator(mode="after")
    def _known_baseline(self) -> "CompareSpec":
        if self.baseline is not None and self.baseline not in self.tests:
            raise ValueError(f"`baseline` {self.baseline!r} is none of the tests: {', '.join(self.tests)}")
        return self

    def inputs(self) -> dict[str, list[Path]]:
        """The run folders, by field and label."""
        named = [("tests", self.tests), ("training", self.training)]
        folders = {f"{name}.{label}": [path] for name, paths in named for label, path in paths.items()}
        return folders | ({"train": [self.train]} if self.train else {})


@dataclasses.dataclass(frozen=True)
class Tested:
    """A finished test run, cut down to the rows that are compared."""

    label: str
    rows: "pl.DataFrame"
    scores: dict[str, Any]


def run(spec: CompareSpec, context: RunFolder) -> dict[str, Any]:
    """Write `comparison.json`, the charts (`comparison`, `cpt` and `sft` as PNG and SVG), `report.md`, `report.html`.

    Raises:
        InputError: a folder that is no finished run of its kind, or test runs without a common row.
    """
    tests, left_out = _common_rows([_read_test(label, folder) for label, folder in spec.tests.items()])
    training = [curves.read_run(label, folder) for label, folder in spec.training.items()]
    comparison = compare(tests, training, spec.baseline or tests[0].label, spec.resamples, spec.seed, spec.train)
    comparison |= {"rows_left_out": left_out, "samples": _samples(tests)}
    comparison["findings"] = findings.findings(comparison)
    figures = _figures(comparison, training)
    outputs = {"comparison": "comparison.json", "report_html": "report.html", "report_md": "report.md"}
    for name, (figure, _) in figures.items():
        files.write_bytes(context.path / f"{name}.png", plots.png(figure))
        files.write_text(context.path / f"{name}.svg", plots.standalone_svg(figure))
        outputs |= {f"{name}_png": f"{name}.png", f"{name}_svg": f"{name}.svg"}
    files.write_json(context.path / "comparison.json", comparison)
    written = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    files.write_text(context.path / "report.md", markdown.report(comparison, list(figures), written))
    drawings = {name: (plots.svg(figure, text), text) for name, (figure, text) in figures.items()}
    files.write_text(context.path / "report.html", page.html(comparison, drawings, written))
    text = tables.text(comparison) + f"\nReport: {context.path / 'report.html'}"
    return {"outputs": outputs, "rows": comparison["rows"], "findings": comparison["findings"], "summary": text}


def compare(
    tests: Sequence[Tested],
    training: Sequence[curves.TrainingRun],
    baseline: str,
    resamples: int,
    seed: int,
    train: Path | None = None,
) -> dict[str, Any]:
    """Everything the reports say, as one JSON value; all tests have the same answered rows in the same order.

    Returns:
        rows, chunks, models (scores, measures, groundedness, perplexity …), baselines (the same of answers without a
        model), truth (its groundedness), differences (later minus earlier, every pair of up to `ALL_PAIRS` models, else
        those with the baseline), against_nearest, slices, extremes (largest gains and losses against the baseline),
        forgetting, training, convergence and provenance.
    """
    clusters = tests[0].rows["chunk"].to_list()
    by_label = {test.label: test.rows for test in tests}
    nearest, shared = baselines.nearest(tests[0].rows, train) if train else (None, None)
    simple = {baselines.NEAREST: nearest, baselines.EMPTY: baselines.empty(tests[0].rows)}
    others = [label for label in by_label if label != baseline]
    return {
        "baseline": baseline,
        "rows": len(clusters),
        "chunks": len(set(clusters)),
        "rows_with_chunk_in_training": shared,
        "models": [_model(test, resamples, seed) for test in tests],
        "baselines": [_simple(label, table, resamples, seed) for label, table in simple.items() if table is not None],
        "truth": summary.grounding(tests[0].rows, resamples, seed, of="truth_"),
        "differences": [
            {"model": two, "against": one, **pairs.difference(by_label[two], by_label[one], resamples, seed)}
            for one, two in _compared(list(by_label), baseline)
        ],
        "against_nearest": [
            {"model": label, "against": baselines.NEAREST, **pairs.difference(table, nearest, resamples, seed)}
            for label, table in by_label.items()
            if nearest is not None
        ],
        "slices": pairs.slices(by_label, baseline, resamples, seed),
        "extremes": [
            {"model": one, "against": baseline, **pairs.extremes(by_label[one], by_label[baseline])} for one in others
        ],
        "forgetting": _forgetting(tests, baseline),
        "harness": {test.label: found for test in tests if (found := test.scores.get("harness"))},
        "training": [curves.summary(run) for run in training],
        "convergence": curves.convergence(training),
        "signatures": _signatures(tests),
        "bootstrap": {"resamples": resamples, "seed": seed, "level": bootstrap.LEVEL, "clusters": "chunk"},
        "software": _software(),
    }


def _compared(labels: Sequence[str], baseline: str) -> list[tuple[str, str]]:
    """(against, model) pairs; the baseline is never the later one."""
    ordered = [baseline, *(label for label in labels if label != baseline)]
    if len(ordered) > ALL_PAIRS:
        return [(baseline, label) for label in ordered[1:]]
    return list(combinations(ordered, 2))


def _read_test(label: str, folder: Path) -> Tested:
    import polars as pl

    for name in ("report.json", "rows.parquet", "scores.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}; expected the folder of a finished test job (for {label!r})")
    table = pl.read_parquet(folder / "rows.parquet")
    for name in row_tables.columns():
        if name not in table.columns:
            raise InputError(
                f"{folder / 'rows.parquet'}: no column `{name}`: written by another version; run the test again"
            )
    return Tested(label, table, files.read_json(folder / "scores.json"))


def _common_rows(tests: Sequence[Tested]) -> tuple[list[Tested], dict[str, int]]:
    """The tests on rows that all of them answered, in one order; and how many rows of each were left out."""
    import polars as pl

    # The same question may stand in a dataset twice: the n-th time in one run goes with the n-th time in another.
    repeat = pl.int_range(pl.len()).over("key")
    # A row without answer must not shift the count, so it is dropped afterwards.
    keyed = [row_tables.answered(test.rows.with_columns(repeat=repeat)) for test in tests]
    shared = keyed[0].select("key", "repeat")
    for rows in keyed[1:]:
        shared = shared.join(rows.select("key", "repeat"), on=["key", "repeat"], how="semi", maintain_order="left")
    if shared.is_empty():
        raise InputError(f"the test runs have no row in common: {', '.join(test.label for test in tests)}")
    kept = [shared.join(rows, on=["key", "repeat"], how="left", maintain_order="left") for rows in keyed]
    pairs = list(zip(tests, kept, strict=True))
    left_out = {test.label: test.rows.height - rows.height for test, rows in pairs if test.rows.height > rows.height}
    return [Tested(test.label, rows, test.scores) for test, rows in pairs], left_out


def _model(test: Tested, resamples: int, seed: int) -> dict[str, Any]:
    kept = ("model", "dataset", "decoding", "general_text", "generation_s", "tokens_per_second")
    return {
        **_simple(test.label, test.rows, resamples, seed),
        **{name: test.scores[name] for name in kept},
        "tokens": int(test.rows["tokens"].sum()),
    }


def _simple(label: str, table: "pl.DataFrame", resamples: int, seed: int) -> dict[str, Any]:
    found = summary.summarize(table, resamples, seed)
    kept = ("scores", "last_turn", "measures", "groundedness", "claims", "truncated", "empty")
    return {"label": label, **{name: found[name] for name in kept}}


def _signatures(tests: Sequence[Tested]) -> dict[str, str]:
    """The definitions of all scores and measures that a run has; decodings stand beside the models."""
    used = {name for test in tests for name in test.scores["measures"]}
    return metrics.signatures() | {name: measure.signature for name, measure in BY_NAME.items() if name in used}


def _forgetting(tests: Sequence[Tested], baseline: str) -> list[dict[str, Any]]:
    measured = {test.label: test.scores["general_text"] for test in tests if test.scores["general_text"]}
    base = measured.get(baseline)
    return [
        {"model": label, **found, "ratio": found["perplexity"] / base["perplexity"] if base else None}
        for label, found in measured.items()
    ]


def _samples(tests: Sequence[Tested]) -> list[dict[str, Any]]:
    """The first row of each task, in dataset order: not chosen by how well anyone did."""
    first = tests[0].rows
    places = {task: place for place, task in reversed(list(enumerate(first["task"].to_list())))}
    samples = []
    for place in sorted(places.values())[:SAMPLES]:
        row = first.row(place, named=True)
        outputs = {test.label: test.rows.row(place, named=True) for test in tests}
        samples.append(
            {
                **{name: row[name] for name in ("task", "chunk", "input", "truth", "turns")},
                "outputs": {
                    label: {name: output[name] for name in ("output", "finish", "fuzzy_match", "rougeL")}
                    for label, output in outputs.items()
                },
            }
        )
    return samples


def _figures(comparison: Mapping[str, Any], training: Sequence[curves.TrainingRun]) -> dict[str, tuple[Any, str]]:
    """Figure and description by file name."""
    models = {model["label"]: model["scores"] for model in comparison["models"]}
    described = tables.scores(comparison).text()
    copied = next((each["scores"] for each in comparison["baselines"] if each["label"] == baselines.NEAREST), None)
    drawn = plots.bars(models, comparison["rows"], comparison["chunks"], copied)
    figures = {"comparison": (drawn, described)}
    for stage, title in (("cpt", "Continual pretraining"), ("sft", "Fine-tuning")):
        runs = [run for run in training if run.stage == stage]
        if runs:
            described = f"{title}: loss by optimizer step of " + ", ".join(run.label for run in runs)
            figures[stage] = (plots.losses(runs, f"{title}: loss by optimizer step"), described)
    return figures


def _software() -> dict[str, str]:
    names = ("torch", "transformers", "peft", "sacrebleu", "rapidfuzz", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
