"""Who may call: programs on this machine, and pages that this machine serves.

The API has no keys yet, so a web page from elsewhere must not reach it through the user's browser. Such a request
carries a foreign `Origin`, or, when its host name was pointed at 127.0.0.1 (DNS rebinding), a foreign `Host`.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from loglore.api.errors import body

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LoopbackOnly:
    """ASGI middleware: 403 for requests with a `Host` or `Origin` that is not loopback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            places = {"Host": "//" + headers.get("host", ""), "Origin": headers.get("origin", "//localhost")}
            for name, place in places.items():
                if not _is_loopback(place):
                    text = f"{name} {place.removeprefix('//')!r}: only {', '.join(LOOPBACK)} may call without a key"
                    await JSONResponse(body(403, text, "foreign_caller"), 403)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _is_loopback(place: str) -> bool:
    try:
        return urlsplit(place).hostname in LOOPBACK
    except ValueError:
        return False
