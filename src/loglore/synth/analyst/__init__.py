"""The built-in teacher: rules that read a chunk and write about it, stating nothing that they did not compute.

    chunk ── facts ── problems, groups, times ─┬─ root_cause ─┐
                        (knowledge, entities)  ├─ summary     │
                        (repetition)           ├─ patterns    ├─ answer
                                               ├─ comparison  │
                                               ├─ alert       │
              wording: hash of the chunk ──────┴─ conversation┘

It costs nothing, repeats to the byte and cannot invent a line, but it knows only the failures in `problems.toml` and
sees a cause only where the log states it. It writes English and, from the same facts, Japanese (`japanese`).
"""

from collections.abc import Sequence

from loglore.errors import InputError
from loglore.synth import prompts
from loglore.synth.analyst import alert, comparison, conversation, japanese, patterns, root_cause, summary
from loglore.synth.analyst.facts import Facts
from loglore.synth.analyst.wording import Wording

# The tasks in prose; `alert` answers in JSON.
TASKS = ("root_cause", "summary", "patterns", "comparison", "conversation")
WRITES = (*TASKS, "alert")
VERSION = "v1"
_WRITERS = {
    "en": {
        "root_cause": root_cause.write,
        "summary": summary.write,
        "patterns": patterns.write,
        "comparison": comparison.write,
        "alert": alert.write,
    },
    "ja": japanese.WRITERS,
}
_CONVERSE = {"en": conversation.write, "ja": japanese.converse}
_OPENERS = {"en": conversation.OPENERS, "ja": japanese.OPENERS}


def question(task: str, texts: Sequence[str], questions: Sequence[str], language: str = "en") -> str:
    """What is asked first about a log with these lines: one of `questions`, in a conversation one of its own.

    The same as `converse` begins with, known before it is decided what of the log the reader sees.
    """
    words = _words(task, texts)
    if task == "conversation":
        return words.say("opener", _OPENERS[language], {})
    return words.say("question", questions, {})


def converse(
    task: str, facts: Facts, turns: int, questions: Sequence[str] = (), language: str = "en"
) -> list[tuple[str, str]]:
    """Question and answer pairs of a task about a chunk: one pair, or up to `turns` in a conversation.

    Args:
        task: one of `WRITES`.
        facts: of the chunk; a chunk of blank lines alone cannot be written about.
        turns: most pairs of a conversation, at least 2.
        questions: wordings to ask in, those of the task's file when empty; a conversation has its own.
        language: of questions and answers, `en` or `ja`.

    Returns:
        (question, answer) pairs without the log, which belongs into the first question's frame.

    Raises:
        InputError: a task that does not exist, or a chunk without text.
    """
    if task not in WRITES:
        raise InputError(f"task {task!r}: the analyst writes {', '.join(WRITES)}; a task of your own needs an endpoint")
    if not facts.spoken:
        raise InputError("a chunk of blank lines cannot be written about")
    words = _words(task, [line.text for line in facts.lines])
    if task == "conversation":
        return _CONVERSE[language](facts, words, turns)
    wordings = questions or prompts.tasks()[task].student[language]
    return [(words.say("question", wordings, {}), _WRITERS[language][task](facts, words))]


def can_tell(task: str, facts: Facts) -> bool:
    """Whether an answer can be written for a reader of the facts' view that nobody with the whole log would correct.

    A digest that hides a problem, or every message, would teach to overlook it; halves and the absence of repetition
    can only be seen where all lines are.
    """
    if facts.view is None:
        return True
    if not facts.groups or not facts.tells_all or task == "comparison":
        return False
    return task != "patterns" or any(group.count > 1 for group in facts.groups)


def _words(task: str, texts: Sequence[str]) -> Wording:
    return Wording(task + "\n" + "\n".join(texts))
