"""Pictures of every page, light and dark, into `docs/images`: `python bench/screenshots.py`.

Starts a studio of its own over an empty home, puts a tiny random model and a few rows in, lets a worker train, test and
compare, asks the embedded model about an example log where it is installed, and takes the pictures with Debian's
Chromium (package `chromium`, and `playwright` from pip, which drives it).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1280, "height": 1200}
START = "from loglore.studio.start import start; from pathlib import Path; start(port=0, logs=Path({!r}))"
QUICK = {"batch_size": 2, "gradient_accumulation_steps": 1, "max_sequence_length": 256, "mixed_precision": "none"}
WAIT_S = 120.0
QUIET_MS = 1200


@contextmanager
def studio(home: Path) -> Iterator[tuple[str, str]]:
    """A running studio over `home`: URLs of pages and API."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "LOGLORE_HOME": str(home), "LOGLORE_THREADS": "1"}
    code = START.format(str(ROOT / "examples" / "logs"))
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=home, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("Ctrl-C"):
                break
        try:
            yield lines[0].split()[-1], lines[1].split()[1]
        finally:
            process.terminate()


def fill(home: Path, api: str) -> dict[str, str]:
    """A little of everything; returns ids by what they are of."""

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = httpx2.post(f"{api}{path}", json=body, timeout=120)
        assert reply.is_success, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def dataset(name: str, rows: list[dict[str, Any]]) -> None:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        sent = httpx2.post(f"{api}/files", files={"file": (f"{name}.jsonl", content)}, data={"purpose": "fine-tune"})
        assert sent.is_success, sent.text
        post("/studio/datasets", {"name": name, "file": sent.json()["id"], "licence": "CC0-1.0"})

    chats = [
        {"messages": [
            {"role": "user", "content": f"What happened?\nLog content:\nL1|ERROR disk {n} full while writing data"},
            {"role": "assistant", "content": f"The disk {n} is full, so writing data failed (line 1)."},
        ]}
        for n in range(48)
    ]  # fmt: skip
    dataset("incidents", chats[:36])
    dataset("incidents-test", chats[36:])
    dataset(
        "nlplog-corpus",
        [{"text": f"Human: What does event {n} mean?\nAssistant: Disk {n} was full.\n"} for n in range(80)],
    )
    ids = {}
    values = {**QUICK, "epochs": 4, "learning_rate": 0.003, "eval_strategy": "epoch"}
    body = {"model": "tiny", "training_file": "dataset:incidents", "validation_file": "dataset:incidents-test"}
    made = post("/fine_tuning/jobs", {**body, "suffix": "incidents-sft", "method": _method("supervised", values)})
    ids["train"] = made["id"]
    wait(api, made["id"])
    spec = {"dataset": "dataset:incidents-test", "max_new_tokens": 24, "general_text": False}
    tests = {
        model: post("/studio/jobs", {"kind": "test", "name": model, "spec": {**spec, "model": model}})["id"]
        for model in ("tiny@1", "incidents-sft@1")
    }
    ids["test"] = tests["incidents-sft@1"]
    wish = {"tests": {name: f"${{{job}.run}}" for name, job in tests.items()}, "baseline": "tiny@1"}
    compare = {"kind": "compare", "name": " / ".join(tests), "spec": wish, "depends_on": list(tests.values())}
    ids["compare"] = post("/studio/jobs", compare)["id"]
    wait(api, ids["compare"])
    post("/fine_tuning/jobs", {**body, "suffix": "waits", "priority": -5, "method": _method("supervised", QUICK)})
    post("/studio/keys", {"name": "ci", "scopes": ["chat"], "requests_per_minute": 120})
    return ids


def _method(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, kind: {"hyperparameters": values}}


def wait(api: str, job: str) -> None:
    """Until a job is over."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        state = httpx2.get(f"{api}/studio/jobs/{job}").json()["state"]
        if state in ("succeeded", "failed", "cancelled"):
            assert state == "succeeded", job
            return
        time.sleep(0.5)
    raise TimeoutError(job)


def shoot(pages: str, ids: dict[str, str]) -> None:
    """Take all pictures."""
    from playwright.sync_api import sync_playwright

    addresses = {
        "data": "data?dataset=incidents@1",
        "models": "models?model=incidents-sft@1",
        "tuning-new": "tuning?view=new",
        "tuning-job": f"tuning?job={ids['train']}",
        "tests": f"tests?job={ids['test']}",
        "tests-compare": f"tests?view=compare&comparison={ids['compare']}",
        "sessions": "sessions",
        "keys": "keys",
        "costs": "costs",
        "audit": "audit",
    }
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()
            for name, address in addresses.items():
                page.goto(f"{pages}/{address}", wait_until="load")
                page.locator("h1").wait_for(timeout=30_000)
                page.locator("[data-testid=stStatusWidget]").wait_for(state="detached", timeout=30_000)
                page.wait_for_timeout(QUIET_MS)
                page.screenshot(path=IMAGES / f"{name}-{scheme}.png", full_page=True)
            _chat(page, pages)
            page.screenshot(path=IMAGES / f"chat-{scheme}.png", full_page=True)
        browser.close()


def _chat(page: Any, pages: str) -> None:
    page.goto(pages, wait_until="load")
    page.get_by_role("combobox", name="Files").fill("redis")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Model that answers").fill("smollm2")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Root cause").click()
    page.locator(".ll-chips, .ll-note").first.wait_for(timeout=120_000)
    page.wait_for_timeout(QUIET_MS)


def main() -> None:
    """Fill a studio and photograph it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support_tiny import build_llama

    with tempfile.TemporaryDirectory(prefix="loglore-shots-") as place:
        home = Path(place)
        build_llama(home / "tiny", 64, 4, 2048)
        os.environ["LOGLORE_HOME"] = place
        from loglore.hub import models

        models.add("tiny", home / "tiny", {"from": "random weights"})
        with studio(home) as (pages, api):
            shoot(pages, fill(home, api))


if __name__ == "__main__":
    main()
