"""Pictures of every page, light and dark, into `docs/images`: `python bench/screenshots.py [NAME …] [--model FOLDER]`.

Starts a studio of its own over an empty home, lets the analyst write rows about the example logs, tunes a tiny random
model, tests and compares models, starts a session, asks a model about twelve lines of a log, and takes the pictures
with Debian's Chromium (package `chromium`, a font with Japanese characters such as `fonts-ipafont-gothic`, and
`playwright` from pip). Takes about five minutes on two cores. With names (`chat`, `tuning-new` …) only those pictures
are taken; `chat` alone takes one minute. It is the embedded model that is asked, and tiny models that are compared;
with `--model`, such as the quickstart's (`runs/quickstart/cpt-sft/model`), it is that one and those of its run.
"""

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT, TALLEST = 1280, 900, 1900
# Relative, in a folder of its own: no picture shows where this machine keeps its files.
LOGS = Path("examples/logs")
EXCERPT = "redis-excerpt.log"
QUICK = {
    "batch_size": 4, "gradient_accumulation_steps": 1, "max_sequence_length": 1024, "mixed_precision": "none",
    "training_type": "full", "learning_rate": 0.005,
}  # fmt: skip
WAIT_S, WAIT_MS = 600.0, 300_000
QUIET_MS = 1500
COLOURS = 255
# What the page shows, with the field that stays at the bottom of a chat.
TALL = """() => ["stMainBlockContainer", "stBottomBlockContainer"].map(
    name => document.querySelector(`[data-testid=${name}]`)?.scrollHeight ?? 0).reduce((one, two) => one + two)"""
JAPANESE = ("chat", "tuning-new")


def fill(api: str, tested: list[str]) -> dict[str, str]:
    """A little of everything, and tests of some models; returns ids by what they are of."""

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = httpx2.post(f"{api}{path}", json=body, timeout=WAIT_S)
        assert reply.is_success, reply.text
        found: dict[str, Any] = reply.json()
        return found

    logs = [
        f"log:{each}.log"
        for each in ("nginx-error", "redis", "postgresql", "sshd")
        if (ROOT / LOGS / f"{each}.log").exists()
    ]
    options = {
        "smallest": 6, "largest": 8, "train_rows": 48, "validation_rows": 6, "test_rows": 16, "validation_chunks": 3,
        "test_chunks": 8, "tasks": ["root_cause", "summary"],
    }  # fmt: skip
    wish = {"task": "chat", "logs": logs, "publish": "incidents", "name": "incidents", "options": options}
    ids = {"synth": post("/studio/synthesis", wish)["id"]}
    corpus = {"task": "nlplog", "logs": logs, "publish": "log-questions", "name": "log-questions"}
    wait(api, post("/studio/synthesis", corpus)["id"])
    wait(api, ids["synth"])
    values = {**QUICK, "epochs": 5, "eval_strategy": "epoch"}
    rows = {"training_file": "dataset:incidents", "validation_file": "dataset:incidents-validation"}
    method = {"type": "supervised", "supervised": {"hyperparameters": values}}
    tuned = post(
        "/fine_tuning/jobs",
        {"model": "tiny", **rows, "suffix": "tiny-incidents", "general_text": False, "method": method},
    )
    ids["train"] = tuned["id"]
    wait(api, tuned["id"])
    spec = {"dataset": "dataset:incidents-test", "max_new_tokens": 96, "general_text": False}
    tests = {
        model: post("/studio/jobs", {"kind": "test", "name": model, "spec": {**spec, "model": model}})["id"]
        for model in tested
    }
    ids["test"] = tests[tested[-1]]
    names = {"tests": {name: f"${{{job}.run}}" for name, job in tests.items()}, "baseline": tested[0]}
    compare = {"kind": "compare", "name": " / ".join(tests), "spec": names, "depends_on": list(tests.values())}
    ids["compare"] = post("/studio/jobs", compare)["id"]
    wait(api, ids["compare"])
    ids["session"] = post("/studio/sessions", {"model": "tiny-incidents@1", "duration_s": 3600.0})["id"]
    post("/studio/keys", {"name": "ci", "scopes": ["chat"], "requests_per_minute": 120})
    post("/studio/models/tiny-incidents@1/tags", {"tag": "candidate"})
    return ids


