"""The chat page's four figures: `python bench/bench_chat_page.py [--megabytes 1000] [--users 20] [--steps …]`.

    start    seconds from starting the processes, and from opening the address, until the page can be used (Chromium)
    large    seconds until a log of so many megabytes shows its timeline and templates, progress on the way, and how
             long the API took at worst to answer something else meanwhile
    users    so many visitors at once, each with a log and a chat of their own: time to an answer, and nobody's words in
             another one's chat
    memory   resident megabytes of the page server that each session adds while it shows the large log

Real processes (`loglore.studio.start`), a browser for `start` and `large`, visitors as websocket sessions of one
browser for `memory`, and as HTTP callers of the API for `users`, with a scripted model that echoes what it is asked.
"""

import argparse
import http.server
import json
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support_started import started

CHROMIUM = "/usr/bin/chromium"
WAIT_MS = 180_000
STEPS = ("start", "large", "users", "memory")


@contextmanager
def studio(home: Path, logs: Path) -> Iterator[tuple[str, str, psutil.Process]]:
    """A running studio without a worker: URLs of pages and API, and its process."""
    command = ("studio", "--port", "0", "--no-worker", "--logs", str(logs))
    with started(home, *command, LOGLORE_HOME=str(home), LOGLORE_PRIVATE_ENDPOINTS="1") as found:
        yield found.page, found.api.removesuffix("/v1"), psutil.Process(found.process.pid)


def write_log(path: Path, megabytes: float) -> None:
    """A log of services with a fault that begins in its last third; block after block, times going on."""
    chance = random.Random(1)
    kinds = [
        "INFO api: GET /items/{n} 200 in {m} ms",
        "INFO db: query {n} took {m} ms",
        "DEBUG cache: key user:{n} refreshed",
        "WARNING db: slow query {n}: {m} ms",
    ]
    size, second, number = 0, 0, 0
    limit = megabytes * 1e6
    with path.open("w") as out:
        while size < limit:
            rows = []
            for _ in range(20_000):
                number += 1
                second += number % 40 == 0
                day, rest = divmod(second, 86_400)
                clock = f"2026-03-{1 + day % 28:02} {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
                text = chance.choice(kinds).format(n=number % 9973, m=number % 389)
                if size > limit * 2 / 3 and number % 211 == 0:
                    text = f"ERROR db: write of block {number % 997} failed: No space left on device"
                rows.append(f"{clock} {text}\n")
            size += out.write("".join(rows))


