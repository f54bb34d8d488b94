"""The log suites: parsing, anomaly detection, interpretation, root cause, solution, as in LogLM (Liu et al., 2024).

Rows are `{"instruction", "input", "output"}` without a task's name, so the instruction has to say it. In a task of
words the first of its verbs decides: "Interpret the log to find the root cause" is an interpretation.

    >>> task_of("Identify the root cause of the error described in the log.")
    'root_cause'
    >>> task_of("Convert the following logs into standardized templates.")
    'parsing'
"""

import random
import re
from collections.abc import Sequence
from typing import TypeVar

TASKS = ("parsing", "anomaly", "interpretation", "root_cause", "solution")
_FORMS = (
    ("parsing", re.compile(r"\b(?:into|log|event|standardi[sz]ed) templates?\b|^parse\b", re.IGNORECASE)),
    ("anomaly", re.compile(r"\babnormal\b|\banomal(?:y|ies|ous)\b", re.IGNORECASE)),
)
_VERBS = re.compile(
    r"(?P<solution>\bsolutions?\b|\bresolv(?:e|ing)\b|\bfix(?:es)?\b|\bsolve\b|\brecommend)"
    r"|(?P<root_cause>\broot causes?\b|\bcauses?\b|\breasons?\b|\bwhy\b)"
    r"|(?P<interpretation>\binterpret|\bexplain the meaning\b|\bsummar)",
    re.IGNORECASE,
)
_ANALYSE = re.compile(
    r"\banaly[sz]|\bexplain\b|\bdescribe\b|\bmeaning\b|\bindicate|\bdetermine\b|\bidentify\b", re.IGNORECASE
)

Item = TypeVar("Item")


def task_of(instruction: str) -> str:
    """The task that an instruction asks for, "" if it says none of the five."""
    for name, form in _FORMS:
        if form.search(instruction):
            return name
    verb = _VERBS.search(instruction)
    if verb:
        return str(verb.lastgroup)
    return "interpretation" if _ANALYSE.search(instruction) else ""


def sample(items: Sequence[Item], tasks: Sequence[str], per_task: int, seed: int) -> list[Item]:
    """At most `per_task` items of each task, drawn with `seed`, in their order."""
    kept: list[int] = []
    for task in dict.fromkeys(tasks):
        places = [place for place, name in enumerate(tasks) if name == task]
        draw = random.Random(f"{seed}:{task}")
        kept += places if len(places) <= per_task else draw.sample(places, per_task)
    return [items[place] for place in sorted(kept)]
