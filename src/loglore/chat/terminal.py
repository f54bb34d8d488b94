"""`loglore chat LOG…`: questions about logs in the terminal, with streamed answers whose claims are checked.

No server is needed: without `--endpoint` it starts an engine of its own and stops it at the end. Questions come from
the keyboard, from `--question`, or line by line from a pipe; output is plain text wherever it goes, so a transcript in
a file reads like the screen.
"""

import contextlib
import difflib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from loglore.chat import show
from loglore.errors import InputError, JobError
from loglore.logs.table import LogTable
from loglore.runs.progress import Tick, indexing_bar, track

if TYPE_CHECKING:
    from loglore.ask.answer import Answer, Conversation
    from loglore.endpoint.client import Endpoint
    from loglore.logs.evidence import Evidence

# 4,096 tokens are read in about ten seconds on two CPU cores; more context is a flag away.
CONTEXT_TOKENS = 4096
ANSWER_TOKENS = 400
# Prompts shorter than this are read in a second or two, without a bar.
BAR_FROM_TOKENS = 600

# The words a training row opens with, so that a tuned model recognises the task.
ACTIONS = {
    "/summary": "Summarize this log.",
    "/rootcause": "Find the root cause of the problems in this log.",
    "/patterns": "Find patterns in this log.",
    "/compare": "Compare the first and the second half of this log.",
}
COMMANDS = (
    ("/summary", "what happened"),
    ("/rootcause", "what went wrong, and what to do"),
    ("/patterns", "what repeats"),
    ("/compare", "first half against second half"),
    ("/evidence", "what the model was shown of the log"),
    ("/new", "start over: the next question chooses its own evidence"),
    ("/help", "these commands"),
    ("/quit", "leave (also Ctrl-D)"),
)


def chat(
    logs: Sequence[Path],
    *,
    model: str | None = None,
    endpoint: str | None = None,
    endpoint_model: str | None = None,
    question: str | None = None,
    context: int | None = None,
    max_tokens: int = ANSWER_TOKENS,
) -> None:
    """Answer questions about logs until there are no more.

    Args:
        logs: files, folders, compressed files; `-` is standard input.
        model: hub name, `name@version`, GGUF file or folder to serve; the newest of the hub, or the embedded one.
        endpoint: base URL of a running endpoint to use instead.
        endpoint_model: its model; needed where it offers several.
        question: ask only this one.
        context: tokens of prompt and answer together; 4,096, or what a given endpoint says.
        max_tokens: longest answer.

    Raises:
        InputError: no such log or model, or bad settings.
        JobError: the engine or endpoint failed while a question that came from `question` or a pipe was asked.
    """
    from loglore.ask.answer import Conversation, read_log

    if model is not None and endpoint is not None:
        raise InputError("give either a model to start or an endpoint to use, not both")
    if not logs:
        raise InputError("name at least one log, or - for standard input")
    print("Reading the log…", file=sys.stderr, flush=True)
    with indexing_bar() as on_progress:
        log = read_log(logs, on_progress)
    for note in getattr(log, "notes", ()):
        print(note, file=sys.stderr, flush=True)
    with _connected(model, endpoint, endpoint_model, context) as connected:
        limit = context or (None if endpoint else min(CONTEXT_TOKENS, connected.served.context or CONTEXT_TOKENS))
        screen = Screen(Conversation(connected, log, limit, max_tokens), sys.stdout)
        screen.write("\n".join(show.header(log if isinstance(log, LogTable) else log.table)))
        screen.write(f"Model: {connected.served.model_id} at {connected.url}")
        if not connected.on_loopback:
            screen.write("Lines of this log are sent to that host.")
        if question is not None:
            screen.put(question)
            return
        with _questions(Path("-") in logs) as source:
            _converse(screen, source)