class Echo(http.server.BaseHTTPRequestHandler):
    """An OpenAI-like model that answers with the word in its question that begins with `user-`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._send(
            "application/json", json.dumps({"object": "list", "data": [{"id": "echo", "object": "model"}]}).encode()
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][-1]["content"]
        word = re.search(r"user-[0-9]+-[0-9]+", asked)
        seen = sorted(set(re.findall(r"tenant-[0-9]+", body["messages"][0]["content"])))
        text = f"{word[0] if word else 'nobody'} sees {' '.join(seen)} in line 1."
        base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "echo"}
        chunks = [
            {**base, "choices": [{"index": 0, "delta": {"content": each}, "finish_reason": None}]} for each in text
        ]
        chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": 1, "completion_tokens": len(text), "total_tokens": 1 + len(text)}
        chunks.append({**base, "choices": [], "usage": usage})
        data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
        self._send("text/event-stream", data)

    def _send(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def open_page(page: Any, url: str) -> float:
    """Open the address; seconds until files can be chosen."""
    began = time.monotonic()
    page.goto(url, wait_until="commit")
    page.get_by_role("combobox", name="Files").wait_for(timeout=WAIT_MS)
    return time.monotonic() - began


def measure_start(home: Path, logs: Path) -> dict[str, float]:
    """From a cold start and for the second visitor."""
    with browser() as chromium:
        began = time.monotonic()
        with studio(home, logs) as (pages, _, _):
            served = time.monotonic() - began
            first = open_page(chromium.new_page(), pages)
            second = open_page(chromium.new_context().new_page(), pages)
    return {
        "processes_s": served,
        "first_visitor_s": first,
        "second_visitor_s": second,
        "command_to_usable_s": served + first,
    }


def measure_large(pages: str, api: str, name: str) -> dict[str, float]:
    """From choosing the log until timeline and templates stand on the page."""
    slowest, over = 0.0, threading.Event()

    def probe() -> None:
        nonlocal slowest
        with httpx2.Client(base_url=api, timeout=60) as client:
            while not over.wait(0.2):
                began = time.monotonic()
                client.post("/v1/studio/logs/facts", json={"logs": [{"path": "tenant-0.log"}]}).raise_for_status()
                slowest = max(slowest, time.monotonic() - began)

    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        open_page(page, pages)
        watcher = threading.Thread(target=probe)
        watcher.start()
        began = time.monotonic()
        page.goto(f"{pages}/chat?log={name}", wait_until="commit")
        # A small log is there before its progress can be seen.
        page.locator("[data-testid=stProgress], .ll-table").first.wait_for(timeout=WAIT_MS)
        progress = time.monotonic() - began
        page.locator(".ll-table").first.wait_for(timeout=WAIT_MS)
        page.locator("[data-testid=stVegaLiteChart]").first.wait_for(timeout=WAIT_MS)
        shown = time.monotonic() - began
        over.set()
        watcher.join()
        again = time.monotonic()
        page.reload()
        page.locator(".ll-table").first.wait_for(timeout=WAIT_MS)
        again = time.monotonic() - again
    return {"progress_s": progress, "shown_s": shown, "slowest_other_answer_s": slowest, "reload_s": again}


def measure_users(api: str, users: int, questions: int = 5) -> dict[str, float]:
    """Everybody asks at once, again and again; every answer must name its asker and that asker's log alone."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    gate = threading.Barrier(users)

    def visit(number: int) -> list[float]:
        logs, times = [{"path": f"tenant-{number}.log"}], []
        with httpx2.Client(base_url=f"{api}/v1/studio", timeout=120) as client:
            chat = client.post("/chats", json={"logs": logs}).json()["id"]
            gate.wait()
            for turn in range(questions):
                word = f"user-{number}-{turn}"
                body = {"logs": logs, "question": f"What of {word}?", "chat": chat, "endpoint": {"url": url}}
                began = time.monotonic()
                client.post("/ask", json=body).raise_for_status()
                times.append(time.monotonic() - began)
            turns = client.get(f"/chats/{chat}").json()["turns"]
            texts = [each["text"] for each in turns]
        assert texts == [f"user-{number}-{turn} sees tenant-{number} in line 1." for turn in range(questions)], texts
        return times

    with ThreadPoolExecutor(users) as pool:
        times = sorted(each for found in pool.map(visit, range(users)) for each in found)
    server.shutdown()
    return {"answers": len(times), "median_s": times[len(times) // 2], "slowest_s": times[-1], "mixed": 0}


def measure_memory(pages: str, studio_process: psutil.Process, name: str, sessions: int = 6) -> dict[str, float]:
    """What each further session adds to the page server while it shows the log."""
    (server,) = [
        each for each in studio_process.children(recursive=True) if "loglore.studio.process" in " ".join(each.cmdline())
    ]
    resident = []
    with browser() as chromium:
        for _ in range(sessions + 1):
            page = chromium.new_context().new_page()
            page.goto(f"{pages}/chat?log={name}", wait_until="commit")
            page.locator(".ll-table").first.wait_for(timeout=WAIT_MS)
            resident.append(server.memory_info().rss / 1e6)
    return {"one_session_mb": resident[0], "each_further_mb": (resident[-1] - resident[0]) / sessions}


def main() -> None:
    """Measure and print, a line of JSON a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loglore-chat-bench-") as place:
        home, logs = Path(place) / "home", Path(place) / "logs"
        home.mkdir()
        logs.mkdir()
        for number in range(wish.users):
            rows = (f"2026-03-01 10:00:{n:02} INFO app: tenant-{number} did step {n}\n" for n in range(40))
            (logs / f"tenant-{number}.log").write_text("".join(rows))
        if {"large", "memory"} & set(wish.steps):
            write_log(logs / "large.log", wish.megabytes)
        if "start" in wish.steps:
            say("start", measure_start(home, logs))
        if set(wish.steps) == {"start"}:
            return
        with studio(home, logs) as (pages, api, process):
            if "large" in wish.steps:
                say("large", {"megabytes": wish.megabytes, **measure_large(pages, api, "large.log")})
            if "users" in wish.steps:
                say("users", {"users": wish.users, **measure_users(api, wish.users)})
            if "memory" in wish.steps:
                say("memory", measure_memory(pages, process, "large.log"))


def say(name: str, figures: dict[str, float]) -> None:
    """One line of JSON."""
    print(json.dumps({"figure": name, **{key: round(value, 3) for key, value in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()