def wait(api: str, job: str) -> None:
    """Until a job is over."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = httpx2.get(f"{api}/studio/jobs/{job}").json()
        if found["state"] in ("succeeded", "failed", "cancelled"):
            assert found["state"] == "succeeded", json.dumps(found, indent=1)
            return
        time.sleep(0.5)
    raise TimeoutError(job)


def addresses(ids: dict[str, str]) -> dict[str, str]:
    """Pictures by name, and what they are of."""
    return {
        "data": "data?dataset=incidents@1",
        "data-generate": f"data?view=generate&job={ids.get('synth')}",
        "models": "models?model=tiny-incidents@1",
        "tuning-new": "tuning?view=new",
        "tuning-job": f"tuning?job={ids.get('train')}",
        "tests": f"tests?job={ids.get('test')}",
        "tests-compare": f"tests?view=compare&comparison={ids.get('compare')}",
        "sessions": f"sessions?session={ids.get('session')}",
        "runs": "runs",
        "keys": "keys",
        "costs": "costs",
        "audit": "audit",
        "chat": "chat",
    }


def shoot(pages: str, ids: dict[str, str], wanted: list[str], asked: str) -> None:
    """Take the pictures, those of a page in both colours; of some also one in Japanese."""
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(parents=True, exist_ok=True)
    places = {name: address for name, address in addresses(ids).items() if not wanted or name in wanted}
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        for name, address in places.items():
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            page.goto(f"{pages}/{address}", wait_until="load")
            if name == "chat":
                _ask(page, asked)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                _take(page, f"{name}-{scheme}")
            if name in JAPANESE:
                page.emulate_media(color_scheme="light")
                page.goto(f"{page.url}{'&' if '?' in page.url else '?'}lang=ja", wait_until="load")
                if name == "chat":
                    _hide_place(page, " 以下", f"{LOGS} 以下")
                _take(page, f"{name}-ja")
        browser.close()


def _take(page: Any, name: str) -> None:
    """Wait until the page is quiet, make the window as tall as what it shows, and keep few colours."""
    from PIL import Image

    page.locator("h1").wait_for()
    page.locator("[data-testid=stStatusWidget]").wait_for(state="detached")
    page.wait_for_timeout(QUIET_MS)
    tall = page.evaluate(TALL)
    page.set_viewport_size({"width": WIDTH, "height": max(420, min(tall, TALLEST))})
    page.wait_for_timeout(QUIET_MS)
    # A chat follows its answer down; the picture begins at the top.
    page.evaluate("for (let each = document.querySelector('h1'); each; each = each.parentElement) each.scrollTop = 0")
    page.mouse.move(WIDTH - 1, 1)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        IMAGES / f"{name}.png", optimize=True
    )


def _ask(page: Any, model: str) -> None:
    page.get_by_role("combobox", name="Files").fill(EXCERPT)
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Model that answers").fill(model)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Root cause").click()
    page.locator(".ll-chips, .ll-note").first.wait_for()
    chip = page.locator("details.ll-chip").first
    if chip.count():
        chip.locator("summary").click()
    _hide_place(page, "Below ", f"Below {LOGS}")


def _hide_place(page: Any, said: str, instead: str) -> None:
    """Where this machine keeps its files is no part of a picture."""
    page.get_by_text(said).first.evaluate("(place, text) => { place.textContent = text }", instead)


def _take_in(model: Path, place: Path) -> list[str]:
    """The models of the run that the model belongs to, and the run without its weights; names of those to test."""
    from loglore.hub import models

    run = model.resolve().parents[1]
    known = {"base": run / "base" / "model", "base-sft": run / "sft" / "model", "quickstart": model}
    found = [name for name, folder in known.items() if folder.is_dir()]
    for name in found:
        models.add(name, known[name], {"from": "the quickstart"})
    leave = shutil.ignore_patterns(
        "model", "adapter", "packed", "checkpoints", "*.safetensors", "*.gguf", "*.parquet", "*.bin"
    )
    shutil.copytree(run, place / "runs" / run.name, ignore=leave)
    return [f"{name}@1" for name in found]


def main() -> None:
    """Fill a studio and photograph it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--model", type=Path, help="Hugging Face folder of the model that is asked")
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from support_started import started
    from support_tiny import build_llama

    with tempfile.TemporaryDirectory(prefix="loglore-shots-") as folder:
        place = Path(folder)
        os.environ["LOGLORE_HOME"] = str(place / "home")
        build_llama(place / "tiny", 64, 4, 2048)
        from loglore.hub import models

        models.add("tiny", place / "tiny", {"from": "random weights"})
        tested = ["tiny@1", "tiny-incidents@1"]
        if given.model:
            tested = _take_in(given.model, place)
        shutil.copytree(ROOT / LOGS, place / LOGS)
        with started(place, "studio", "--port", "0", LOGLORE_THREADS="2") as found:
            pages, api = found.page, found.api
            lines = (place / LOGS / "redis.log").read_text("utf-8").splitlines(keepends=True)
            (place / LOGS / EXCERPT).write_text("".join(lines[124:136]), "utf-8")
            # The chat needs nothing but the logs and the model.
            ids = {} if given.names == ["chat"] else fill(api, tested)
            shoot(pages, ids, given.names, "quickstart" if given.model else "smollm2")


if __name__ == "__main__":
    main()
