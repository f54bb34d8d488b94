"""The built-in teacher: rules that read a chunk and write about it, stating nothing that they did not compute.

    chunk ── facts ── problems, groups, times ─┬─ root_cause ─┐
                        (knowledge, entities)  ├─ summary     │
                        (repetition)           ├─ patterns    ├─ answer
                                               ├─ comparison  │
              wording: hash of the chunk ──────┴─ conversation┘

It costs nothing, repeats to the byte and cannot invent a line, but it knows only the failures in `problems.toml` and
sees a cause only where the log states it.
"""

from loglore.errors import InputError
from loglore.synth.analyst import comparison, conversation, patterns, questions, root_cause, summary
from loglore.synth.analyst.facts import Facts
from loglore.synth.analyst.wording import Wording

TASKS = ("root_cause", "summary", "patterns", "comparison", "conversation")
VERSION = "v1"
_WRITERS = {
    "root_cause": root_cause.write,
    "summary": summary.write,
    "patterns": patterns.write,
    "comparison": comparison.write,
}


def converse(task: str, facts: Facts, turns: int) -> list[tuple[str, str]]:
    """Question and answer pairs of a task about a chunk: one pair, or up to `turns` in a conversation.

    Args:
        task: one of `TASKS`.
        facts: of the chunk; a chunk of blank lines alone cannot be written about.
        turns: most pairs of a conversation, at least 2.

    Returns:
        (question, answer) pairs without the log, which belongs into the first question's frame.

    Raises:
        InputError: a task that does not exist, or a chunk without text.
    """
    if task not in TASKS:
        raise InputError(f"task {task!r}: expected one of {', '.join(TASKS)}")
    if not facts.spoken:
        raise InputError("a chunk of blank lines cannot be written about")
    words = Wording(task + "\n" + "\n".join(line.text for line in facts.lines))
    if task == "conversation":
        return conversation.write(facts, words, turns)
    question = words.say("question", questions.QUESTIONS[task], {})
    return [(question, _WRITERS[task](facts, words))]
