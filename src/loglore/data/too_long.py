"""Lengths of rows as training will render them, and what the sequence limit will do to the long ones.

Pretraining texts are cut into pieces and lose nothing. A conversation is brought within the limit by the policy that
training will use (`long_rows`), so that what is told here is what will happen there: log lines or turns left out, or a
row that the policy cannot bring within the limit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from loglore.data import long_rows
from loglore.data.damage import said
from loglore.data.files import Place
from loglore.data.formats import Format
from loglore.data.render import Conversation, Marked, Renderer
from loglore.data.samples import BATCH_CHARACTERS
from loglore.errors import InputError

Tell = Callable[[Place, Format, str, str], None]  # place, format, kind (`too-long`, `unfit`), message


@dataclass(frozen=True)
class Limit:
    """renderer: of the model's tokenizer; capacity: tokens a row may have; policy: for longer conversations."""

    renderer: Renderer
    capacity: int
    policy: long_rows.Policy = "shorten_log"


@dataclass
class Lengths:
    """Counts the tokens of rows, many with one call of the tokenizer.

    limit: what to count with. tell: told of each row that is too long, some rows after it was added.
    tokens: of all rows that were counted; lost: those of them that the policy leaves out.
    """

    limit: Limit
    tell: Tell
    tokens: int = 0
    lost: int = 0
    _texts: list[tuple[Place, Format, str]] = field(default_factory=list)
    _chats: list[tuple[Place, Format, Conversation, Marked]] = field(default_factory=list)
    _waiting: int = 0

    def add_text(self, place: Place, kind: Format, text: str) -> None:
        """Take a pretraining text in."""
        self._texts.append((place, kind, text))
        self._count_when_many(len(text))

    def add_chat(self, place: Place, kind: Format, row: Conversation) -> None:
        """Take a conversation in.

        Raises:
            InputError: the chat template refuses it; the row is not counted then.
        """
        self._chats.append((place, kind, row, self.limit.renderer.mark(row.turns, row.tools)))
        self._count_when_many(len(said(row.turns)))

    def _count_when_many(self, characters: int) -> None:
        self._waiting += characters
        if self._waiting >= BATCH_CHARACTERS:
            self.finish()

    def finish(self) -> None:
        """Count what is waiting."""
        texts, self._texts = self._texts, []
        chats, self._chats = self._chats, []
        self._waiting = 0
        samples = self.limit.renderer.texts([text for _, _, text in texts])
        for (place, kind, _), sample in zip(texts, samples, strict=True):
            self._text(place, kind, len(sample.ids))
        counts = self.limit.renderer.token_counts([marked.text for *_, marked in chats])
        for chat, tokens in zip(chats, counts, strict=True):
            self.tokens += tokens
            if tokens > self.limit.capacity:
                self._long_chat(*chat, tokens)

    def _text(self, place: Place, kind: Format, tokens: int) -> None:
        self.tokens += tokens
        pieces = -(-tokens // self.limit.capacity)
        if pieces > 1:
            message = f"{tokens:,} tokens; cut into {pieces:,} pieces in pretraining, nothing lost"
            self.tell(place, kind, "too-long", message)

    def _long_chat(self, place: Place, kind: Format, row: Conversation, marked: Marked, tokens: int) -> None:
        limit = long_rows.Limit(self.limit.capacity, self.limit.policy)
        renderer = self.limit.renderer
        try:
            (fitted,) = long_rows.fit([(str(place), row)], renderer.encode([marked]), limit, renderer)
        except InputError as fault:
            self.tell(place, kind, "unfit", str(fault).removeprefix(f"{place}: "))
            return
        lost = tokens - len(fitted.ids)
        self.lost += lost
        what = ", ".join(f"{count:,} {name}" for name, count in limit.counts.items() if not name.startswith("rows"))
        beyond = f"{tokens:,} tokens, {tokens - limit.capacity:,} beyond {limit.capacity:,}"
        self.tell(place, kind, "too-long", f"{beyond}: {lost:,} lost ({what})")
