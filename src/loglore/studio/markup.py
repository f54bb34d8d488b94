r"""Foreign text as HTML: answers with their claims marked, chips with the lines they stand on, tables.

Log lines and answers are data. All of it is escaped, and Markdown is not interpreted (an image in it would call
another host), but for what models write all the time: bold, code and headings. Control and direction characters become
U+FFFD, one for one, so that the offsets of claims stay right.

>>> answer("**root** tried <b>", [{"start": 0, "end": 8, "verdict": "supported"}])
'<div class="ll-answer"><span class="strong supported">root</span> tried &lt;b&gt;</div>'
"""

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from loglore.studio.words import say

MARKS = {"contradicted": "✗", "supported": "✓", "unverifiable": "?"}
_NEXT_WORD = re.compile(r"(?:[ \t]+[^\s,.;:]+)?")
SUMMARY = ("supported", "contradicted", "unverifiable")
_DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_STYLES = (
    (re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*"), "strong"),
    (re.compile(r"`([^`\n]+)`"), "code"),
    (re.compile(r"^#{1,6} +(.+)$", re.MULTILINE), "strong"),
)
LONGEST_QUOTE = 60
LONGEST_STILL, MOST_STILL = 500, 9  # characters and line breaks of a text that does not scroll

Claim = Mapping[str, Any]
Span = tuple[int, int, str]


def clean(text: str) -> str:
    """Text without characters that drive or reorder what is shown; as long as before."""
    return "".join(each if _is_shown(each) else "\ufffd" for each in text)


def answer(text: str, claims: Sequence[Claim] = ()) -> str:
    """An answer as HTML: each stretch of text with the classes of what covers it."""
    spans, hidden = _styled(text)
    # The worst verdict of overlapping claims is the one to see, so it comes last and wins in the style sheet.
    for verdict in reversed(MARKS):
        spans += [(claim["start"], claim["end"], verdict) for claim in claims if claim["verdict"] == verdict]
    borders = sorted({0, len(text), *(place for span in spans for place in span[:2]), *(p for h in hidden for p in h)})
    pieces = []
    for start, end in itertools.pairwise(borders):
        if any(first <= start < last for first, last in hidden):
            continue
        names = dict.fromkeys(name for first, last, name in spans if first <= start < last)
        piece = escape(clean(text[start:end]))
        pieces.append(f'<span class="{" ".join(names)}">{piece}</span>' if names else piece)
    return f'<div class="ll-answer">{"".join(pieces)}</div>'


def verdicts(text: str, claims: Sequence[Claim]) -> str:
    """The claims of an answer as chips that open to the lines they stand on, the contradicted ones first."""
    if not claims:
        return f'<p class="ll-note">{escape(say("verdict.nothing"))}</p>'
    counts = {verdict: sum(claim["verdict"] == verdict for claim in claims) for verdict in MARKS}
    words = {name: say(f"verdict.{name}") for name in SUMMARY}
    summary = " · ".join(f"{MARKS[name]} {counts[name]} {words[name]}" for name in SUMMARY if counts[name])
    chips = dict.fromkeys(_chip(text, claim) for verdict in MARKS for claim in claims if claim["verdict"] == verdict)
    head = f"{escape(say('verdict.checked'))} {summary}"
    return f'<p class="ll-note">{head}</p><div class="ll-chips">{"".join(chips)}</div>'


def left_out(evidence: Mapping[str, Any]) -> str:
    """What of the log the model saw and what it did not, in one line."""
    omitted = evidence["omitted"]
    figures = {
        "seen": f"{evidence['lines']:,}",
        "total": f"{omitted['lines_total']:,}",
        "tokens": f"{evidence['tokens']:,}",
        "lines": f"{omitted['lines']:,}",
        "kinds": f"{omitted['templates']:,}",
        "all_kinds": f"{omitted['templates_total']:,}",
    }
    if not omitted["lines"] and not omitted["shortened"]:
        return say("verdict.saw_all", **figures)
    cut = say("verdict.cut", count=f"{omitted['shortened']:,}") if omitted["shortened"] else ""
    return say("verdict.saw", cut=cut, **figures)


def button(kind: str, value: str, text: str, title: str = "") -> str:
    """A button whose click the page hears of (`parts.clicks`); `text` is HTML, the others are escaped here."""
    told = f' title="{escape(title)}"' if title else ""
    data = f'data-ll="{escape(kind)}" data-value="{escape(value)}"'
    return f'<button type="button" class="ll-link" {data}{told}>{text}</button>'


def label(text: str, longest: int = 80) -> str:
    r"""One line for a place that reads Markdown (a button, a caption), in which nothing is Markdown.

    >>> print(label("![x](y) :red[z] $1"))
    \!\[x\]\(y\) \:red\[z\] \$1
    """
    flat = " ".join(clean(text).split())
    short = flat if len(flat) <= longest else flat[: longest - 1] + "…"
    return "".join(f"\\{each}" if each in "\\`*_{}[]()<>#!|~:$-+." else each for each in short)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of HTML cells (escape what is foreign); `numbers` are the columns to align right."""
    side = ['class="number"' if place in numbers else "" for place in range(len(columns))]
    head = "".join(f"<th {kind} scope='col'>{escape(name)}</th>" for name, kind in zip(columns, side, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {kind}>{cell}</td>" for cell, kind in zip(row, side, strict=True)) + "</tr>"
        for row in rows
    )
    content = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="ll-scroll"><table class="ll-table">{content}</table></div>'


_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)
_RULE = re.compile(r"[\s|:-]+")
_PICTURE = re.compile(r"\n*!\[[^\]\n]*\]\([^)\n]*\)")


def card(text: str) -> str:
    """A model's card as HTML: its tables as tables, the rest as `answer`; what is meant for machines is left out.

    A card comes from whoever made the model, so Markdown is not interpreted further, and pictures are left out.
    """
    pieces = []
    lines = _PICTURE.sub("", _FRONT_MATTER.sub("", text)).splitlines()
    for is_table, group in itertools.groupby(lines, lambda line: line.startswith("|")):
        if not is_table:
            pieces.append(answer("\n".join(group)))
            continue
        rows = [
            [answer(cell.strip()) for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
            for line in group
            if not _RULE.fullmatch(line)
        ]
        width = max(map(len, rows), default=0)
        body = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in [*row, *[""] * (width - len(row))]) + "</tr>"
            for row in rows
        )
        pieces.append(f'<div class="ll-scroll"><table class="ll-table"><tbody>{body}</tbody></table></div>')
    return f'<div class="ll-card">{"".join(pieces)}</div>'


def turns(parts: Sequence[tuple[str, str]]) -> str:
    """Texts with their names, such as the turns of a conversation, as HTML; long ones scroll."""
    cells = []
    for name, text in parts:
        scrolls = len(text) > LONGEST_STILL or text.count("\n") > MOST_STILL
        reached = ' tabindex="0"' if scrolls else ""  # by the keyboard
        cells.append(f"<dt>{escape(name)}</dt><dd{reached}>{escape(clean(text))}</dd>")
    return f'<dl class="ll-row">{"".join(cells)}</dl>'


NODE_WIDTH, NODE_HEIGHT, GAP_X, GAP_Y = 190, 40, 60, 16


def lineage(graph: Mapping[str, Any], alt: str) -> str:
    """A version's ancestors and descendants as an inline SVG, oldest at the left; `graph` is that of the API."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:  # the longest path has at most as many edges as there are nodes
        for one, two in graph["edges"]:
            depth[two] = max(depth[two], depth[one] + 1)
    columns: dict[int, list[str]] = {}
    for name in nodes:
        columns.setdefault(depth[name], []).append(name)
    places = {
        name: (1 + column * (NODE_WIDTH + GAP_X), 1 + row * (NODE_HEIGHT + GAP_Y))
        for column, names in columns.items()
        for row, name in enumerate(names)
    }
    drawn = [_edge(places[one], places[two]) for one, two in graph["edges"]]
    drawn += [_node(nodes[name], places[name], name == graph["of"]) for name in nodes]
    width = 2 + max(x for x, _ in places.values()) + NODE_WIDTH
    height = 2 + max(y for _, y in places.values()) + NODE_HEIGHT
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    picture = f'<svg class="ll-lineage" role="img" aria-label="{escape(alt)}" {size}>{"".join(drawn)}</svg>'
    return f'<div class="ll-scroll" tabindex="0">{picture}</div>'


def _edge(one: tuple[int, int], two: tuple[int, int]) -> str:
    x, y, to_x, to_y = one[0] + NODE_WIDTH, one[1] + NODE_HEIGHT // 2, two[0], two[1] + NODE_HEIGHT // 2
    middle = (x + to_x) // 2
    return f'<path d="M{x} {y} C{middle} {y} {middle} {to_y} {to_x} {to_y}"/>'


def _node(node: Mapping[str, Any], place: tuple[int, int], is_centre: bool) -> str:
    x, y = place
    kind = "model" if node["kind"] == "model" else "dataset"
    name = clean(str(node["name"]))
    short = name if len(name) <= 24 else name[:23] + "…"
    return (
        f'<g class="{kind}{" centre" if is_centre else ""}"><title>{escape(name)}</title>'
        f'<rect x="{x}" y="{y}" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="6"/>'
        f'<text x="{x + 12}" y="{y + 25}">{"◆" if kind == "model" else "▤"} {escape(short)}</text></g>'
    )


def _styled(text: str) -> tuple[list[Span], list[tuple[int, int]]]:
    spans: list[Span] = []
    hidden: list[tuple[int, int]] = []
    for pattern, name in _STYLES:
        for match in pattern.finditer(text):
            spans.append((*match.span(1), name))
            hidden += [(match.start(), match.start(1)), (match.end(1), match.end())]
    return spans, hidden


def _chip(text: str, claim: Claim) -> str:
    verdict = claim["verdict"]
    end = claim["end"]
    if claim["kind"] == "count":  # a bare number says nothing: what was counted comes next
        end = _NEXT_WORD.match(text, end).end()  # type: ignore[union-attr]
    quoted = " ".join(clean(text[claim["start"] : end]).split())
    short = quoted if len(quoted) <= LONGEST_QUOTE else quoted[: LONGEST_QUOTE - 1] + "…"
    lines = claim["lines"]
    # A claim that names its line needs no second name for it.
    where = f' <span class="where">{_places(lines)}</span>' if lines and claim["kind"] != "line" else ""
    head = f'<b role="img" aria-label="{escape(say("verdict." + verdict))}">{MARKS[verdict]}</b> {escape(short)}{where}'
    inside = _inside(claim)
    if not inside:
        return f'<span class="ll-chip {verdict}" title="{escape(claim["kind"])}, {verdict}">{head}</span>'
    return f'<details class="ll-chip {verdict}"><summary>{head}</summary>{inside}</details>'


def _inside(claim: Claim) -> str:
    said = claim["actual"] if claim["verdict"] == "contradicted" else ""
    actual = f'<p class="actual">{escape(say("verdict.log_says"))} {escape(clean(said))}</p>' if said else ""
    several = len({row["source"] for row in claim["cited"]}) > 1
    rows = [
        button("line", f"{row['line']} {row['source']}", _cited(row, several), say("verdict.context"))
        for row in claim["cited"]
    ]
    more = len(claim["lines"]) - len(rows)
    if rows and more > 0:
        rows.append(f'<span class="line">{escape(say("verdict.more_lines", count=f"{more:,}"))}</span>')
    return actual + (f'<div class="ll-cited">{"".join(rows)}</div>' if rows else "")


def _cited(row: Mapping[str, Any], several: bool) -> str:
    place = f"{row['source']}:L{row['line']}" if several else f"L{row['line']}"
    return f'<span class="line">{escape(clean(place))}</span> {escape(clean(row["text"]))}'


def _places(lines: Sequence[int]) -> str:
    shown = ", ".join(f"L{line}" for line in lines[:3])
    return shown if len(lines) <= 3 else f"{shown} +{len(lines) - 3}"


def _is_shown(character: str) -> bool:
    return character in "\n\t" or (unicodedata.category(character) not in ("Cc", "Cs") and character not in _DIRECTION)
