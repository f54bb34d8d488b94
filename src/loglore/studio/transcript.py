"""A chat as Markdown, to be kept or sent: foreign text in fences or quotes, so that it stays text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from loglore.studio import markup
from loglore.studio.words import say

Turn = Mapping[str, Any]


def markdown(turns: Sequence[Sequence[Turn]]) -> str:
    """All questions and answers with their verdicts and the lines they stand on."""
    parts = [f"# {say('chat.title')}\n"]
    for sides in turns:
        parts.append(f"## {_line(sides[0]['question'])}\n")
        for turn in sides:
            parts += [f"**{_line(turn['model'])}**\n", fenced(turn["text"] or "–")]
            parts += _verdicts(turn["answer"]) if turn["answer"] else _broken(turn)
    return "\n".join(parts)


def _broken(turn: Turn) -> list[str]:
    """Why there are no verdicts."""
    if turn.get("fault"):
        return [f"*{say('chat.broke_off')}*\n", fenced(turn["fault"])]
    return [f"*{say('chat.stopped')}*\n"]


def fenced(text: str) -> str:
    r"""A code block whose fence is longer than any run of backticks in it.

    >>> fenced("a ``` b")
    '````\\na ``` b\\n````\\n'
    """
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{markup.clean(text)}\n{fence}\n"


def _verdicts(answer: Mapping[str, Any]) -> list[str]:
    lines = [markup.left_out(answer["evidence"]) + "\n"]
    for claim in answer["claims"]:
        said = _line(answer["answer"][claim["start"] : claim["end"]])
        places = ", ".join(f"L{line}" for line in claim["lines"][:3])
        actual = f" — {say('verdict.log_says')} {_line(claim['actual'])}" if claim["verdict"] == "contradicted" else ""
        verdict = f"{markup.MARKS[claim['verdict']]} {say('verdict.' + claim['verdict'])}"
        lines.append(f"- {verdict}: {said} {places}{actual}")
        if claim["cited"]:
            cited = "\n".join(f"L{row['line']} {row['text']}" for row in claim["cited"])
            lines.append("\n" + fenced(cited))
    return [*lines, ""]


def _line(text: str) -> str:
    """One line in which nothing is Markdown or HTML."""
    flat = " ".join(markup.clean(text).split())
    return "".join(f"\\{each}" if each in "\\`*_{}[]()<>#!|~" else each for each in flat)
