"""The main paths in Debian's Chromium, against a real API, worker and page server; each test stands by itself.

A model that was tuned to say a true sentence is asked about a real log, and its verdict opens to the line; a CPT job is
made with the JSON, its loss curve moves, it ends; three models are tested and compared.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from support_browser import WANTED, calm, choose, choose_all, chromium, pages_of, tab
from support_tiny import build_llama
from support_workshop import CORPUS, Workshop

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["chromium", "tab"]
pytestmark = WANTED
QUICK = {
    "batch_size": 2, "gradient_accumulation_steps": 1, "max_sequence_length": 64, "mixed_precision": "none",
    "training_type": "full", "lr_warmup_ratio": 0.0, "eval_strategy": "no",
}  # fmt: skip
SAID = "L7 says Background AOF rewrite terminated with error."
# Of a real log; its seventh line is what `SAID` says.
EXCERPT = (Path(__file__).parents[2] / "examples/logs/redis.log").read_text("utf-8").splitlines()[124:136]


@pytest.fixture(scope="module")
def pages(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a page server over the workshop's API, which has a real log."""
    (workshop.home.parent / "logs" / "redis.log").write_text("\n".join(EXCERPT) + "\n")
    with pages_of(workshop.url, tmp_path_factory.mktemp("pages")) as url:
        yield url


@pytest.fixture(scope="module")
def tuned(workshop: Workshop) -> str:
    """A model that was tuned until it says `SAID`, whatever it is asked and however long the log."""
    values = {**QUICK, "epochs": 16, "learning_rate": 0.006, "max_sequence_length": 1024}
    rows = [_row(lines) for lines in range(1, 11)]
    body = {"model": "tiny@1", "training_file": workshop.stored(rows), "suffix": "tuned", "general_text": False}
    method = {"type": "supervised", "supervised": {"hyperparameters": values}}
    made = httpx2.post(f"{workshop.url}/v1/fine_tuning/jobs", json={**body, "method": method}, timeout=60)
    assert workshop.wait(made.json()["id"]).status == "succeeded"
    return "tuned@1"


@pytest.fixture(scope="module")
def other(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A third model."""
    from loglore.hub import models

    folder = tmp_path_factory.mktemp("other-llama")
    build_llama(folder, 32, 4, 1024)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLORE_HOME", str(workshop.home))
        models.add("other", folder, {"from": "test"})
    return "other@1"


def _row(lines: int) -> dict[str, Any]:
    """A row about so many lines of the log, which is answered with `SAID`."""
    log = "".join(f"L{number}|{text[:70]}\n" for number, text in enumerate(EXCERPT[:lines], 1))
    turns = {"user": f"Log content:\n{log}", "assistant": SAID}
    return {"messages": [{"role": role, "content": content} for role, content in turns.items()]}


def _dataset(workshop: Workshop, name: str, rows: list[dict[str, Any]]) -> None:
    made = httpx2.post(f"{workshop.url}/v1/studio/datasets", json={"name": name, "file": workshop.stored(rows)})
    assert made.status_code == 201


def test_a_real_log_is_asked_about_and_a_verdict_opens_to_its_line(tab: "Page", pages: str, tuned: str) -> None:
    tab.goto(pages)
    tab.wait_for_url("**/chat")
    choose_all(tab, "Files", "redis")
    # Facts stand there before any model is asked.
    facts = tab.locator(".ll-facts")
    facts.wait_for()
    assert "12 lines" in facts.inner_text()
    tab.locator("[data-testid=stVegaLiteChart]").wait_for()
    choose(tab, "Model that answers", tuned)
    tab.get_by_role("button", name="Root cause").click()
    chip = tab.locator("details.ll-chip.supported").first
    chip.wait_for()
    assert "of 12 lines" in (tab.get_by_text("The model saw").first.text_content() or "")
    line = chip.locator(".ll-cited button").first
    assert not line.is_visible()
    chip.locator("summary").click()
    assert "L7 989:M 22 Nov 2026 20:35:04.176 # Background AOF rewrite terminated with error" in line.inner_text()
    # The line opens among its neighbours, and is marked there.
    line.click()
    around = tab.get_by_role("dialog")
    around.wait_for()
    assert "L6 1151:C" in around.inner_text()
    assert "Background AOF rewrite terminated" in around.locator(".marked").inner_text()
    tab.keyboard.press("Escape")
    around.wait_for(state="detached")
    calm(tab)


def test_a_cpt_job_is_made_with_the_json_and_watched_to_its_end(tab: "Page", pages: str, workshop: Workshop) -> None:
    _dataset(workshop, "corpus", CORPUS)
    tab.goto(f"{pages}/tuning?view=new")
    tab.get_by_text("Continual pretraining (CPT)").click()
    choose(tab, "Base model", "tiny@1")
    choose(tab, "Training rows", "corpus@1")
    field = tab.get_by_role("textbox", name="As JSON")
    field.fill(json.dumps({**QUICK, "epochs": 14}))
    field.press("Control+Enter")
    tab.get_by_label("epochs").and_(tab.locator("[value='14']")).wait_for()
    tab.locator("summary", has_text="More").click()
    tab.get_by_text("Measure forgetting").click()
    tab.get_by_role("button", name="Start", exact=True).click()
    tab.wait_for_url("**job=ftjob-**")
    chart = tab.locator("[data-testid=stVegaLiteChart]").first
    chart.wait_for()
    _until_other(tab, chart.screenshot())
    tab.get_by_text("tiny-cpt@1").first.wait_for()
    assert tab.locator(".ll-title .succeeded").count() == 1
    calm(tab)


def _until_other(tab: "Page", before: bytes) -> None:
    """Until the chart is drawn otherwise; nobody reloads the page."""
    for _ in range(150):
        tab.wait_for_timeout(200)
        if tab.locator("[data-testid=stVegaLiteChart]").first.screenshot() != before:
            return
    raise AssertionError("the loss curve did not move")


def test_three_models_are_compared(tab: "Page", pages: str, workshop: Workshop, tuned: str, other: str) -> None:
    _dataset(workshop, "held-out", [_row(lines) for lines in (3, 5, 7)])
    tab.goto(f"{pages}/tests?view=new")
    choose_all(tab, "Models", "tiny@1", other, tuned)
    choose(tab, "Dataset", "held-out@1")
    tab.get_by_label("max_new_tokens").fill("80")
    tab.get_by_role("button", name="Start", exact=True).click()
    tab.wait_for_url("**comparison=job-**")
    tab.get_by_role("heading", name="Differences").wait_for()
    tab.locator("[data-testid=stVegaLiteChart]").first.wait_for()
    text = tab.locator("[data-testid=stMain]").inner_text()
    assert f"{tuned} − tiny@1" in text
    assert f"{other} − tiny@1" in text
    assert "3 rows that all answered; the baseline is tiny@1" in text
    assert "1.000" in tab.locator("tr", has=tab.locator(f"b:text-is('{tuned}')")).inner_text()
    calm(tab)
