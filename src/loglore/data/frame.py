"""The student's frame: the one place that says how a log and a question are put before the model.

Training samples, test jobs and the chat all call it, so the model meets in use what it met in training.
"""

LOG_HEADING = "Log content:"


def student_prompt(question: str, log_text: str) -> str:
    r"""The first human turn: the question, then the log under its heading.

    >>> student_prompt("What failed?", "10:00 disk full")
    'What failed?\n\nLog content:\n10:00 disk full'
    """
    return f"{question.strip()}\n\n{LOG_HEADING}\n{log_text.rstrip()}"


def log_of(prompt: str) -> str:
    """The log text inside a prompt made by `student_prompt`; empty when there is none."""
    return prompt.partition(f"\n{LOG_HEADING}\n")[2]
