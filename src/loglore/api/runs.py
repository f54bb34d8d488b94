"""Run folders as JSON: what ran, what is running, what broke off, and the files a job wrote.

The folders are read, never written or locked. That a job is running is told from its telemetry, which the runner
samples every five seconds: a killed job therefore still counts as running for `SILENCE_S`.
"""

import datetime
import json
import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from loglore.api.answers import ERRORS
from loglore.api.errors import not_found
from loglore.api.places import below, visible
from loglore.runs import files

SILENCE_S = 20.0
LAST_EVENTS = 200
TAIL_BYTES = 1 << 14  # far more than one row
# What a report links to. Anything else a job wrote (weights, data) is not for a browser.
SHOWN = {
    ".html": "text/html",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".md": "text/markdown",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
}
# A report quotes foreign logs: whatever slipped into it runs no script and calls nobody.
CONTENT_POLICY = "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self'"


def router(root: Path) -> APIRouter:
    """Routes under `/v1/studio/runs` for the run folders in `root`."""
    routes = APIRouter(prefix="/v1/studio/runs", tags=["runs"], responses=ERRORS)

    @routes.get("")
    def list_runs() -> dict[str, Any]:
        """All runs with their jobs, the run that changed last first."""
        runs = [_run(folder) for folder in visible(root) if folder.is_dir()]
        shown = sorted((run for run in runs if run["jobs"]), key=lambda run: run["changed"], reverse=True)
        return {"object": "list", "data": shown, "root": str(root)}

    @routes.get("/{run}")
    def read_run(run: str) -> dict[str, Any]:
        """One run with its jobs."""
        return _run(_run_folder(root, run))

    @routes.get("/{run}/{job}")
    def read_job(run: str, job: str) -> dict[str, Any]:
        """One job: state, spec, report, outputs that can be shown, and its last events."""
        folder = _job_folder(root, run, job)
        report = folder / "report.json"
        spec = files.read_json(folder / "spec.json")
        return {
            **_job(folder),
            "spec": {key: value for key, value in spec.items() if key not in ("kind", "fingerprint")},
            "report": files.read_json(report) if report.exists() else None,
            "files": [path.name for path in visible(folder) if path.is_file() and path.suffix in SHOWN],
            "events": files.read_jsonl_log(folder / "events.jsonl")[-LAST_EVENTS:],
        }

    @routes.get("/{run}/{job}/metrics")
    def read_metrics(run: str, job: str) -> dict[str, Any]:
        """Rows of `metrics.jsonl` so far: one an optimizer step, one an evaluation."""
        rows = files.read_jsonl_log(_job_folder(root, run, job) / "metrics.jsonl")
        return {"object": "list", "data": rows}

    @routes.get("/{run}/{job}/files/{path:path}")
    def read_file(run: str, job: str, path: str) -> FileResponse:
        """A report, picture or JSON file of a job."""
        found = below(_job_folder(root, run, job), path)
        if found is None or not found.is_file() or found.suffix not in SHOWN:
            raise not_found(f"file {path!r} of {run}/{job}")
        headers = {"Content-Security-Policy": CONTENT_POLICY, "X-Content-Type-Options": "nosniff"}
        return FileResponse(found, media_type=SHOWN[found.suffix], headers=headers)

    return routes


def _run(folder: Path) -> dict[str, Any]:
    jobs = [_job(each) for each in _job_folders(folder)]
    # In the order they were started, which is the order of the recipe.
    jobs.sort(key=lambda job: job["started"] or "")
    changed = max((job["changed"] for job in jobs if job["changed"]), default="")
    return {"id": folder.name, "object": "studio.run", "changed": changed, "jobs": jobs}


def _job_folders(run: Path) -> list[Path]:
    """The folders of a recipe's jobs; a job that was run alone is its own run."""
    if (run / "spec.json").is_file():
        return [run]
    return [folder for folder in visible(run) if (folder / "spec.json").is_file()]


def _run_folder(root: Path, run: str) -> Path:
    found = None if "/" in run else below(root, run)
    if found is None or not _job_folders(found):
        raise not_found(f"run {run!r}")
    return found


def _job_folder(root: Path, run: str, job: str) -> Path:
    for each in _job_folders(_run_folder(root, run)):
        if each.name == job and below(root, each.relative_to(root).as_posix()):
            return each
    raise not_found(f"job {run}/{job}")


def _job(folder: Path) -> dict[str, Any]:
    events = files.read_jsonl_log(folder / "events.jsonl")
    starts = [event["time"] for event in events if event["event"] == "job started"]
    changed = max(
        [event["time"] for event in events[-1:]] + [row["time"] for row in _last_rows(folder / "system.jsonl")],
        default=None,
    )
    report = files.read_json(folder / "report.json") if (folder / "report.json").exists() else None
    state = "done" if report else "running" if changed and _age(changed) < SILENCE_S else "interrupted"
    seconds = report["job"]["seconds"] if report else _between(starts[-1], changed) if starts and changed else None
    return {
        "id": folder.name,
        "object": "studio.job",
        "kind": files.read_json(folder / "spec.json").get("kind"),
        "state": state,
        "seconds": seconds,
        "started": starts[0] if starts else None,
        "changed": changed,
        "progress": progress(folder, events),
        "headline": _headline(report) if report else None,
        "published": report["job"].get("published") if report else None,
    }


def _headline(report: dict[str, Any]) -> str | None:
    """The one figure of a report that a list of jobs shows."""
    loss = report.get("loss")
    if isinstance(loss, dict):
        return f"loss {loss['first']:.3f} → {loss['last']:.3f}"
    scores = report.get("scores")
    if isinstance(scores, dict) and "rougeL" in scores:
        return f"ROUGE-L {scores['rougeL']['value']:.3f}"
    if isinstance(report.get("rows"), int):
        return f"{report['rows']:,} rows"
    verdicts = report.get("verdicts")
    if isinstance(verdicts, dict):
        return ", ".join(f"{count} {name}" for name, count in verdicts.items())
    return None


def progress(folder: Path, events: list[dict[str, Any]]) -> dict[str, int] | None:
    """Optimizer steps `done` and in `total`, of a training job in a run folder with these events; None before."""
    planned = [event["steps"] for event in events if event["event"] == "planned"]
    if not planned:
        return None
    steps = [row["step"] for row in _last_rows(folder / "metrics.jsonl")]
    return {"done": max(steps, default=0), "total": planned[-1]}


def _last_rows(path: Path) -> list[dict[str, Any]]:
    """The last whole row, or none; read from the end, because telemetry of a day is megabytes."""
    if not path.exists():
        return []
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - TAIL_BYTES, 0))
        tail = stream.read()
    lines = tail[: tail.rfind(b"\n") + 1].splitlines()
    return [json.loads(lines[-1])] if lines else []


def _age(time: str) -> float:
    now = datetime.datetime.now(datetime.UTC)
    return (now - datetime.datetime.fromisoformat(time)).total_seconds()


def _between(start: str, end: str) -> float:
    span = datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(start)
    return round(span.total_seconds(), 1)
