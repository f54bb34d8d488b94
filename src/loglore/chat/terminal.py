"""`loglore chat LOG…`: questions about logs in the terminal, with streamed answers whose claims are checked.

No server is needed: without `--endpoint` it starts an engine of its own and stops it at the end. Questions come from
the keyboard, from `--ask`, or line by line from a pipe; output is plain text wherever it goes, so a transcript in a
file reads like the screen, but that a terminal shows verdicts in colour.
"""

import contextlib
import difflib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from loglore.chat import commands, show
from loglore.errors import InputError, JobError
from loglore.logs.table import LogTable
from loglore.runs.progress import Tick, indexing_bar, track

if TYPE_CHECKING:
    from loglore.ask.answer import Answer, Conversation, Windows
    from loglore.endpoint.client import Endpoint
    from loglore.logs.evidence import Evidence
    from loglore.logs.view import Log

# 4,096 tokens are read in about ten seconds on two CPU cores; more context is a flag away.
CONTEXT_TOKENS = 4096
ANSWER_TOKENS = 400
# Prompts shorter than this are read in a second or two, without a bar.
BAR_FROM_TOKENS = 600

# The words a training row opens with, so that a tuned model recognises the task.
ACTIONS = {
    "/summary": "Summarize this log.",
    "/root-cause": "Find the root cause of the problems in this log.",
    "/patterns": "Find patterns in this log.",
    "/compare": "Compare the first and the second half of this log.",
    "/risk": "Should I be alerted? Reply as JSON with risk_score, should_alert_user, messages and summary.",
}
OTHER_NAMES = {"/rootcause": "/root-cause"}
COMPARE_WINDOWS = "Compare the two windows of time: what changed?"
COMMANDS = (
    ("/summary", "what happened"),
    ("/root-cause", "what went wrong, and what to do"),
    ("/patterns", "what repeats"),
    ("/compare", "first half against second half; /compare 10:00..10:05 10:05..10:10 takes two spans of time"),
    ("/risk", "whether to be alerted, as JSON"),
    ("/begins", "what begins late or jumps; no model"),
    ("/templates", "the most frequent kinds of message; no model"),
    ("/template T12", "one of them with its lines; no model"),
    ("/lines 120-140", "lines as they are; no model"),
    ("/evidence", "what the model was shown of the log"),
    ("/save FILE", "the conversation so far as Markdown"),
    ("/new", "start over: the next question chooses its own evidence"),
    ("/help", "these commands"),
    ("/quit", "leave (also Ctrl-D)"),
)

# Commands that show something of the log: whether they take an argument, and what they show.
LOOKS: "dict[str, tuple[bool, Callable[[Log, str], Sequence[str]]]]" = {
    "/begins": (False, lambda log, _: commands.begins(log)),
    "/templates": (False, lambda log, _: commands.templates(log)),
    "/template": (True, commands.template),
    "/lines": (True, commands.lines),
}


def chat(
    logs: Sequence[Path],
    *,
    model: str | None = None,
    endpoint: str | None = None,
    endpoint_model: str | None = None,
    question: str | None = None,
    as_json: bool = False,
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
        as_json: print its answer as JSON (`ask.job.as_json`) and nothing else.
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
    if as_json and question is None:
        raise InputError("--json belongs to one question; give it with --ask")
    print("Reading the log…", file=sys.stderr, flush=True)
    with indexing_bar() as on_progress:
        log = read_log(logs, on_progress)
    for note in getattr(log, "notes", ()):
        print(note, file=sys.stderr, flush=True)
    with _connected(model, endpoint, endpoint_model, context) as connected:
        limit = context or (None if endpoint else min(CONTEXT_TOKENS, connected.served.context or CONTEXT_TOKENS))
        conversation = Conversation(connected, log, limit, max_tokens)
        if as_json and question is not None:
            from loglore.ask.job import as_json as whole

            print(json.dumps(whole(conversation.ask(question)), ensure_ascii=False, indent=2))
            return
        screen = Screen(conversation, sys.stdout)
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
        self._answers: list[Answer] = []

    def write(self, text: str, end: str = "\n") -> None:
        """Write text with what could drive the terminal taken out."""
        self._out.write(self._clean(text) + end)
        self._out.flush()

    def put(self, text: str) -> None:
        """Carry out a command or ask a question."""
        text = text.strip()
        command, _, rest = text.partition(" ")
        command = OTHER_NAMES.get(command, command)
        if command == "/compare" and rest:
            spans = commands.windows(self.conversation.log, rest)
            assert spans is not None
            self.write("\n".join(commands.compared(self.conversation.log, spans)) + "\n")
            self._ask(COMPARE_WINDOWS, spans)
        elif command in ACTIONS and not rest:
            self._ask(ACTIONS[command])
        elif command in LOOKS and bool(rest) == LOOKS[command][0]:
            self.write("\n".join(LOOKS[command][1](self.conversation.log, rest)))
        elif command == "/save" and rest:
            self._save(Path(rest.strip()))
        elif text == "/evidence":
            shown = self.conversation.evidence
            self.write(shown.text if shown else "Nothing yet: the first question chooses what the model is shown.")
        elif text == "/new":
            self.conversation.renew()
            self.write("Started over.")
        elif text == "/help":
            self.write(show.wrap_commands(COMMANDS))
        elif text.startswith("/") and (hint := _hint(command, alone=not rest)):
            self.write(f"No command {text}; {hint}")
        elif text:
            self._ask(text)

    def _save(self, path: Path) -> None:
        """Write the conversation as Markdown, beside and then in place."""
        from loglore.runs.files import write_text

        if not self._answers:
            self.write("Nothing to save yet.")
            return
        log = self.conversation.log
        table = log if isinstance(log, LogTable) else log.table
        parts = [f"# {', '.join(show.header(table))}\n"]
        for answer in self._answers:
            marked = show.verdicts(answer, table, show.MARKS)
            parts.append(show.markdown(answer.question, answer.text, [*marked, show.left_out(answer.evidence)]))
        try:
            write_text(path, self._clean("\n".join(parts)))
        except OSError as fault:
            raise InputError(f"{path}: {fault.strerror or fault}") from None
        self.write(f"Saved to {path}.")

    def _ask(self, question: str, windows: "Windows" = None) -> None:
        with _ReadingBar() as bar:

            def on_text(piece: str) -> None:
                bar.close()
                self.write(piece, end="")

            def on_evidence(chosen: "Evidence") -> None:
                self.write(show.left_out(chosen) + "\n")

            answer = self.conversation.ask(question, on_evidence, bar.update, on_text, windows)
        self._answers.append(answer)
        self.write("\n")
        self._report(answer)

    def _report(self, answer: "Answer") -> None:
        log = self.conversation.log
        table = log if isinstance(log, LogTable) else log.table
        for line in show.verdicts(answer, table, self._marks):
            self._out.write(show.painted(self._clean(line), self._marks, on_terminal=self._out.isatty()) + "\n")
        if not answer.renewed and answer.evidence.omitted["lines"]:
            self.write(show.left_out(answer.evidence) + " Chosen for an earlier question; /new chooses again.")
        self.write(show.speed(answer) + "\n")


def _hint(command: str, *, alone: bool) -> str:
    """What may have been meant; nothing where it is a question that begins with a path."""
    usages = {usage.split()[0]: usage for usage, _ in COMMANDS}
    if close := difflib.get_close_matches(command, usages, n=1):
        return f"did you mean {usages[close[0]]}?"
    return f"there are {', '.join(usages)}" if alone else ""


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
        raise InputError("the log comes from standard input and there is no terminal: ask with --ask") from None
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
