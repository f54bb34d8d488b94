"""The student's frame: the one place that says how a log and a question are put before the model.

Training samples, test jobs and the chat all call it, so the model meets in use what it met in training. A log stands in
it as plain lines, as lines with their numbers, or as a digest (`loglore.logs.evidence`), which numbers lines the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

LOG_HEADING = "Log content:"


def student_prompt(question: str, log_text: str) -> str:
    r"""The first human turn: the question, then the log under its heading.

    >>> student_prompt("What failed?", "10:00 disk full")
    'What failed?\n\nLog content:\n10:00 disk full'
    """
    return f"{question.strip()}\n\n{LOG_HEADING}\n{log_text.rstrip()}"


def numbered_lines(lines: Sequence[str], first: int) -> str:
    r"""Lines with their numbers, as a digest shows them; `first` is the number of the first one.

    >>> numbered_lines(["start", "stop"], 41)
    'L41|start\nL42|stop'
    """
    return "\n".join(f"L{number}|{text}" for number, text in enumerate(lines, first))


def conversation(pairs: Sequence[tuple[str, str]], log_text: str) -> list[dict[str, str]]:
    """ShareGPT turns of question and answer pairs; the log stands in the first human turn alone."""
    turns = []
    for number, (question, answer) in enumerate(pairs):
        turns.append({"from": "human", "value": question if number else student_prompt(question, log_text)})
        turns.append({"from": "gpt", "value": answer})
    return turns


def log_of(prompt: str) -> str:
    """The log text inside a prompt made by `student_prompt`; empty when there is none."""
    return prompt.partition(f"\n{LOG_HEADING}\n")[2]


def log_asked(messages: Sequence[Mapping[str, Any]]) -> str:
    """The log in the first user message; empty when there is none."""
    return log_of(next((str(message["content"]) for message in messages if message["role"] == "user"), ""))
