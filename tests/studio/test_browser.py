"""The main paths in Debian's Chromium, against a real API, worker and page server.

A CPT job is made with the JSON, its loss curve moves, it ends; a model that was tuned to say a true sentence is asked
about a log, and its verdict opens to the line; three models are tested and compared; no page has a serious
accessibility problem. The tests go on from each other, in the order of this file.

They take a minute and a half, so they run only when asked for:
`LOGLORE_BROWSER=1 pytest -n0 tests/studio/test_browser.py`.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from support_workshop import CORPUS, Workshop

from loglore.studio import start as starter

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or ""
pytestmark = pytest.mark.skipif(
    os.environ.get("LOGLORE_BROWSER") != "1",
    reason="a browser takes a minute: LOGLORE_BROWSER=1, with Debian's chromium",
)
WAIT_MS = 120_000
PAGES = (
    "", "data", "data?dataset=corpus@1", "data?view=add", "data?view=generate", "data?view=connections", "models",
    "models?view=catalog", "tuning", "tuning?view=new", "tests", "tests?view=new", "tests?view=compare", "sessions",
    "runs", "keys", "costs", "audit",
)  # fmt: skip
SAID = "L4 says ERROR disk 3 full."


@pytest.fixture(scope="module")
def pages(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a page server over the workshop's API."""
    port = starter._free_port("127.0.0.1", 0)
    log = tmp_path_factory.mktemp("pages") / "log"
    with starter._child("loglore.studio.process", ["127.0.0.1", str(port), workshop.url], log) as process:
        starter._wait_for_page(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def tab(pages: str) -> Iterator["Page"]:
    """A tab of a browser that may call nobody but this machine; whatever is asked elsewhere fails the test."""
    from playwright.sync_api import sync_playwright

    foreign: list[str] = []
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.on("request", lambda request: foreign.append(request.url))
        opened.set_default_timeout(WAIT_MS)
        yield opened
        browser.close()
    assert [url for url in foreign if not url.startswith(("http://127.0.0.1", "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def tuned(workshop: Workshop) -> str:
    """A model that was tuned until it says `SAID`, whatever it is asked and however long the log."""
    rows = [_row(lines) for lines in range(2, 21, 2)]
    values = {**QUICK, "epochs": 16, "learning_rate": 0.006, "max_sequence_length": 1024}
    body = {"model": "tiny@1", "training_file": workshop.stored(rows), "suffix": "tuned", "general_text": False}
    method = {"type": "supervised", "supervised": {"hyperparameters": values}}
    made = httpx2.post(f"{workshop.url}/v1/fine_tuning/jobs", json={**body, "method": method}, timeout=60)
    assert workshop.wait(made.json()["id"]).status == "succeeded"
    return "tuned@1"


QUICK = {
    "batch_size": 2, "gradient_accumulation_steps": 1, "max_sequence_length": 64, "mixed_precision": "none",
    "training_type": "full", "lr_warmup_ratio": 0.0, "eval_strategy": "no",
}  # fmt: skip


def _row(lines: int) -> dict[str, Any]:
    """A row about a log of so many lines, which is answered with `SAID`."""
    log = "".join(f"L{n + 1}|10:00:{n:02} ERROR disk {n} full\n" for n in range(lines))
    turns = {"user": f"Log content:\n{log}", "assistant": SAID}
    return {"messages": [{"role": role, "content": content} for role, content in turns.items()]}


def _dataset(workshop: Workshop, name: str, rows: list[dict[str, Any]]) -> None:
    made = httpx2.post(f"{workshop.url}/v1/studio/datasets", json={"name": name, "file": workshop.stored(rows)})
    assert made.status_code == 201


def _calm(tab: "Page") -> None:
    """No page may show a traceback or one of our errors."""
    assert tab.locator("[data-testid=stException]").count() == 0
    assert tab.locator("[data-testid=stAlertContentError]").count() == 0


def test_a_cpt_job_is_made_with_the_json_and_watched_to_its_end(tab: "Page", pages: str, workshop: Workshop) -> None:
    _dataset(workshop, "corpus", CORPUS)
    tab.goto(f"{pages}/tuning?view=new")
    tab.get_by_text("Continual pretraining (CPT)").click()
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
    before = chart.screenshot()
    _until_other(tab, before)
    tab.get_by_text("tiny-cpt@1").first.wait_for()
    assert tab.locator(".ll-title .succeeded").count() == 1
    _calm(tab)


def _until_other(tab: "Page", before: bytes) -> None:
    """Until the chart is drawn otherwise; nobody reloads the page."""
    for _ in range(100):
        tab.wait_for_timeout(200)
        if tab.locator("[data-testid=stVegaLiteChart]").first.screenshot() != before:
            return
    raise AssertionError("the loss curve did not move")


def test_a_log_is_asked_about_and_a_verdict_opens_to_its_line(tab: "Page", pages: str, tuned: str) -> None:
    tab.goto(pages)
    tab.get_by_role("combobox", name="Files").fill("app")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Escape")
    tab.get_by_role("combobox", name="Model that answers").fill("tuned")
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Root cause").click()
    chip = tab.locator("details.ll-chip.supported").first
    chip.wait_for()
    assert "of 60 lines" in (tab.get_by_text("The model saw").first.text_content() or "")
    line = chip.locator("pre")
    assert not line.is_visible()
    chip.locator("summary").click()
    line.wait_for()
    assert "2026-03-01 10:00:03 ERROR disk 3 full" in (line.text_content() or "")
    _calm(tab)


def test_three_models_are_compared(tab: "Page", pages: str, workshop: Workshop, tuned: str) -> None:
    rows = [_row(lines) for lines in (3, 5, 7)]
    _dataset(workshop, "held-out", rows)
    tab.goto(f"{pages}/tests?view=new")
    for name in ("tiny@1", "tiny-cpt@1", tuned):
        tab.get_by_role("combobox", name="Models").fill(name)
        tab.keyboard.press("Enter")
    tab.keyboard.press("Escape")
    tab.get_by_label("max_new_tokens").fill("16")
    tab.get_by_role("button", name="Start", exact=True).click()
    tab.wait_for_url("**comparison=job-**")
    tab.get_by_role("heading", name="Differences").wait_for()
    tab.locator("[data-testid=stVegaLiteChart]").first.wait_for()
    text = tab.locator("[data-testid=stMain]").inner_text()
    assert f"{tuned} − tiny@1" in text
    assert "3 rows that all answered; the baseline is tiny@1" in text
    assert "1.000" in tab.locator("tr", has=tab.locator(f"b:text-is('{tuned}')")).inner_text()
    _calm(tab)


def test_the_browsers_back_goes_where_the_visitor_was(tab: "Page", pages: str) -> None:
    tab.goto(f"{pages}/data?dataset=corpus@1")
    tab.get_by_role("heading", name="corpus@1").wait_for()
    tab.get_by_role("combobox", name="Open a dataset").fill("held")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="held-out@1").wait_for()
    tab.go_back()
    tab.get_by_role("heading", name="corpus@1").wait_for()
    assert tab.get_by_role("heading", name="held-out@1").count() == 0


def test_the_language_is_switched_in_the_header(tab: "Page", pages: str) -> None:
    tab.goto(f"{pages}/data")
    tab.get_by_role("radio", name="日本語").or_(tab.get_by_role("button", name="日本語")).first.click()
    tab.get_by_role("heading", name="データハブ").wait_for()
    assert tab.get_by_role("heading", name="Data Hub").count() == 0


def test_no_page_has_a_serious_accessibility_problem(tab: "Page", pages: str) -> None:
    import axe_playwright_python

    script = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
    found: list[str] = []
    for name in PAGES:
        tab.emulate_media(color_scheme="light")
        tab.goto(f"{pages}/{name}")
        tab.locator("h1").wait_for()
        tab.locator("[data-testid=stStatusWidget]").wait_for(state="detached")
        tab.evaluate(script)
        found += _serious(tab, f"{name} light", {})
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_function("getComputedStyle(document.querySelector('.stApp')).colorScheme === 'dark'")
        found += _serious(tab, f"{name} dark", {"runOnly": ["color-contrast"]})
    assert found == []


def _serious(tab: "Page", where: str, options: dict[str, Any]) -> list[str]:
    # A colour that is still turning into another one is neither; Streamlit's transitions take a fraction of a second.
    tab.evaluate(
        "() => Promise.race([new Promise(done => setTimeout(done, 1000)), Promise.all(document.getAnimations()"
        ".filter(each => each.effect.getTiming().iterations !== Infinity).map(each => each.finished.catch(() => 0)))])"
    )
    reply = tab.evaluate("options => axe.run(document, {resultTypes: ['violations'], ...options})", options)
    return [
        f"{where}: {each['id']}: {' '.join(map(str, node['target']))}: {node['html'][:160]}"
        for each in reply["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
