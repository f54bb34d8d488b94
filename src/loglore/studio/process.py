"""The page server's process: `python -m loglore.studio.process HOST PORT API_URL`; it ends when standard input does.

It is Streamlit's server with our settings, and with the routes that take uploads (`relay`). The page script gets the
API's URL as its argument; what it imports is imported before the server answers, so that the first visitor need not
wait for it.
"""

import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

# Quiet, local, nothing sent home. Colours hold a contrast of at least 4.5 : 1 in both schemes.
OPTIONS: dict[str, Any] = {
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 200,
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "theme.baseRadius": "6px",
    "theme.light.primaryColor": "#0d6c65",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f4f6f7",
    "theme.light.textColor": "#1b2529",
    "theme.light.borderColor": "#dde3e5",
    "theme.dark.primaryColor": "#2dd4bf",
    "theme.dark.backgroundColor": "#11171a",
    "theme.dark.secondaryBackgroundColor": "#1a2327",
    "theme.dark.textColor": "#e4eaec",
    "theme.dark.borderColor": "#2d3a40",
}


def main() -> None:
    """Serve the pages."""
    from starlette.routing import Route
    from streamlit.starlette import App

    from loglore.studio import relay

    host, port, api_url = sys.argv[1:]
    threading.Thread(target=_end_at_eof, daemon=True).start()
    page = str(Path(__file__).with_name("page.py"))
    sys.argv = [page, api_url]
    routes = [Route("/", _to_the_chat, methods=["GET"]), *relay.routes(api_url, host)]
    App(page, routes=routes, lifespan=_prepared).run(
        config={**OPTIONS, "server.address": host, "server.port": int(port)}
    )


async def _to_the_chat(request: "Request") -> "Response":
    """The bare address leads to the chat; relative, so that it also does behind a proxy that strips a prefix."""
    from starlette.responses import RedirectResponse

    query = request.url.query
    return RedirectResponse(f"chat?{query}" if query else "chat", headers={"Cache-Control": "no-cache"})


@contextlib.asynccontextmanager
async def _prepared(_: Any) -> AsyncIterator[None]:
    """Import what the first visitor's page needs; before that the server does not answer."""
    import streamlit.emojis  # noqa: F401  which takes longer than any page

    from loglore.studio import page_list  # noqa: F401

    yield


def _end_at_eof() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    # Pages keep nothing that would need an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
