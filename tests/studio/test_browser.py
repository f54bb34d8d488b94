"""The main path in Debian's Chromium: create a job with the JSON, watch its loss, see it finish; ask about a log.

Slow (a browser, a model that trains), so it runs only when asked for: `LOGLORE_BROWSER=1 pytest tests/studio`.
"""

import json
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2
import pytest
from support_workshop import CHATS, QUICK, Workshop

from loglore.studio import start as starter

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or ""
pytestmark = pytest.mark.skipif(
    os.environ.get("LOGLORE_BROWSER") != "1", reason="a browser takes a minute: LOGLORE_BROWSER=1"
)
WAIT_MS = 90_000


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
        yield opened
        browser.close()
    assert [url for url in foreign if not url.startswith(("http://127.0.0.1", "data:", "blob:"))] == []


def test_a_job_is_made_with_json_and_watched_to_its_end(tab: "Page", pages: str, workshop: Workshop) -> None:
    rows = workshop.stored(CHATS)
    made = httpx2.post(f"{workshop.url}/v1/studio/datasets", json={"name": "chats", "file": rows})
    assert made.status_code == 201
    tab.goto(f"{pages}/tuning?view=new")
    field = tab.get_by_role("textbox", name="As JSON")
    field.wait_for(timeout=WAIT_MS)
    field.fill(json.dumps({**QUICK, "epochs": 2}))
    field.press("Control+Enter")
    tab.get_by_role("spinbutton", name="epochs").or_(tab.get_by_label("epochs")).first.wait_for(timeout=WAIT_MS)
    tab.get_by_role("button", name="Start", exact=True).click()
    tab.wait_for_url("**job=ftjob-**", timeout=WAIT_MS)
    tab.locator("[data-testid=stVegaLiteChart]").first.wait_for(timeout=WAIT_MS)
    tab.get_by_text("tiny-supervised@1").first.wait_for(timeout=WAIT_MS)
    assert tab.locator(".ll-title .succeeded").count() == 1


def test_a_log_is_asked_about_and_the_page_says_what_the_model_saw(tab: "Page", pages: str) -> None:
    tab.goto(pages)
    tab.get_by_role("combobox", name="Files").fill("app")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Escape")
    tab.get_by_text("60").first.wait_for(timeout=WAIT_MS)
    tab.get_by_role("button", name="Root cause").click()
    told = tab.get_by_text("The model saw").first
    told.wait_for(timeout=WAIT_MS)
    assert "of 60 lines" in (told.text_content() or "")
    assert tab.locator("[data-testid=stException]").count() == 0


def test_every_page_opens_and_its_controls_have_names(tab: "Page", pages: str) -> None:
    for name in ("data", "models", "tuning", "tests", "sessions", "runs", "keys", "costs", "audit", ""):
        tab.goto(f"{pages}/{name}")
        tab.locator("h1").wait_for(timeout=WAIT_MS)
        assert tab.locator("[data-testid=stException]").count() == 0
        unnamed = tab.evaluate(
            "() => [...document.querySelectorAll('button, input, textarea, [role=combobox]')]"
            ".filter(e => e.offsetParent && !(e.getAttribute('aria-label') || e.innerText || e.title"
            " || e.getAttribute('aria-labelledby') || (e.labels && e.labels.length)))"
            ".map(e => e.outerHTML.slice(0, 200))"
        )
        assert unnamed == [], name


def test_the_language_is_switched_in_the_header(tab: "Page", pages: str) -> None:
    tab.goto(f"{pages}/data")
    tab.get_by_role("radio", name="日本語").or_(tab.get_by_role("button", name="日本語")).first.click()
    tab.get_by_role("heading", name="データハブ").wait_for(timeout=WAIT_MS)
    assert tab.get_by_role("heading", name="Data Hub").count() == 0
