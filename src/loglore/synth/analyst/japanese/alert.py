"""The task *alert* in Japanese: numbers by the rules of `analyst.alert`, the summary in Japanese."""

import json

from loglore.synth.analyst import alert
from loglore.synth.analyst.facts import Facts
from loglore.synth.analyst.japanese import root_cause, summary
from loglore.synth.analyst.wording import Wording


def write(facts: Facts, words: Wording) -> str:
    """The answer: one JSON object. Line numbers are those of the log, so the reader's frame must show them."""
    points = [summary.overview(facts, words)]
    if facts.problems:
        points = [root_cause.main_issues(facts, words)]
        points += [root_cause.seen(facts, each, words) for each in facts.problems[:2]]
    return json.dumps({**alert.verdict(facts), "summary": points}, ensure_ascii=False)
