"""The job `compare`: any number of test and training runs -> what differs, by how much, and whether that can be said.

Models are compared on the rows that all test runs have in common, by paired differences: both models get the same
resampled chunks, so what makes a row hard for both cancels. Intervals are not adjusted for the number of comparisons:
of twenty true zeros about one will look like a difference.
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
from loglore.evaluate import bootstrap, curves, markdown, metrics, page, plots, tables
from loglore.evaluate import test as test_job
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec

if TYPE_CHECKING:
    import polars as pl

SAMPLES = 5


class CompareSpec(Spec):
    """What to compare.

    tests: label to folder of a finished test job, in the order of tables and charts. training: label to folder of a
    finished training job; curves of a stage are overlaid, and the first `sft` run is the reference of the others.
    baseline: label in `tests` that perplexity ratios refer to; the first one if not given. resamples, seed: of the
    bootstrap.
    """

    tests: dict[str, Path] = Field(min_length=1)
    training: dict[str, Path] = Field(default_factory=dict)
    baseline: str | None = None
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
        return {f"{name}.{label}": [path] for name, paths in named for label, path in paths.items()}


@dataclasses.dataclass(frozen=True)
class Tested:
    """A finished test run, cut down to the rows that are compared."""

    label: str
    rows: "pl.DataFrame"
    scores: dict[str, Any]


def run(spec: CompareSpec, context: RunFolder) -> dict[str, Any]:
    """Write `comparison.json`, `comparison.png`, `cpt.png`, `sft.png`, `report.md` and `report.html`.

    Raises:
        InputError: a folder that is no finished run of its kind, or test runs without a common row.
    """
    tests, left_out = _common_rows([_read_test(label, folder) for label, folder in spec.tests.items()])
    training = [curves.read_run(label, folder) for label, folder in spec.training.items()]
    comparison = compare(tests, training, spec.baseline or tests[0].label, spec.resamples, spec.seed)
    comparison |= {"rows_left_out": left_out, "samples": _samples(tests)}
    comparison["findings"] = tables.findings(comparison)
    figures = _figures(comparison, training)
    outputs = {"comparison": "comparison.json", "report_html": "report.html", "report_md": "report.md"}
    for name, (figure, _) in figures.items():
        files.write_bytes(context.path / f"{name}.png", plots.png(figure))
        outputs[f"{name}_png"] = f"{name}.png"
    files.write_json(context.path / "comparison.json", comparison)
    written = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    files.write_text(context.path / "report.md", markdown.report(comparison, list(figures), written))
    drawings = {name: (plots.svg(figure, text), text) for name, (figure, text) in figures.items()}
    files.write_text(context.path / "report.html", page.html(comparison, drawings, written))
    summary = tables.text(comparison) + f"\nReport: {context.path / 'report.html'}"
    return {
        "outputs": outputs,
        "rows": comparison["rows"],
        "findings": comparison["findings"],
        "summary": summary,
    }


def compare(
    tests: Sequence[Tested], training: Sequence[curves.TrainingRun], baseline: str, resamples: int, seed: int
) -> dict[str, Any]:
    """Everything the reports say, as one JSON value; all tests have the same rows in the same order.

    Returns:
        rows, chunks, models (scores, groundedness, perplexity …), truth (its groundedness), differences (every pair,
        later minus earlier), forgetting, training, convergence and provenance.
    """
    clusters = tests[0].rows["chunk"].to_list()
    return {
        "baseline": baseline,
        "rows": len(clusters),
        "chunks": len(set(clusters)),
        "models": [_model(test, resamples, seed) for test in tests],
        "truth": test_job.grounding(tests[0].rows, resamples, seed, of="truth_"),
        "differences": [_difference(two, one, clusters, resamples, seed) for one, two in combinations(tests, 2)],
        "forgetting": _forgetting(tests, baseline),
        "training": [curves.summary(run) for run in training],
        "convergence": curves.convergence(training),
        "signatures": metrics.signatures(),
        "bootstrap": {"resamples": resamples, "seed": seed, "level": bootstrap.LEVEL, "clusters": "chunk"},
        "software": _software(),
    }


def _read_test(label: str, folder: Path) -> Tested:
    import polars as pl

    for name in ("report.json", "rows.parquet", "scores.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}; expected the folder of a finished test job (for {label!r})")
    return Tested(label, pl.read_parquet(folder / "rows.parquet"), files.read_json(folder / "scores.json"))


def _common_rows(tests: Sequence[Tested]) -> tuple[list[Tested], dict[str, int]]:
    """The tests on rows that all of them have, in one order; and how many rows of each were left out."""
    import polars as pl

    # The same question may stand in a dataset twice: the n-th time in one run goes with the n-th time in another.
    repeat = pl.int_range(pl.len()).over("key")
    keyed = [test.rows.with_columns(repeat=repeat) for test in tests]
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
    found = test_job.summarize(test.rows, resamples, seed)
    kept = ("model", "dataset", "decoding", "general_text", "generation_s", "tokens_per_second")
    return {
        "label": test.label,
        **{name: found[name] for name in ("scores", "groundedness", "claims", "truncated", "empty")},
        **{name: test.scores[name] for name in kept},
        "tokens": int(test.rows["tokens"].sum()),
    }


def _difference(test: Tested, against: Tested, clusters: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    ours, theirs = test_job.row_scores(test.rows), test_job.row_scores(against.rows)
    found = bootstrap.paired_differences(ours, theirs, clusters, resamples, seed)
    scores = {name: dataclasses.asdict(value) | {"significant": value.excludes_zero} for name, value in found.items()}
    return {"model": test.label, "against": against.label, "scores": scores}


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
    figures = {"comparison": (plots.bars(models, comparison["rows"], comparison["chunks"]), described)}
    for stage, title in (("cpt", "Continual pretraining"), ("sft", "Fine-tuning")):
        runs = [run for run in training if run.stage == stage]
        if runs:
            described = f"{title}: loss by optimizer step of " + ", ".join(run.label for run in runs)
            figures[stage] = (plots.losses(runs, f"{title}: loss by optimizer step"), described)
    return figures


def _software() -> dict[str, str]:
    names = ("torch", "transformers", "peft", "sacrebleu", "rapidfuzz", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
