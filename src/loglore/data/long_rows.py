"""Chat rows longer than the sequence limit: what is left out of them, so that no answer is ever cut.

- `shorten_log` (default): lines are taken out of the middle of the log in the human turn; start and end stay, because
  outages show in both and a task compares the two halves. A line says how many are left out, so that a line's number
  can still be counted. Question and answers stay whole.
- `cut_after_turn`: the conversation ends after the last exchange that fits.
- `refuse`: an error that names the row.

Worked example, room for two lines and the note:

    Log content:            Log content:
    10:00 start             10:00 start
    10:01 retry             [2 log lines left out]
    10:02 retry       ->    10:03 failed
    10:03 failed
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from loglore.data.frame import log_of
from loglore.data.render import Conversation, Rendered, Renderer
from loglore.errors import InputError

Policy = Literal["shorten_log", "cut_after_turn", "refuse"]


@dataclass
class Limit:
    """capacity: tokens a row may have; policy: for longer ones; counts: what was done, by name."""

    capacity: int
    policy: Policy
    counts: Counter[str] = field(default_factory=Counter)


def note(lines: int) -> str:
    """The line that stands for `lines` left out."""
    return f"[{lines} log line{'s' if lines > 1 else ''} left out]"


def fit(
    rows: Sequence[tuple[str, Conversation]], rendered: Sequence[Rendered], limit: Limit, renderer: Renderer
) -> list[Rendered]:
    """Bring the rows that are too long within the limit; the others are returned as they are.

    Args:
        rows: place for error messages, and conversation.
        rendered: of each row.
        limit: its `counts` are added to.
        renderer: renders what was shortened again.

    Raises:
        InputError: a row that the policy refuses or cannot bring within the limit.
    """
    result = list(rendered)
    shorteners = {
        number: _shortener(*rows[number], sample, limit, renderer)
        for number, sample in enumerate(rendered)
        if len(sample.ids) > limit.capacity
    }
    waiting = shorteners
    while waiting:
        marked = [renderer.mark(one.shorter(len(result[number].ids)), one.tools) for number, one in waiting.items()]
        for number, sample in zip(waiting, renderer.encode(marked), strict=True):
            result[number] = sample
        waiting = {number: one for number, one in waiting.items() if len(result[number].ids) > limit.capacity}
    for one in shorteners.values():
        limit.counts.update(one.counts())
    return result


def _shortener(
    place: str, row: Conversation, sample: Rendered, limit: Limit, renderer: Renderer
) -> "_LogShortener | _TurnCutter":
    if limit.policy == "shorten_log":
        return _LogShortener(place, row, limit.capacity, len(sample.ids), renderer)
    if limit.policy == "cut_after_turn":
        return _TurnCutter(place, row, limit.capacity, sample)
    raise InputError(
        f"{place}: {len(sample.ids)} tokens, more than `max_sequence_length` {limit.capacity}; "
        "raise it, drop the row, or let long rows be shortened (shorten_log, cut_after_turn)"
    )


class _LogShortener:
    """Takes lines out of the middle of a row's longest log until the row fits."""

    def __init__(self, place: str, row: Conversation, capacity: int, length: int, renderer: Renderer) -> None:
        self.place, self.row, self.capacity, self.length, self.tools = place, row, capacity, length, row.tools
        logs = [log_of(str(turn.get("content") or "")) if turn["role"] == "user" else "" for turn in row.turns]
        self.turn = max(range(len(logs)), key=lambda number: len(logs[number]))
        self.log = logs[self.turn]
        if not self.log:
            raise InputError(
                f"{place}: {length} tokens, more than `max_sequence_length` {capacity}, and no log to shorten (no line "
                "`Log content:`); raise it, drop the row, or cut long rows after a turn (cut_after_turn)"
            )
        self.lines = self.log.split("\n")
        self.sizes = renderer.token_counts([f"{line}\n" for line in self.lines])
        (note_size,) = renderer.token_counts([note(len(self.lines)) + "\n"])
        self.budget = sum(self.sizes) - note_size
        self.left_out = 0

    def shorter(self, length: int) -> list[Mapping[str, Any]]:
        """The turns with less log, the row now having `length` tokens."""
        self.budget -= length - self.capacity
        head, tail = self._kept()
        self.left_out = len(self.lines) - head - tail
        if head + tail == 0:
            raise InputError(
                f"{self.place}: {self.length} tokens, more than `max_sequence_length` {self.capacity}, and no line of "
                "its log would fit beside question and answers; raise it or drop the row"
            )
        lines = [*self.lines[:head], note(self.left_out), *self.lines[len(self.lines) - tail :]]
        turns = list(self.row.turns)
        content = str(turns[self.turn]["content"]).removesuffix(self.log) + "\n".join(lines)
        turns[self.turn] = {**turns[self.turn], "content": content}
        return turns

    def _kept(self) -> tuple[int, int]:
        """Lines that stay at the start and at the end: half the budget each, at least one line less than before."""
        most = len(self.lines) - self.left_out - 1
        ends = np.cumsum(self.sizes)
        head = min(int(np.searchsorted(ends, self.budget / 2, side="right")), most)
        used = int(ends[head - 1]) if head else 0
        from_end = np.cumsum(self.sizes[::-1])
        tail = min(int(np.searchsorted(from_end, self.budget - used, side="right")), most - head)
        used += int(from_end[tail - 1]) if tail else 0
        while head + tail < most and used + self.sizes[head] <= self.budget:
            used += self.sizes[head]
            head += 1
        return head, tail

    def counts(self) -> dict[str, int]:
        return {"rows shortened": 1, "log lines left out": self.left_out}


class _TurnCutter:
    """Ends a conversation after the last exchange that fits."""

    def __init__(self, place: str, row: Conversation, capacity: int, sample: Rendered) -> None:
        self.place, self.row, self.capacity, self.length = place, row, capacity, len(sample.ids)
        self.tools = row.tools
        roles = [str(turn["role"]) for turn in row.turns]
        answers = [number for number, role in enumerate(roles) if role == "assistant"]
        ends = np.flatnonzero(np.diff(sample.mask.astype(np.int8), append=0) == -1) + 1
        # An answer that calls a tool is no end: what follows it is part of the same exchange.
        self.candidates = [
            turn + 1
            for turn, end in zip(answers, ends.tolist(), strict=True)
            if end <= capacity and (turn + 1 == len(roles) or roles[turn + 1] == "user")
        ]

    def shorter(self, length: int) -> list[Mapping[str, Any]]:
        """The turns up to the last exchange not tried yet."""
        if not self.candidates:
            raise InputError(
                f"{self.place}: {self.length} tokens, more than `max_sequence_length` {self.capacity}, and its first "
                "exchange is too long already; raise it, drop the row, or shorten logs (shorten_log)"
            )
        self.kept = self.candidates.pop()
        return list(self.row.turns[: self.kept])

    def counts(self) -> dict[str, int]:
        return {"rows cut": 1, "turns left out": len(self.row.turns) - self.kept}
