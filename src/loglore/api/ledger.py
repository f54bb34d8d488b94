"""What is known of requests: Prometheus metrics, the tokens that keys have used, the history that sessions keep.

History is written by a thread of its own in batches, so that no answer waits for a disk. When the disk cannot keep up,
entries are left out and counted (`loglore_history_dropped_total`).
"""

import contextlib
import queue
import sys
import threading
import time
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Histogram

from loglore.api.keyring import Keyring
from loglore.api.relay import Exchange
from loglore.errors import JobError
from loglore.store import completions, keys
from loglore.store.completions import Completion
from loglore.store.database import Database

WAITING_BYTES = 64 * 1024 * 1024
BATCH = 200
PRUNE_EVERY_S = 600.0
DAY_S = 86400.0
KEPT_CHARACTERS = 1_000_000
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
FIRST_TOKEN_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of requests; sessions add their own (`house`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter("loglore_requests", "Requests.", ["model", "endpoint", "status"], registry=registry)
        self.tokens = Counter("loglore_tokens", "Tokens by kind.", ["model", "kind"], registry=registry)
        self.seconds = Histogram(
            "loglore_request_seconds", "Whole requests.", ["model"], registry=registry, buckets=SECONDS
        )
        self.first = Histogram(
            "loglore_first_token_seconds",
            "To the first piece of streamed answers.",
            ["model"],
            registry=registry,
            buckets=FIRST_TOKEN_SECONDS,
        )
        self.dropped = Counter("loglore_history_dropped", "Completions not kept for want of time.", registry=registry)


class Ledger:
    """Told of every request by `completions`."""

    def __init__(self, registry: CollectorRegistry, keyring: Keyring, database: Database, days: float) -> None:
        self._metrics = Metrics(registry)
        self._keyring, self._database, self._days = keyring, database, days
        self._entries: queue.SimpleQueue[Exchange | None] = queue.SimpleQueue()
        # Written by the event loop and by the writer, each its own.
        self._bytes_in = self._bytes_out = 0
        self._used: dict[str, float] = {}
        self._pruned_at = -PRUNE_EVERY_S
        self._writer = threading.Thread(target=self._write, name="history", daemon=True)
        self._writer.start()

    def admit(self, exchange: Exchange) -> None:
        """Raises ApiError 429 while the caller's tokens of the minute are used up."""
        self._keyring.check_tokens(exchange.key_id)

    def finish(self, exchange: Exchange) -> None:
        """Count it, charge it, keep it."""
        prompt, cached, completion = counts(exchange)
        seconds = time.monotonic() - exchange.began
        self._keyring.spend_tokens(exchange.key_id, prompt + completion)
        # Names that nobody offers are not labels: a caller could make millions of them.
        model = exchange.model or "unknown"
        self._metrics.requests.labels(model, exchange.endpoint.removeprefix("/"), str(exchange.status)).inc()
        if exchange.model:
            for kind, count in (("prompt", prompt), ("cached", cached), ("completion", completion)):
                self._metrics.tokens.labels(model, kind).inc(count)
            self._metrics.seconds.labels(model).observe(seconds)
            if exchange.first_token_s is not None:
                self._metrics.first.labels(model).observe(exchange.first_token_s)
        if exchange.key_id is not None:
            self._used[exchange.key_id] = exchange.created
        if exchange.keep and exchange.session_id:
            exchange.seconds = seconds
            if self._bytes_in - self._bytes_out > WAITING_BYTES:
                self._metrics.dropped.inc()
                return
            self._bytes_in += _size(exchange)
            self._entries.put(exchange)

    def close(self) -> None:
        """Write what is left."""
        self._entries.put(None)
        self._writer.join()

    def _write(self) -> None:
        going = True
        while going:
            taken = self._batch()
            batch = [each for each in taken if each is not None]
            going = len(batch) == len(taken)
            try:
                completions.add(self._database, [entry(each) for each in batch])
                used, self._used = self._used, {}
                if used:
                    keys.used(self._database, used)
                if time.monotonic() - self._pruned_at >= PRUNE_EVERY_S:
                    self._pruned_at = time.monotonic()
                    completions.prune(self._database, time.time() - self._days * DAY_S)
            except JobError as fault:
                self._metrics.dropped.inc(len(batch))
                print(f"loglore: history: {fault}", file=sys.stderr)
            self._bytes_out += sum(_size(each) for each in batch)

    def _batch(self) -> list[Exchange | None]:
        """What waits; an empty list when nothing came for a while."""
        found: list[Exchange | None] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._entries.get(timeout=PRUNE_EVERY_S / 60))
            while len(found) < BATCH and found[-1] is not None:
                found.append(self._entries.get_nowait())
        return found


def _size(exchange: Exchange) -> int:
    return len(exchange.content) + len(exchange.answer) + sum(map(len, exchange.pieces))


def counts(exchange: Exchange) -> tuple[int, int, int]:
    """Prompt, cached and completion tokens; of a broken answer what was seen, and a prompt of 4 bytes a token."""
    if exchange.usage:
        details = exchange.usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens") or 0
        return exchange.usage.get("prompt_tokens", 0), cached, exchange.usage.get("completion_tokens", 0)
    return (len(exchange.content) // 4, 0, exchange.events) if exchange.events else (0, 0, 0)


def entry(exchange: Exchange) -> Completion:
    """The row of the history."""
    prompt, cached, completion = counts(exchange)
    text, finish = told(exchange)
    return Completion(
        session_id=exchange.session_id,
        key_id=exchange.key_id,
        model=exchange.model,
        created=exchange.created,
        seconds=exchange.seconds,
        first_token_s=exchange.first_token_s,
        status=exchange.status,
        finish_reason=finish,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        request=exchange.content.decode("utf-8", "replace")[:KEPT_CHARACTERS],
        response=(text or exchange.message)[:KEPT_CHARACTERS],
    )


def told(exchange: Exchange) -> tuple[str, str | None]:
    """Text and finish reason of the first choice, of an answer in one piece or in events."""
    if exchange.answer:
        found = [orjson.loads(exchange.answer)]
    else:
        events = b"".join(exchange.pieces).split(b"\n\n")
        found = [orjson.loads(each[6:]) for each in events if each.startswith(b"data: {")]
    texts, finish = [], None
    for choice in (choice for event in found for choice in event.get("choices", [])):
        if choice.get("index") == 0:
            texts.append(_text(choice))
            finish = choice.get("finish_reason") or finish
    return "".join(texts), finish


def _text(choice: dict[str, Any]) -> str:
    part = choice.get("message") or choice.get("delta") or {}
    if calls := part.get("tool_calls"):
        return orjson.dumps(calls).decode()
    return str(choice.get("text") or part.get("content") or "")
