"""Ask a model about a log: evidence that fits its context, a streamed answer, and every claim in it checked.

A conversation shows the log once, in its first turn (as the training conversations do), so a follow-up question reads
only itself: the server finds the rest in its prompt cache. The price: evidence chosen for the first question also
serves the later ones. `Conversation.renew` starts over with evidence for the question asked next.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loglore.data.frame import student_prompt
from loglore.endpoint.client import Endpoint, Message, Reply
from loglore.errors import InputError
from loglore.logs import evidence, grounding, reader, stream, table, templates
from loglore.logs.findings import Window
from loglore.logs.indexing import OnProgress
from loglore.logs.table import LogTable

if TYPE_CHECKING:
    from loglore.logs.evidence import Evidence
    from loglore.logs.grounding import Claim
    from loglore.logs.templates import Mined

# Two spans of time to be compared, or none.
Windows = tuple[Window, Window] | None
# Logs of more bytes than this (ten times as much text is taken for granted in a compressed file) are indexed on disk
# instead of held in memory, which takes about ten times their size.
LARGE_BYTES = 48 << 20
UNPACKED = 10
# Tokens that chat templates put around messages, default system prompts included (SmolLM2's take 26).
FRAME_TOKENS = 64


@dataclass(frozen=True)
class Answer:
    """A checked answer.

    Attributes:
        question: as asked.
        text: what the model wrote.
        claims: what it claims about the log, with verdicts; offsets are into `text`.
        evidence: what of the log the model saw.
        renewed: whether the log was put before the model anew for this question.
        reply: counts and times of the endpoint.
    """

    question: str
    text: str
    claims: "list[Claim]"
    evidence: "Evidence"
    renewed: bool
    reply: Reply


class Conversation:
    """Questions and answers about one log with one model.

    Args:
        endpoint: where the model answers.
        log: the log, in memory or on disk.
        context_tokens: longest prompt and answer together; None takes what the server says.
        max_tokens: longest answer.

    Raises:
        InputError: the server does not say its context and none was given, or it leaves no room for a log.
    """

    def __init__(
        self, endpoint: Endpoint, log: "Mined | LogTable", context_tokens: int | None, max_tokens: int
    ) -> None:
        context = context_tokens or endpoint.served.context
        if context is None:
            raise InputError(f"{endpoint.url} does not say how long its context is; give it (context tokens)")
        if endpoint.served.context is not None and context > endpoint.served.context:
            raise InputError(f"context {context}: {endpoint.url} offers {endpoint.served.context} tokens")
        if context - max_tokens <= 2 * FRAME_TOKENS:
            raise InputError(f"a context of {context} tokens leaves no room for a log beside {max_tokens} of answer")
        self.log = log
        self._endpoint = endpoint
        self._context = context
        self._max_tokens = max_tokens
        self._messages: list[Message] = []
        self._used = 0
        self.evidence: Evidence | None = None

    def draft(self, question: str, windows: Windows = None) -> "tuple[Evidence, list[Message]]":
        """The evidence, and the messages that `ask` would send; nothing is sent.

        Raises:
            InputError: an empty question, or one too long for the context.
        """
        return self._draft(question, windows)[:2]

    def renew(self) -> None:
        """Forget the questions so far; the next one chooses evidence for itself."""
        self._messages, self._used, self.evidence = [], 0, None

    def ask(
        self,
        question: str,
        on_evidence: "Callable[[Evidence], None]" = lambda chosen: None,
        on_reading: Callable[[int, int], None] = lambda done, total: None,
        on_text: Callable[[str], None] = lambda text: None,
        windows: Windows = None,
    ) -> Answer:
        """Put a question; when the conversation no longer fits the context, it starts over with this question.

        Args:
            question: in any language that the model reads.
            on_evidence: called before the model is asked, when evidence was chosen anew.
            on_reading: called with prompt tokens read and in all.
            on_text: called with every piece of the answer.
            windows: two spans of time to set against each other; evidence is then always chosen anew.

        Raises:
            InputError: an empty question, or one too long for the context.
            JobError: the endpoint failed.
        """
        chosen, messages, renewed = self._draft(question, windows)
        if renewed:
            on_evidence(chosen)
        reply = self._endpoint.chat(
            messages, max_tokens=self._max_tokens, on_text=on_text, on_reading=on_reading, end_circles=True
        )
        # Only now, so that a question that failed or was interrupted can be put again.
        self.evidence = chosen
        self._messages = [*messages, {"role": "assistant", "content": reply.text}]
        self._used = reply.prompt_tokens + reply.completion_tokens
        claims = grounding.check(reply.text, self.log if isinstance(self.log, LogTable) else self.log.table)
        return Answer(question, reply.text, claims, chosen, renewed, reply)

    def _draft(self, question: str, windows: Windows) -> "tuple[Evidence, list[Message], bool]":
        """Evidence, messages, and whether the log is put before the model anew."""
        if not question.strip():
            raise InputError("the question is empty")
        cost = self._endpoint.count_tokens(question) + FRAME_TOKENS
        fits = self._used + cost + self._max_tokens <= self._context
        if self.evidence is not None and fits and windows is None:
            return self.evidence, [*self._messages, {"role": "user", "content": question.strip()}], False
        budget = self._context - self._max_tokens - cost
        if budget <= 0:
            raise InputError(f"the question takes {cost} of {self._context} tokens and leaves no room for the log")
        chosen = evidence.build(self.log, budget, self._endpoint.count_tokens, question, windows)
        return chosen, [{"role": "user", "content": student_prompt(question, chosen.text)}], True


def read_log(paths: Sequence[Path], on_progress: OnProgress = table.silent) -> "Mined | LogTable":
    """Read and mine logs (files, folders, compressed files, `-` for standard input).

    Small ones are held in memory; large ones become a table on disk, which the next call finds again, and so do those
    of which something has to be left out: a table has notes.

    Raises:
        InputError: a file is missing, or there is not one line.
    """
    files = reader.expand(paths)
    if reader.STDIN in files or sum(map(_text_bytes, files)) > LARGE_BYTES or any(map(stream.why_not_text, files)):
        indexed = table.index(paths, on_progress=on_progress)
        return indexed if indexed.bytes > LARGE_BYTES or indexed.notes else indexed.mined()
    read = reader.read_table(paths)
    if read.height == 0:
        raise InputError(f"{', '.join(map(str, paths))}: no lines to ask about")
    return templates.mine(read)


def _text_bytes(path: Path) -> int:
    size = path.stat().st_size if path.is_file() else LARGE_BYTES + 1
    return size * UNPACKED if path.suffix in reader.COMPRESSED else size
