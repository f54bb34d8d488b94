import http.client
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support_studio import SECRET, Served

from loglore.api.places import below
from loglore.runs.folder import RunFolder


def test_runs_with_their_jobs_and_states(served: Served) -> None:
    runs = {run["id"]: run for run in httpx2.get(f"{served.url}/v1/studio/runs").json()["data"]}
    assert set(runs) >= {"first", "broken", "alone"}
    cpt, test, report = runs["first"]["jobs"]
    assert (cpt["id"], cpt["state"], cpt["seconds"], cpt["headline"]) == ("cpt", "done", 3.0, "loss 3.200 → 2.500")
    assert cpt["progress"] == {"done": 3, "total": 3}
    assert (test["headline"], report["headline"]) == ("ROUGE-L 0.312", "40 rows")
    (sft,) = runs["broken"]["jobs"]
    assert (sft["state"], sft["seconds"], sft["progress"]) == ("interrupted", 30.0, {"done": 2, "total": 8})
    assert [job["id"] for job in runs["alone"]["jobs"]] == ["alone"]


def test_a_job_that_writes_is_running(served: Served) -> None:
    job = RunFolder(served.runs / "now" / "train", {"kind": "train"})
    job.event("job started")
    assert httpx2.get(f"{served.url}/v1/studio/runs/now").json()["jobs"][0]["state"] == "running"


def test_one_job_with_metrics_and_events(served: Served) -> None:
    job = httpx2.get(f"{served.url}/v1/studio/runs/first/cpt").json()
    assert job["spec"] == {"stage": "cpt"}
    assert job["report"]["steps"] == 3
    assert [event["event"] for event in job["events"]] == ["job started", "planned"]
    rows = httpx2.get(f"{served.url}/v1/studio/runs/first/cpt/metrics").json()["data"]
    assert [row["loss"] for row in rows if "loss" in row] == [3.2, 2.9, 2.5]
    assert httpx2.get(f"{served.url}/v1/studio/runs/alone/alone").json()["kind"] == "nlplog"


def test_files_that_may_be_shown(served: Served) -> None:
    base = f"{served.url}/v1/studio/runs/first/report/files"
    reply = httpx2.get(f"{base}/report.html")
    assert reply.text == "<h1>Comparison</h1>"
    assert "sandbox" in reply.headers["content-security-policy"]
    assert httpx2.get(f"{base}/comparison.png").headers["content-type"] == "image/png"
    for name in ("weights.safetensors", "link.html", "nothing.html", "../cpt/report.json", ""):
        assert httpx2.get(f"{base}/{quote(name, safe='')}").status_code == 404


@pytest.mark.parametrize("path", ["nobody", "first/nobody", "first/cpt/nothing", ".lock/x", "alone/first", "first/.x"])
def test_unknown_runs_and_jobs_are_404(served: Served, path: str) -> None:
    reply = httpx2.get(f"{served.url}/v1/studio/runs/{path}")
    assert reply.status_code == 404
    assert "message" in reply.json()["error"]


STEPS = st.lists(
    st.sampled_from(["..", ".", "", "first", "report", "secret.txt", "link.html", "%2e%2e", "..%2f", "\x00", "~"])
    | st.text(max_size=4),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
@example(steps=["..", "..", "..", "secret.txt"])
@example(steps=["link.html"])
def test_no_path_leaves_the_folder(served: Served, steps: list[str]) -> None:
    """Sent byte by byte, because clients tidy paths up before they send them."""
    parts = urlsplit(served.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    raw = "/".join(steps).encode("utf-8", "surrogatepass")
    for path in (quote(raw, safe="/.%~"), quote(raw, safe="")):
        connection.request("GET", f"/v1/studio/runs/first/report/files/{path}")
        reply = connection.getresponse()
        assert SECRET not in reply.read().decode("utf-8", "replace")
        assert reply.status in (200, 404, 405)
    connection.close()


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_below_finds_what_is_there_and_nothing_else(served: Served, steps: list[str]) -> None:
    name = "/".join(steps)
    found = below(served.runs, name)
    if found is None:
        # The oracle for "should have been found": a plain listing of everything that is no link.
        everything = {path.relative_to(served.runs).as_posix() for path in served.runs.rglob("*")}
        assert name not in everything or (served.runs / name).is_symlink()
    else:
        assert found.exists()
        assert served.runs.resolve() in found.resolve().parents


def test_below_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert below(tmp_path / "nothing", "x") is None
