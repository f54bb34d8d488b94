import doctest
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loglore.studio import markup

HOSTILE = "<script>alert(1)</script> ![x](http://example.org/x.png) <img src=x onerror=alert(1)> \x1b[31m \u202e"


class Reader(HTMLParser):
    """What a browser would show: the text, and the tags around it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.classes = "", set[str](), set[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.classes |= set((dict(attrs).get("class") or "").split())

    def handle_data(self, data: str) -> None:
        self.text += data


def claim(start: int, end: int, verdict: str = "supported", **more: Any) -> dict[str, Any]:
    base = {"start": start, "end": end, "verdict": verdict, "kind": "quote", "lines": [], "actual": "", "cited": []}
    return {**base, **more}


def test_examples_in_the_docstring() -> None:
    assert doctest.testmod(markup).failed == 0


@given(st.text(st.sampled_from("ab<>&\"'*`# \n\x00\u202e_[!](é日") | st.characters(), max_size=60), st.data())
def test_text_comes_through_whole_and_inert(text: str, data: st.DataObject) -> None:
    places = st.integers(0, len(text))
    pairs = data.draw(st.lists(st.tuples(places, places, st.sampled_from(list(markup.MARKS))), max_size=4))
    claims = [claim(min(a, b), max(a, b), verdict) for a, b, verdict in pairs]
    shown = Reader(markup.answer(text, claims))
    assert shown.tags <= {"div", "span"}
    assert shown.classes <= {"ll-answer", "strong", "code", *markup.MARKS}
    # Only marks of bold, code and headings are taken away.
    lost = list(shown.text)
    for character in markup.clean(text).replace("\r", "\n"):
        if lost and lost[0] == character:
            lost.pop(0)
        else:
            assert character in "*`# "
    assert not lost


def test_hostile_text_stays_text_everywhere() -> None:
    row = {"source": HOSTILE, "line": 3, "text": HOSTILE}
    one = claim(0, len(HOSTILE), "contradicted", actual=HOSTILE, lines=[3], cited=[row])
    shown = Reader(markup.answer(HOSTILE, [one]) + markup.verdicts(HOSTILE, [one]))
    assert shown.tags <= {"div", "span", "p", "details", "summary", "b", "button"}
    assert "\x1b" not in shown.text
    assert "\u202e" not in shown.text
    assert "The log says" in shown.text


def test_chips_are_grouped_counted_and_not_repeated() -> None:
    text = "see line 3 and line 3, not line 9"
    claims = [claim(4, 10, lines=[3]), claim(15, 21, lines=[3]), claim(27, 33, "contradicted", lines=[9])]
    html = markup.verdicts(text, claims)
    assert "✓ 2 supported · ✗ 1 contradicted" in html
    assert html.count("ll-chip supported") == 1
    assert html.index("ll-chip contradicted") < html.index("ll-chip supported")
    assert "Nothing in this answer can be checked" in markup.verdicts("ok", [])


def test_what_was_left_out_is_said() -> None:
    omitted = {"lines": 90, "lines_total": 100, "templates": 3, "templates_total": 9, "shortened": 1}
    line = markup.left_out({"lines": 10, "tokens": 1234, "omitted": omitted})
    assert line == (
        "The model saw 10 of 100 lines (1,234 tokens); left out: 90 lines, 3 of 9 kinds of message; "
        "1 long lines were cut."
    )
    whole = {"lines": 0, "lines_total": 10, "templates": 0, "templates_total": 9, "shortened": 0}
    assert markup.left_out({"lines": 10, "tokens": 9, "omitted": whole}).endswith("all of the log.")


def test_a_card_shows_tables_and_leaves_out_what_is_meant_for_machines() -> None:
    text = (
        "---\nlicense: mit\n---\n# Title\n\n| | b |\n|---|---:|\n| <script> | **1** |\n\n![x](http://example.org/x.png)"
    )
    shown = markup.card(text)
    assert "license" not in shown
    assert '<span class="strong">Title</span>' in shown
    assert shown.count("<tr>") == 2
    assert shown.count("<td>") == 4
    # A column without a name is still a column.
    assert shown.index('<tr><td><div class="ll-answer"></div></td>') < shown.index("b</div>")
    assert "&lt;script&gt;" in shown and "<script>" not in shown
    assert "<img" not in shown and "![x]" not in shown
    assert (
        markup.card("--- no front matter")
        == '<div class="ll-card"><div class="ll-answer">--- no front matter</div></div>'
    )
