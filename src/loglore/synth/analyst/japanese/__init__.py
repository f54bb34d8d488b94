"""The analyst in Japanese: the same facts and rules, other sentences.

Every number, quotation, time and name in an answer comes from `analyst.facts`, as in English; here are only phrases, in
fewer variants than the English ones have. What the log says stays in the log's own language between backticks.
"""

from loglore.synth.analyst.japanese import alert, comparison, conversation, patterns, root_cause, summary

WRITERS = {
    "root_cause": root_cause.write,
    "summary": summary.write,
    "patterns": patterns.write,
    "comparison": comparison.write,
    "alert": alert.write,
}
converse = conversation.write
OPENERS = conversation.OPENERS

__all__ = ["OPENERS", "WRITERS", "converse"]
