"""The page server's process: `python -m loglore.studio.process HOST PORT API_URL`; it ends when standard input does.

It is Streamlit's server with our settings, and with the routes that take uploads (`relay`). The page script gets the
API's URL as its argument.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any

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
    from streamlit.starlette import App

    from loglore.studio import relay

    host, port, api_url = sys.argv[1:]
    threading.Thread(target=_end_at_eof, daemon=True).start()
    page = str(Path(__file__).with_name("page.py"))
    sys.argv = [page, api_url]
    App(page, routes=relay.routes(api_url, host)).run(
        config={**OPTIONS, "server.address": host, "server.port": int(port)}
    )


def _end_at_eof() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    # Pages keep nothing that would need an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
