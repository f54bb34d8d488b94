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


@pytest.fixture
def spec(tmp_path: Path, dataset: Path) -> compare.CompareSpec:
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


def test_findings_follow_from_the_numbers(spec: compare.CompareSpec, tmp_path: Path) -> None:
    found = compare.run(spec, RunFolder(tmp_path / "out", {}))["findings"]
    assert found[0].startswith("a tuned against base: all six scores higher")
    assert re.match(r"pretrained & tuned against a tuned: no score differs distinguishably from zero \(fuzzy", found[2])
    assert "a tuned has general-text perplexity 21.00, 5.0% above base." in found[3]
    assert "after 10.0 of 20 steps; its own final eval loss is 0.5000" in found[5]
    assert "Only 6 log chunks were tested" in found[6]


def test_differences_equal_the_bootstrap_on_the_rows(spec: compare.CompareSpec, tmp_path: Path) -> None:
    context = RunFolder(tmp_path / "out", {})
    compare.run(spec, context)
    comparison = files.read_json(context.path / "comparison.json")
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


def test_reports_stand_alone(spec: compare.CompareSpec, tmp_path: Path) -> None:
    context = RunFolder(tmp_path / "out", {})
    outputs = compare.run(spec, context)["outputs"]
    for name in ("comparison_png", "cpt_png", "sft_png"):
        assert (context.path / outputs[name]).read_bytes().startswith(PNG)
    html = (context.path / "report.html").read_text(encoding="utf-8")
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
    markdown = (context.path / "report.md").read_text(encoding="utf-8")
    images = re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert sorted(images) == ["comparison.png", "cpt.png", "sft.png"]
    assert "≈ " in markdown
    assert "▲ " in markdown


def test_two_reports_differ_in_nothing_but_the_date(spec: compare.CompareSpec, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        compare.run(spec, RunFolder(tmp_path / name, {}))
        written = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.suffix != ".jsonl"}
        contents.append({key: re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC", b"", data) for key, data in written.items()})
    assert contents[0] == contents[1]


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


def test_terminal_tables_fit_80_columns(spec: compare.CompareSpec, tmp_path: Path) -> None:
    from rich.console import Console

    context = RunFolder(tmp_path / "out", {})
    compare.run(spec, context)
    console = Console(width=80, record=True, file=(tmp_path / "screen").open("w"))
    for table in tables.terminal(files.read_json(context.path / "comparison.json")):
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
