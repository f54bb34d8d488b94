"""The words of the fan-out: what is asked, what a judge says about an answer, and what a run adds up to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loglore.endpoint.target import Answer, Request

ACCEPTED, REJECTED, FAILED = "accepted", "rejected", "failed"


@dataclass(frozen=True)
class Item:
    """One thing to be answered.

    Attributes:
        id: its name among the items of a run.
        request: what is asked.
        payload: for the judge.
        round: how often an answer to it was cut off before; asked again with another seed.
        passed_on: how many endpoints have failed it in this run.
    """

    id: str
    request: Request
    payload: Any = None
    round: int = 0
    passed_on: int = 0


@dataclass(frozen=True)
class Accept:
    """The answer is good; `value` (JSON) is kept."""

    value: Any


@dataclass(frozen=True)
class Again:
    """Ask once more in the same conversation, with this message of the user."""

    message: str


@dataclass(frozen=True)
class Reject:
    """The answer is no good and asking further does not help; `reason` in one line, `detail` is JSON."""

    reason: str
    detail: Any = None


# Called with the item, the answer and how many turns were before it (0 for the first answer).
Judge = Callable[[Item, Answer, int], Accept | Again | Reject]


@dataclass
class Tally:
    """What a run did. Costs in dollars; `paid` is the part of `cost` that this run asked for itself."""

    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    repaired: int = 0
    unasked: int = 0
    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    paid: float = 0.0
    stopped: str = ""

    @property
    def unfinished(self) -> bool:
        """Whether the same command would do more."""
        return bool(self.failed or self.unasked)

    def count(self, outcome: dict[str, Any]) -> None:
        """Add an item's outcome."""
        setattr(self, outcome["status"], getattr(self, outcome["status"]) + 1)
        self.repaired += outcome["status"] == ACCEPTED and outcome["turns"] > 1
        self.prompt_tokens += outcome["prompt_tokens"]
        self.completion_tokens += outcome["completion_tokens"]
        self.cost += outcome["cost"]

    @property
    def note(self) -> str:
        """What the progress shows beside the rate."""
        bad = self.rejected + self.failed
        spent = f"${self.cost:.2f}" if self.cost else f"{self.completion_tokens:,} tokens"
        return f"{spent}, {bad} without a good answer" if bad else spent


@dataclass
class Use:
    """What the answers to one item took."""

    model: str = ""
    turns: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.model = answer.model
        self.turns += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self.cost += answer.cost
