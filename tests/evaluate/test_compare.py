"""The job `compare` on made test and training runs: numbers, verdicts, and reports that stand alone."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from loglore.errors import InputError
from loglore.evaluate import bootstrap, compare, generate, metrics, questions, summary, tables
from loglore.evaluate import rows as row_tables
from loglore.runs import files
from loglore.runs.folder import RunFolder

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "br", "use"}


def finished_test(
    folder: Path,
    dataset: Path,
    answers: dict[str, str],
    perplexity: float | None = None,
    turns: questions.Turns = "last",
) -> Path:
    """A finished test run with given answers by truth; other rows are answered with their truth."""
    context = RunFolder(folder, {})
    asked = questions.read_questions(dataset, turns)
    texts = [answers.get(question.truth, question.truth) for question in asked]
    outputs = [generate.Output(row, text, 9, 5, "stop", 1.5) for row, text in enumerate(texts)]
    table = row_tables.table(asked, outputs)
    table.write_parquet(folder / "rows.parquet")
    general = perplexity and {"perplexity": perplexity, "tokens": 100, "source": "some text"}
    named = {
        "model": {"model": f"models/{folder.name}", "adapter": None},
        "dataset": {"path": "test.jsonl", "sha256": "ab"},
    }
    rest = {"general_text": general, "decoding": "greedy", **named, **generate.throughput(outputs, 24)}
    files.write_json(folder / "scores.json", summary.summarize(table, 200, 0) | rest)
    context.finish({})
    return folder


def trained(folder: Path, stage: str, losses: list[float]) -> Path:
    context = RunFolder(folder, {"stage": stage, "validation": "v"})
    for step, loss in enumerate(losses):
        context.metric(10 * step, eval_loss=loss)
        context.metric(10 * step + 1, loss=loss)
    flash = {"key": "flash_attention_v2", "requested": True, "status": "replaced", "effective": False, "note": "no GPU"}
    context.finish({"steps": 20, "tokens": 2000, "seconds": 10.0, "hyperparameters": [flash]})
    return folder


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> compare.CompareSpec:
    """Three models: one that knows nothing and two that are nearly right; with training runs."""
    tmp_path = tmp_path_factory.mktemp("runs")
    truths = [question.truth for question in questions.read_questions(dataset, "last")]
    tests = {
        "base": finished_test(tmp_path / "base", dataset, dict.fromkeys(truths, "<b>no</b> idea"), 20.0),
        "a tuned": finished_test(tmp_path / "tuned", dataset, {truths[0]: "Job 0 failed."}, 21.0),
        "pretrained & tuned": finished_test(tmp_path / "both", dataset, {truths[6]: "Job 6 failed."}, 25.0),
    }
    training = {
        "CPT": trained(tmp_path / "cpt", "cpt", [4.0, 3.0]),
        "a tuned": trained(tmp_path / "sft", "sft", [3.0, 2.0, 1.0]),
        "pretrained & tuned": trained(tmp_path / "cpt-sft", "sft", [2.0, 1.0, 0.5]),
    }
    return compare.CompareSpec(tests=tests, training=training, resamples=200)


@pytest.fixture(scope="module")
def report(spec: compare.CompareSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a comparison of the three, and what the job returned."""
    context = RunFolder(tmp_path_factory.mktemp("report"), {})
    return context.path, compare.run(spec, context)


def test_findings_follow_from_the_numbers(report: tuple[Path, dict[str, Any]]) -> None:
    found = report[1]["findings"]
    assert found[0].startswith("a tuned against base: all six scores higher")
    assert re.match(r"pretrained & tuned against a tuned: no score differs distinguishably from zero \(fuzzy", found[2])
    assert "a tuned has general-text perplexity 21.00, 5.0% above base." in found[3]
    assert "after 10.0 of 20 steps; its own final eval loss is 0.5000" in found[5]
    assert "Only 6 log chunks were tested" in found[6]


def test_differences_equal_the_bootstrap_on_the_rows(
    spec: compare.CompareSpec, report: tuple[Path, dict[str, Any]]
) -> None:
    comparison = files.read_json(report[0] / "comparison.json")
    assert [model["label"] for model in comparison["models"]] == list(spec.tests)
    rows = {label: pl.read_parquet(folder / "rows.parquet") for label, folder in spec.tests.items()}
    for pair in comparison["differences"]:
        ours, theirs = (row_tables.row_scores(rows[pair[side]]) for side in ("model", "against"))
        expected = bootstrap.paired_differences(ours, theirs, rows["base"]["chunk"].to_list(), 200, 0)
        for name in metrics.NAMES:
            low, high = expected[name].low, expected[name].high
            assert (pair["scores"][name]["low"], pair["scores"][name]["high"]) == (low, high)
            assert pair["scores"][name]["significant"] == (low > 0 or high < 0)
            simple = metrics.aggregate(ours)[name] - metrics.aggregate(theirs)[name]
            assert pair["scores"][name]["value"] == pytest.approx(simple)
    assert [entry["ratio"] for entry in comparison["forgetting"]] == [1, 1.05, 1.25]