class Screen:
    """Where a conversation is written: answers as they stream, then their claims and what was left out."""

    def __init__(self, conversation: "Conversation", out: TextIO) -> None:
        self.conversation = conversation
        self._out = out
        self._clean = show.cleaner(out.encoding)
        self._marks = show.marks(out.encoding)

    def write(self, text: str, end: str = "\n") -> None:
        """Write text with what could drive the terminal taken out."""
        self._out.write(self._clean(text) + end)
        self._out.flush()

    def put(self, text: str) -> None:
        """Carry out a command or ask a question."""
        text = text.strip()
        if text in ACTIONS:
            self._ask(ACTIONS[text])
        elif text == "/evidence":
            shown = self.conversation.evidence
            self.write(shown.text if shown else "Nothing yet: the first question chooses what the model is shown.")
        elif text == "/new":
            self.conversation.renew()
            self.write("Started over.")
        elif text == "/help":
            self.write(show.wrap_commands(COMMANDS))
        elif text.startswith("/") and " " not in text:
            names = [name for name, _ in COMMANDS]
            close = difflib.get_close_matches(text, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
            self.write(f"No command {text}; {hint}")
        elif text:
            self._ask(text)

    def _ask(self, question: str) -> None:
        with _ReadingBar() as bar:

            def on_text(piece: str) -> None:
                bar.close()
                self.write(piece, end="")

            def on_evidence(chosen: "Evidence") -> None:
                self.write(show.left_out(chosen) + "\n")

            answer = self.conversation.ask(question, on_evidence, bar.update, on_text)
        self.write("\n")
        self._report(answer)

    def _report(self, answer: "Answer") -> None:
        log = self.conversation.log
        table = log if isinstance(log, LogTable) else log.table
        self.write("\n".join(show.verdicts(answer, table, self._marks)))
        if not answer.renewed and answer.evidence.omitted["lines"]:
            self.write(show.left_out(answer.evidence) + " Chosen for an earlier question; /new chooses again.")
        self.write(show.speed(answer) + "\n")


class _ReadingBar:
    """A bar while the server reads a long prompt; it opens when there is much to read and closes at the first word."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._tick: Tick | None = None
        self._done = 0

    def __enter__(self) -> "_ReadingBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, done: int, total: int) -> None:
        if self._tick is None and total - done >= BAR_FROM_TOKENS:
            self._tick = self._stack.enter_context(track("The model reads", total, "tokens", done))
        elif self._tick is not None:
            self._tick(done - self._done)
        self._done = done

    def close(self) -> None:
        self._stack.close()


def _converse(screen: Screen, source: TextIO) -> None:
    interactive = source.isatty()
    if interactive:
        screen.write("Ask, or give a command:\n" + show.wrap_commands(COMMANDS))
    while (line := _next_line(screen, source, interactive)) is not None:
        if line.strip() == "/quit":
            return
        try:
            screen.put(line)
        except KeyboardInterrupt:
            if not interactive:
                raise
            screen.write("\n(stopped)")
        except (InputError, JobError) as fault:
            if not interactive:
                raise
            screen.write(f"error: {fault}")


def _next_line(screen: Screen, source: TextIO, interactive: bool) -> str | None:
    """The next question, None at the end. A question from a pipe is echoed, so that the transcript is whole."""
    if interactive and source is sys.stdin:
        try:
            return input("> ")
        except (EOFError, KeyboardInterrupt):
            screen.write("")
            return None
    if interactive:
        screen.write("> ", end="")
    line = source.readline()
    if not line:
        return None
    if not interactive and line.strip():
        screen.write(f"> {line.strip()}")
    return line


@contextlib.contextmanager
def _questions(stdin_is_log: bool) -> Iterator[TextIO]:
    """Where questions come from: standard input, or the terminal itself when standard input brings the log."""
    if not stdin_is_log:
        if sys.stdin.isatty():
            # Arrow keys and history for `input`.
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401
        yield sys.stdin
        return
    try:
        terminal = Path("/dev/tty").open(encoding="utf-8")  # noqa: SIM115
    except OSError:
        raise InputError("the log comes from standard input and there is no terminal: ask with --question") from None
    with terminal:
        yield terminal


@contextlib.contextmanager
def _connected(
    model: str | None, endpoint: str | None, endpoint_model: str | None, context: int | None
) -> "Iterator[Endpoint]":
    from loglore.endpoint.client import Endpoint

    if endpoint is not None:
        yield Endpoint(endpoint, endpoint_model)
        return
    from loglore.hub import models
    from loglore.serve.sessions import session

    with session(model or models.newest(), context=context) as started:
        yield Endpoint(started.url, started.model_id)
