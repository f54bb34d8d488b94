"""The task *alert*: a risk score, whether to wake somebody, the numbers of critical and of warning lines, a summary.

The score is a rule, so that equal logs have equal scores: the worst severity sets it (see `problems.toml`), every
further event of trouble adds a little, up to 15 points.
"""

import json
from typing import Any

from loglore.synth.analyst import root_cause, summary
from loglore.synth.analyst.facts import Facts, Line, Problem
from loglore.synth.analyst.wording import Wording

SCORES = {0: 5, 1: 25, 2: 55, 3: 80}
STEP, MOST_STEPS = 3, 15
ALERT_FROM = 50
CRITICAL = 3
MOST_LINES = 40


def write(facts: Facts, words: Wording) -> str:
    """The answer: one JSON object. Line numbers are those of the log, so the reader's frame must show them."""
    points = [
        root_cause.main_issues(facts, words),
        *(root_cause.seen(facts, each, words) for each in facts.problems[:2]),
    ]
    if not facts.problems:
        points = [summary.overview(facts, words)]
    return json.dumps({**verdict(facts), "summary": [point for point in points if point]}, ensure_ascii=False)


def verdict(facts: Facts) -> dict[str, Any]:
    """The fields that are no prose: `risk_score`, `should_alert_user`, `messages`."""
    score = risk(facts)
    critical = [line for problem in facts.problems for line in problem.events if _critical(problem, line)]
    warning = [line for problem in facts.problems for line in problem.events if not _critical(problem, line)]
    return {
        "risk_score": score,
        "should_alert_user": score >= ALERT_FROM,
        "messages": {"critical": _numbers(critical), "warning": _numbers(warning)},
    }


def risk(facts: Facts) -> int:
    """0 to 100.

    No trouble is 5; one event of severity 1, 2 or 3 is 25, 55 or 80; each further one adds 3, at most 15 together.
    """
    worst = max((problem.kind.severity for problem in facts.problems), default=0)
    further = max(0, sum(len(problem.events) for problem in facts.problems) - 1)
    return SCORES[worst] + min(STEP * further, MOST_STEPS)


def _critical(problem: Problem, line: Line) -> bool:
    return problem.kind.severity >= CRITICAL or line.level == "fatal"


def _numbers(lines: list[Line]) -> list[int]:
    """Numbers of the lines that the reader sees, in order, at most `MOST_LINES`."""
    return sorted(line.number for line in lines if line.seen)[:MOST_LINES]