class Page(HTMLParser):
    """Collects text and attributes, and checks that elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_reports_stand_alone(report: tuple[Path, dict[str, Any]]) -> None:
    folder, result = report
    outputs = result["outputs"]
    for name in ("comparison_png", "cpt_png", "sft_png"):
        assert (folder / outputs[name]).read_bytes().startswith(PNG)
    html = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert not page.open
    assert "script" not in page.tags
    assert page.tags.count("svg") == 3
    fetching = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset", "data")]
    assert all(value.startswith("#") for value in fetching)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "prefers-color-scheme: dark" in html
    assert "<b>no</b>" not in html, "answers are shown, not interpreted"
    text = " ".join(page.text)
    for expected in ("<b>no</b> idea", "pretrained & tuned vs a tuned", "×1.250", "flash_attention_v2", "rapidfuzz"):
        assert expected in text
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    images = re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert sorted(images) == ["comparison.png", "cpt.png", "sft.png"]
    assert "≈ " in markdown
    assert "▲ " in markdown


def test_two_reports_differ_in_nothing_but_the_date(
    spec: compare.CompareSpec, report: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    contents = []
    compare.run(spec, RunFolder(tmp_path / "again", {}))
    for folder in (report[0], tmp_path / "again"):
        written = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".jsonl"}
        contents.append({key: re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC", b"", data) for key, data in written.items()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 10, "three charts twice, three reports, the spec"


def test_rows_that_not_all_runs_have_are_left_out_and_said_so(dataset: Path, tmp_path: Path) -> None:
    whole = finished_test(tmp_path / "whole", dataset, {})
    part = tmp_path / "part.jsonl"
    kept = list(reversed(dataset.read_text().splitlines()[2:]))
    part.write_text("\n".join(kept) + "\n")
    fewer = finished_test(tmp_path / "fewer", part, {})
    spec = compare.CompareSpec(tests={"whole": whole, "fewer": fewer}, resamples=100)
    result = compare.run(spec, RunFolder(tmp_path / "out", {}))
    assert result["rows"] == 10
    assert "2 rows of whole are left out: not all test runs have answers to them." in result["findings"]
    assert any("no score differs" in sentence for sentence in result["findings"]), "rows are matched, not zipped"
    part.write_text('{"instruction": "?", "output": "!"}\n')
    other = finished_test(tmp_path / "other", part, {})
    with pytest.raises(InputError, match="no row in common: whole, other"):
        compare.run(
            compare.CompareSpec(tests={"whole": whole, "other": other}, resamples=100), RunFolder(tmp_path / "none", {})
        )


def test_what_is_not_a_finished_test_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    spec = compare.CompareSpec(tests={"x": tmp_path / "empty"})
    with pytest.raises(InputError, match=r"empty: no report\.json; expected the folder of a finished test job"):
        compare.run(spec, RunFolder(tmp_path / "out", {}))
    with pytest.raises(InputError, match="`baseline` 'y' is none of the tests: x"):
        compare.CompareSpec.parse({"tests": {"x": tmp_path}, "baseline": "y"}, "compare")


def test_inputs_name_every_folder(spec: compare.CompareSpec) -> None:
    inputs = spec.inputs()
    assert inputs["tests.base"] == [spec.tests["base"]]
    assert len(inputs) == 6


def test_terminal_tables_fit_80_columns(report: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=(tmp_path / "screen").open("w"))
    for table in tables.terminal(files.read_json(report[0] / "comparison.json")):
        console.print(table)
    text = console.export_text()
    assert "Fuzzy match" in text
    assert not re.search(r"\[\d[^\]\n]*\n", text), "an interval is broken over lines"


def test_a_single_model_without_training_is_a_report_too(dataset: Path, tmp_path: Path) -> None:
    only = finished_test(tmp_path / "only", dataset, {})
    context = RunFolder(tmp_path / "out", {})
    result: dict[str, Any] = compare.run(compare.CompareSpec(tests={"only": only}, resamples=100), context)
    assert result["findings"] == []
    assert "Training" not in (context.path / "report.md").read_text()
    assert np.all(pl.read_parquet(only / "rows.parquet")["fuzzy_match"].to_numpy() == 1)


def test_answers_without_a_model_stand_beside_the_models(
    spec: compare.CompareSpec, dataset: Path, tmp_path: Path
) -> None:
    context = RunFolder(tmp_path / "out", {})
    with_train = spec.model_copy(update={"train": dataset})
    result = compare.run(with_train, context)
    comparison = files.read_json(context.path / "comparison.json")
    nearest, empty = comparison["baselines"]
    assert (nearest["label"], empty["label"]) == ("nearest training answer", "empty answer")
    assert nearest["scores"]["fuzzy_match"]["value"] == 1, "the training rows are the test rows here"
    assert empty["scores"]["fuzzy_match"]["value"] == 0
    assert any(s.startswith("base is worse than copying the nearest training answer") for s in result["findings"])
    assert "a tuned is not distinguishable from copying the nearest training answer" in " ".join(result["findings"])
    assert any("12 of 12 test rows are of log chunks that the training rows have" in s for s in result["findings"])
    text = (context.path / "report.html").read_text(encoding="utf-8")
    assert "a tuned vs nearest training answer" in text
    assert with_train.inputs()["train"] == [dataset]


def test_gains_and_losses_are_shown_side_by_side_with_what_they_share(
    report: tuple[Path, dict[str, Any]],
) -> None:
    html = (report[0] / "report.html").read_text(encoding="utf-8")
    assert "a tuned vs base: gain of" in html
    assert "<mark>Job 1 is &#34;done&#34; 0.</mark>" in html
    markdown = (report[0] / "report.md").read_text(encoding="utf-8")
    assert "## Largest gains: a tuned against base" in markdown
    assert "Largest losses" not in markdown, "nothing got worse than base"


def test_every_turn_is_compared_and_last_turns_stand_alone(dataset: Path, tmp_path: Path) -> None:
    runs = {
        "one": finished_test(tmp_path / "one", dataset, {}, turns="all"),
        "two": finished_test(tmp_path / "two", dataset, {'Job 11 is "done" 0.': "no"}, turns="all"),
    }
    context = RunFolder(tmp_path / "out", {})
    result = compare.run(compare.CompareSpec(tests=runs, resamples=100), context)
    comparison = files.read_json(context.path / "comparison.json")
    assert result["rows"] == 14
    last = {model["label"]: model["last_turn"] for model in comparison["models"]}
    assert last["one"]["rows"] == last["two"]["rows"] == 12
    assert (
        last["two"]["scores"]["fuzzy_match"]["value"] == 1 > comparison["models"][1]["scores"]["fuzzy_match"]["value"]
    )
    assert "## Last turns" in (context.path / "report.md").read_text()
    assert {part["kind"] for part in comparison["slices"]} >= {"task", "turn"}


def test_rows_without_answer_are_left_out_on_both_sides(dataset: Path, tmp_path: Path) -> None:
    whole = finished_test(tmp_path / "whole", dataset, {})
    part = finished_test(tmp_path / "part", dataset, {})
    rows = pl.read_parquet(part / "rows.parquet")
    rows.with_columns(output=pl.when(pl.col("row") == 3).then(None).otherwise("output")).write_parquet(
        part / "rows.parquet"
    )
    result = compare.run(
        compare.CompareSpec(tests={"whole": whole, "part": part}, resamples=100), RunFolder(tmp_path / "out", {})
    )
    assert result["rows"] == 11
    left = [sentence for sentence in result["findings"] if "left out" in sentence]
    assert left == [
        f"1 rows of {name} are left out: not all test runs have answers to them." for name in ("whole", "part")
    ]


def test_a_difference_of_few_chunks_is_not_called_one(dataset: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.jsonl"
    part.write_text("".join(dataset.read_text().splitlines(keepends=True)[:4]))
    truths = [question.truth for question in questions.read_questions(part, "last")]
    runs = {
        "good": finished_test(tmp_path / "good", part, {}),
        "bad": finished_test(tmp_path / "bad", part, dict.fromkeys(truths, "?")),
    }
    found = compare.run(compare.CompareSpec(tests=runs, resamples=100), RunFolder(tmp_path / "out", {}))["findings"]
    assert found[0].startswith("bad against good: no score differs distinguishably from zero")
    assert "Only 2 log chunks were tested: too few for intervals, so no difference is called one." in found


def test_different_settings_are_said(dataset: Path, tmp_path: Path) -> None:
    runs = {name: finished_test(tmp_path / name, dataset, {}) for name in ("one", "two")}
    scores = files.read_json(runs["two"] / "scores.json")
    files.write_json(runs["two"] / "scores.json", scores | {"decoding": "sampled|temperature:1"})
    result = compare.run(compare.CompareSpec(tests=runs, resamples=100), RunFolder(tmp_path / "out", {}))
    assert any("under different settings" in sentence for sentence in result["findings"])


def test_many_models_are_compared_with_the_baseline_alone(dataset: Path, tmp_path: Path) -> None:
    runs = {name: finished_test(tmp_path / name, dataset, {}) for name in "abcde"}
    context = RunFolder(tmp_path / "out", {})
    compare.run(compare.CompareSpec(tests=runs, baseline="c", resamples=100), context)
    pairs = files.read_json(context.path / "comparison.json")["differences"]
    assert [(pair["model"], pair["against"]) for pair in pairs] == [(name, "c") for name in "abde"]
    assert (context.path / "comparison.svg").read_text().startswith("<?xml")


def test_a_run_of_an_older_version_is_named(dataset: Path, tmp_path: Path) -> None:
    folder = finished_test(tmp_path / "old", dataset, {})
    pl.read_parquet(folder / "rows.parquet").drop("chrf_counts").write_parquet(folder / "rows.parquet")
    with pytest.raises(InputError, match=r"old.*rows\.parquet: no column `chrf_counts`.*run the test again"):
        compare.run(compare.CompareSpec(tests={"old": folder}, resamples=100), RunFolder(tmp_path / "out", {}))
