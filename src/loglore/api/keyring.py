"""Who calls: API keys, their scopes and their limits.

A key counts wherever it is sent. Whether one is *needed* is the server's choice: always off loopback, on request on
loopback, where a bearer text that is no key of ours (OpenAI's clients must send something) is let through.
"""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from loglore.api import errors
from loglore.api.errors import ApiError
from loglore.errors import JobError
from loglore.store import keys
from loglore.store.database import Database
from loglore.store.keys import Key

# A key that is revoked stops working within this time.
REFRESH_S = 1.0
OPEN_PATHS = ("/health",)
UNKNOWN = 401
WRONG_PER_MINUTE, ADDRESSES = 120, 10_000
# What a chat needs; everything else reads or changes what belongs to all.
CHAT_PATHS = re.compile(r"/(v1/(chat/)?completions|tokenize|openapi\.json)")
MODEL_PATHS = re.compile(r"/v1/models(/.*)?")
# Compared with where no key of that id exists, so that the time taken does not tell.
NOBODY = Key("0" * 12, "nobody", "0" * 64, (), None, None, 0.0, None, 0.0, None)


class Budget:
    """So many a minute, as a bucket that refills evenly: a minute's worth at once, then the rate; debt is possible."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._left, self._at = self._most, clock()

    def wait_s(self, amount: float) -> int:
        """Whole seconds until `amount` is there; 0 when it is."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._most / 60)
        self._at = now
        missing = min(amount, self._most) - self._left
        return 0 if missing <= 1e-9 else max(1, math.ceil(missing * 60 / self._most))

    def spend(self, amount: float) -> None:
        """Take `amount`."""
        self.wait_s(0)
        self._left -= amount


class Keyring:
    """The keys, read again every `REFRESH_S`, with what is left of their budgets."""

    def __init__(self, database: Database, required: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.required = required
        self._database, self._clock = database, clock
        self._keys: dict[str, Key] = {}
        self._read_at = -math.inf
        self._requests: dict[tuple[str, int], Budget] = {}
        self._tokens: dict[tuple[str, int], Budget] = {}

    def caller(self, authorization: str | None, scope: str) -> Key | None:
        """The key that a request carries; None where none is needed.

        Raises:
            ApiError: 401 without a valid key, 403 for one without the scope, 429 over its requests a minute, 503 while
                the database does not answer.
        """
        scheme, _, rest = (authorization or "").partition(" ")
        text = rest.strip() if scheme.lower() == "bearer" else ""
        key_id = keys.id_of(text)
        if key_id is None and not self.required:
            return None
        key = self._known(key_id).get(key_id or "", NOBODY)
        if not key.matches(text):
            hint = "; create one with `loglore keys create NAME`" if not text else ""
            raise _denied(f"this server needs a valid key as `Authorization: Bearer …`{hint}")
        if (state := key.state(time.time())) != "active":
            raise _denied(f"key {key.id} ({key.name}) is {state}")
        if scope not in key.scopes:
            text = f"key {key.id} ({key.name}) has no scope `{scope}`, only {', '.join(key.scopes)}"
            raise ApiError(403, text, "insufficient_scope")
        if (limit := key.requests_per_minute) is not None:
            budget = self._requests.setdefault(_slot(key.id, limit), self._budget(limit))
            _take(budget, 1, f"key {key.id} may send {limit:,} requests a minute")
            budget.spend(1)
        return key

    def check_tokens(self, key_id: str | None) -> None:
        """Raise ApiError 429 while a key has used up its tokens of the minute."""
        if budget := self._token_budget(key_id):
            _take(budget, 1, f"key {key_id} has used its tokens of this minute")

    def spend_tokens(self, key_id: str | None, tokens: int) -> None:
        """Charge a key for an answer, prompt included; it may go into debt."""
        if budget := self._token_budget(key_id):
            budget.spend(tokens)

    def _token_budget(self, key_id: str | None) -> Budget | None:
        limit = self._keys[key_id].tokens_per_minute if key_id in self._keys else None
        if key_id is None or limit is None:
            return None
        return self._tokens.setdefault(_slot(key_id, limit), self._budget(limit))

    def _budget(self, per_minute: int) -> Budget:
        return Budget(per_minute, self._clock)

    def _known(self, wanted: str | None) -> dict[str, Key]:
        now = self._clock()
        # An id not seen yet may be a key that was made a moment ago.
        if now - self._read_at >= REFRESH_S or (wanted is not None and wanted not in self._keys):
            try:
                self._keys = {key.id: key for key in keys.keys(self._database)}
            except JobError as fault:
                # Not the keys read before: one of them may be revoked by now.
                raise ApiError(503, f"keys cannot be read: {fault}", "database_unavailable") from None
            self._read_at = now
        return self._keys


class Attempts:
    """Wrong keys by address: after `WRONG_PER_MINUTE` of them callers from there wait, whatever key they send."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budgets: OrderedDict[str, Budget] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise ApiError 429 while an address has used up its attempts."""
        if budget := self._budgets.get(address):
            _take(budget, 1, f"too many requests with a wrong key from {address}")

    def failed(self, address: str) -> None:
        """Count a wrong key."""
        budget = self._budgets.setdefault(address, Budget(WRONG_PER_MINUTE, self._clock))
        budget.spend(1)
        self._budgets.move_to_end(address)
        while len(self._budgets) > ADDRESSES:
            self._budgets.popitem(last=False)


class Keyed:
    """ASGI middleware: lets in who may call; the key is `request.state.key`."""

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self._app, self._keyring = app, keyring
        self._attempts = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            caller = (scope.get("client") or ("",))[0]
            try:
                self._attempts.check(caller)
                key = self._keyring.caller(Headers(scope=scope).get("authorization"), scope_of(scope))
            except ApiError as fault:
                if fault.status == UNKNOWN:
                    self._attempts.failed(caller)
                status, content = errors.of(fault)
                await JSONResponse(content, status, fault.headers)(scope, receive, send)
                return
            scope.setdefault("state", {})["key"] = key
        await self._app(scope, receive, send)


def scope_of(scope: Scope) -> keys.Scope:
    """The scope that a request needs."""
    path = scope["path"]
    reads_models = scope["method"] in ("GET", "HEAD") and MODEL_PATHS.fullmatch(path)
    return "chat" if reads_models or CHAT_PATHS.fullmatch(path) else "manage"


def _slot(key_id: str, limit: int) -> tuple[str, int]:
    """A budget belongs to a key and its limit, so that another limit starts afresh."""
    return key_id, limit


def _take(budget: Budget, amount: float, text: str) -> None:
    if seconds := budget.wait_s(amount):
        headers = {"Retry-After": str(seconds)}
        raise ApiError(429, f"{text}; try again in {seconds} s", "rate_limit_exceeded", headers=headers)


def _denied(text: str) -> ApiError:
    return ApiError(401, text, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
