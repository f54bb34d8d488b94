"""Looks at rows, lineage, rows of tests, presets, lines of logs: what pages ask the API for."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support_studio import LINES, Served

from loglore.api.presets import PRESETS
from loglore.runs.files import read_json
from loglore.train import hyperparameters

LOGS = [{"path": "app.log"}]


def _post(served: Served, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    reply = httpx2.post(f"{served.url}/v1/studio{path}", json=body, timeout=60)
    assert reply.status_code == status, reply.text
    found: dict[str, Any] = reply.json()
    return found


def _stored(served: Served, rows: list[dict[str, Any]]) -> str:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    sent = {"file": ("rows.jsonl", content)}
    return str(httpx2.post(f"{served.url}/v1/files", files=sent, data={"purpose": "fine-tune"}).json()["id"])


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_the_published_files(name: str, repository: Path) -> None:
    published = read_json(repository / "recipes" / "hyperparameters" / f"{name}.json")
    assert hyperparameters.load(PRESETS[name]) == hyperparameters.load(published)


def test_bad_rows_are_counted_by_kind_with_their_numbers(served: Served) -> None:
    stored = _stored(served, [{"text": "fine"}, {"text": ""}, {"text": "fine"}])
    found = _post(served, "/looks/check", {"rows": stored})
    assert (found["rows"], found["faulty"]) == (2, 1)
    problems = {each["kind"]: each for each in found["problems"]}
    assert [one["row"] for one in problems["empty"]["examples"]] == [2]
    assert problems["empty"]["severity"] == "error"
    assert problems["duplicate"]["severity"] == "warning"
    _post(served, "/looks/check", {"rows": "file-000000000000000000000000"}, 404)


def test_lines_by_template_time_level_and_place(served: Served) -> None:
    def texts(**wish: Any) -> list[str]:
        return [each["text"] for each in _post(served, "/logs/lines", {"logs": LOGS, **wish})["data"]]

    assert texts() == LINES
    assert texts(levels=["error"]) == LINES[1:3]
    assert texts(since="2026-03-01T10:00:06Z", until="2026-03-01T12:00:20+02:00") == LINES[2:4]
    assert texts(around=3, context=1) == LINES[1:4]
    assert texts(limit=2, last=True) == LINES[-2:]
    template = _post(served, "/logs/lines", {"logs": LOGS})["data"][1]["template"]
    assert texts(template=template) == LINES[1:3]
    _post(served, "/logs/lines", {"logs": LOGS, "since": "yesterday"}, 400)
    _post(served, "/logs/lines", {"logs": [{"path": "../secret.txt"}]}, 404)


def test_a_digest_fits_its_budget_and_a_text_is_checked(served: Served) -> None:
    whole = _post(served, "/logs/evidence", {"logs": LOGS})
    assert (whole["lines"], whole["omitted"]["lines"]) == (len(LINES), 0)
    assert all(line in whole["text"] for line in LINES)
    small = _post(served, "/logs/evidence", {"logs": LOGS, "budget": 120, "question": LINES[1]})
    assert len(small["text"]) <= 4 * 120 and small["omitted"]["lines"] == len(LINES) - small["lines"] > 0
    assert LINES[1] in small["text"]
    _post(served, "/logs/evidence", {"logs": LOGS, "budget": 1}, 400)
    text = f"`{LINES[2]}` stands in line 3. `link on fire` is logged twice."
    claims = _post(served, "/logs/check", {"logs": LOGS, "text": text})["data"]
    quoted = next(claim for claim in claims if claim["kind"] == "quote")
    assert quoted["verdict"] == "supported"
    assert quoted["cited"] == [{"source": "app.log", "line": 3, "text": LINES[2]}]
    assert {text[claim["start"] : claim["end"]] for claim in claims if claim["verdict"] != "supported"}
    _post(served, "/logs/check", {"logs": [{"path": "none.log"}], "text": text}, 404)


def test_windows_are_counted(served: Served) -> None:
    early = [f"2026-03-01 10:00:{n:02} INFO app: request {n} served" for n in range(50)]
    late = [f"2026-03-01 11:00:{n:02} ERROR app: disk {n} full" for n in range(50)]
    sent = {"file": ("windows.log", "\n".join([*early, *late]).encode())}
    stored = httpx2.post(f"{served.url}/v1/files", files=sent, data={"purpose": "user_data"}).json()["id"]
    wish = {"logs": [{"file": stored}]}
    halves = _post(served, "/logs/windows", wish)
    assert [each["lines"] for each in halves["parts"]] == [50, 50]
    assert {(each["before"], each["after"]) for each in halves["differences"]} == {(50, 0), (0, 50)}
    later = _post(served, "/logs/windows", {**wish, "middle": "2026-03-01T10:00:40Z"})
    assert [each["lines"] for each in later["parts"]] == [40, 60]


def test_questions_go_to_named_endpoints_only_where_allowed(served: Served) -> None:
    wish = {"logs": LOGS, "question": "Why?", "endpoint": {"url": "http://127.0.0.1:9/v1"}}
    found = _post(served, "/ask", wish, 400)
    assert found["error"]["code"] == "address_refused"


def test_lineage_is_a_graph_and_unknown_versions_are_404(served: Served) -> None:
    found = httpx2.get(f"{served.url}/v1/studio/lineage/model/tiny@1").json()
    assert [node["name"] for node in found["nodes"]] == ["tiny@1"]
    assert found["edges"] == []
    assert httpx2.get(f"{served.url}/v1/studio/lineage/model/nobody").status_code == 404
    assert httpx2.get(f"{served.url}/v1/studio/jobs/job-x/rows").status_code == 404
