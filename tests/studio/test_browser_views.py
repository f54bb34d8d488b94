"""Every view of the studio in Debian's Chromium: axe-core finds nothing serious; Back and the language work."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from support_browser import WANTED, calm, choose, chromium, pages_of, serious_in_both, tab
from support_pages import Hub
from support_workshop import CHATS, CORPUS

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["chromium", "tab"]
pytestmark = WANTED
VIEWS = (
    "chat", "chat?log=app.log", "data", "data?dataset=corpus@1", "data?view=add", "data?view=generate",
    "data?view=generate&job={synth}", "data?view=connections", "models", "models?model=tiny@1", "models?view=catalog",
    "tuning", "tuning?job={train}", "tuning?job={running}", "tuning?view=new", "tests", "tests?job={test}",
    "tests?view=new", "tests?view=compare&comparison={compare}", "sessions", "runs", "keys", "costs", "audit",
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a page server over jobs of every kind that ended, and two datasets."""
    listed = {each["id"] for each in hub.get("/studio/datasets")["data"]}
    for name, rows in (("corpus", CORPUS), ("held-out", CHATS)):
        if f"{name}@1" not in listed:
            hub.dataset(name, rows)
    with pages_of(hub.url, tmp_path_factory.mktemp("views")) as url:
        yield url


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_no_serious_accessibility_problem(tab: "Page", pages: str, hub: Hub, view: str) -> None:
    tab.goto(f"{pages}/{view.format(**hub.jobs)}")
    assert serious_in_both(tab, view) == []
    calm(tab)


def test_the_browsers_back_goes_where_the_visitor_was(tab: "Page", pages: str) -> None:
    tab.goto(f"{pages}/data?dataset=corpus@1")
    tab.get_by_role("heading", name="corpus@1").wait_for()
    choose(tab, "Open a dataset", "held")
    tab.get_by_role("heading", name="held-out@1").wait_for()
    tab.go_back()
    tab.get_by_role("heading", name="corpus@1").wait_for()
    assert tab.get_by_role("heading", name="held-out@1").count() == 0


def test_the_language_is_switched_in_the_header(tab: "Page", pages: str) -> None:
    tab.goto(f"{pages}/data")
    tab.get_by_role("radio", name="日本語").or_(tab.get_by_role("button", name="日本語")).first.click()
    tab.get_by_role("heading", name="データハブ").wait_for()
    assert tab.get_by_role("heading", name="Data Hub").count() == 0
