"""Debian's Chromium for tests of the pages: servers of pages, tabs that may call nobody else, and what a visitor does.

Such tests run only when asked for (`make test-browser`): a browser takes minutes.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from loglore.studio import start as starter

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or ""
WANTED = pytest.mark.skipif(
    os.environ.get("LOGLORE_BROWSER") != "1",
    reason="a browser takes minutes: make test-browser, with Debian's chromium",
)
WAIT_MS = 120_000
TRIES, TYPED_MS, AGAIN_MS = 10, 3000, 1500
WIDTH, HEIGHT = 1280, 900


@contextlib.contextmanager
def pages_of(api: str, folder: Path) -> Iterator[str]:
    """URL of a page server over an API; its output goes below `folder`."""
    port = starter._free_port("127.0.0.1", 0)
    log = folder / "pages.log"
    with starter._child("loglore.studio.process", ["127.0.0.1", str(port), api], log) as process:
        starter._wait_for_page(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tab(chromium: "Browser") -> "Iterator[Page]":
    """A tab of a visitor of its own; a request to anything but this machine fails the test, and so does a dialog."""
    with visitor(chromium) as opened:
        yield opened


@contextlib.contextmanager
def visitor(chromium: "Browser") -> "Iterator[Page]":
    """A tab as `tab`, without the fixture."""
    foreign: list[str] = []
    context = chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    context.set_default_timeout(WAIT_MS)
    context.on("request", lambda request: foreign.append(request.url))
    opened = context.new_page()
    opened.on("dialog", lambda dialog: foreign.append(f"dialog: {dialog.message}"))
    yield opened
    context.close()
    assert [url for url in foreign if not url.startswith(("http://127.0.0.1", "data:", "blob:"))] == []


def choose(tab: "Page", label: str, wanted: str) -> None:
    """Choose an option by typing a part of it, as the keyboard does; again when the page was drawn anew meanwhile."""
    from playwright.sync_api import TimeoutError as LateError

    for _ in range(TRIES):
        tab.get_by_role("combobox", name=label, exact=True).fill("")
        tab.get_by_role("combobox", name=label, exact=True).fill(wanted)
        with contextlib.suppress(LateError):
            tab.get_by_role("option", name=wanted).first.wait_for(timeout=TYPED_MS)
            tab.keyboard.press("Enter")
            return
    raise AssertionError(f"{label} offers no {wanted}")


def choose_all(tab: "Page", label: str, *wanted: str) -> None:
    """The same of a field that takes several; the list is closed again."""
    for text in wanted:
        choose(tab, label, text)
    tab.keyboard.press("Escape")


def calm(tab: "Page") -> None:
    """No page may show a traceback or one of our errors."""
    assert tab.locator("[data-testid=stException]").count() == 0
    assert tab.locator("[data-testid=stAlertContentError]").count() == 0


def still(tab: "Page") -> None:
    """Wait until the page is drawn, and nothing turns or fades any more."""
    tab.locator("h1").wait_for()
    tab.locator("[data-testid=stStatusWidget]").wait_for(state="detached")
    # A colour that is still turning into another one is neither; Streamlit's transitions take a fraction of a second.
    tab.evaluate(
        "() => Promise.race([new Promise(done => setTimeout(done, 1000)), Promise.all(document.getAnimations()"
        ".filter(each => each.effect.getTiming().iterations !== Infinity).map(each => each.finished.catch(() => 0)))])"
    )


def serious(tab: "Page", where: str, **options: Any) -> list[str]:
    """What axe-core finds on a page of impact serious or critical; `options` are those of `axe.run`.

    What is found is looked at again a moment later: a page that is being drawn has colours of its own.
    """
    import axe_playwright_python

    still(tab)
    if not tab.evaluate("() => 'axe' in window"):
        tab.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8"))
    found = _found(tab, where, options)
    if found:
        tab.wait_for_timeout(AGAIN_MS)
        still(tab)
        found = [each for each in _found(tab, where, options) if each in found]
    return found


def _found(tab: "Page", where: str, options: dict[str, Any]) -> list[str]:
    reply = tab.evaluate("options => axe.run(document, {resultTypes: ['violations'], ...options})", options)
    return [
        f"{where}: {each['id']}: {' '.join(map(str, node['target']))}: {node['html'][:160]}"
        for each in reply["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def serious_in_both(tab: "Page", where: str) -> list[str]:
    """The same in the light scheme in full, in the dark one of contrasts."""
    tab.emulate_media(color_scheme="light")
    found = serious(tab, f"{where} light")
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function("getComputedStyle(document.querySelector('.stApp')).colorScheme === 'dark'")
    return found + serious(tab, f"{where} dark", runOnly=["color-contrast"])
