"""`/v1/studio`: datasets, models, connections, jobs of every kind, keys, costs, audit; what callers may not name."""

import json
import secrets
from typing import Any

import httpx2
import openai
import pytest
from support_studio import SECRET, Served

ROWS = b'{"text": "disk full"}\n{"text": "link down"}\n'
# One client: each makes a TLS context of its own, which takes longer than a request.
OPTIONS = {"tasks": ["summary"], "test_chunks": 1, "validation_chunks": 0}
OPTIONS |= {"test_rows": 1, "validation_rows": 0, "train_rows": 1}
HTTP = httpx2.Client(timeout=60)


@pytest.fixture(scope="module")
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def call(served: Served, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    reply = HTTP.request(method, f"{served.url}/v1/studio{path}", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


def test_a_dataset_from_a_file_to_its_end(served: Served, client: openai.OpenAI) -> None:
    file = client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune").id
    made = call(served, "POST", "/datasets", {"name": "corpus", "file": file, "licence": "CC0-1.0"}, 201)
    assert (made["id"], made["format"], made["rows"], made["licence"]) == ("corpus@1", "corpus", 2, "CC0-1.0")
    assert call(served, "POST", "/datasets", {"name": "corpus", "file": file}, 201)["id"] == "corpus@1"
    rows = call(served, "GET", "/datasets/corpus/rows?first=2")["data"]
    assert rows == [{"row": 2, "value": {"text": "link down"}}]
    assert [each["id"] for each in call(served, "GET", "/datasets?name=corpus")["data"]] == ["corpus@1"]
    assert call(served, "GET", "/datasets/corpus@1")["files"][0]["bytes"] == len(ROWS)
    assert call(served, "POST", "/datasets/corpus/tags", {"tag": "good"})["tags"] == ["good"]
    assert call(served, "GET", "/datasets/corpus@good")["id"] == "corpus@1"
    assert call(served, "DELETE", "/datasets/corpus@1/tags/good")["tags"] == []
    call(served, "DELETE", "/datasets/corpus@1/tags/good", status=404)
    call(served, "POST", "/datasets/corpus@1/tags", {"tag": "7"}, 400)
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file="corpus@1",
        method={"type": "cpt"},  # type: ignore[typeddict-item]
    )
    held = call(served, "DELETE", "/datasets/corpus@1", status=400)
    assert job.id in held["error"]["message"]
    client.fine_tuning.jobs.cancel(job.id)
    assert call(served, "DELETE", "/datasets/corpus@1")["deleted"] is True
    call(served, "GET", "/datasets/corpus", status=404)
    bad = client.files.create(file=("bad.jsonl", ROWS + b'{"text": 1}\n'), purpose="fine-tune").id
    told = call(served, "POST", "/datasets", {"name": "bad", "file": bad}, 400)["error"]["message"]
    assert "row 3" in told
    assert str(served.home) not in told


def test_a_models_files_card_and_tags(served: Served) -> None:
    files = call(served, "GET", "/models/tiny/files")["data"]
    (file,) = [each for each in files if each["path"].endswith(".gguf")]
    reply = HTTP.get(f"{served.url}/v1/studio/models/tiny@1/files/{file['path']}")
    assert len(reply.content) == file["bytes"] == int(reply.headers["content-length"])
    assert reply.headers["content-disposition"].startswith("attachment;")
    assert call(served, "POST", "/models/tiny@1/tags", {"tag": "good"})["tags"] == ["good"]
    assert call(served, "GET", "/models/tiny@good")["id"] == "tiny@1"
    assert call(served, "DELETE", "/models/tiny@1/tags/good")["tags"] == []
    call(served, "DELETE", "/models/tiny@1/tags/good", status=404)
    call(served, "POST", "/models/tiny@1/tags", {"tag": "7"}, 400)
    assert call(served, "GET", "/models")["data"][0]["id"] == "tiny@1"


@pytest.mark.parametrize("path", ["../secret.txt", "..%2f..%2fsecret.txt", "/etc/passwd", "%00", "model.json/../x"])
def test_no_other_file_can_be_downloaded(served: Served, path: str) -> None:
    reply = HTTP.get(f"{served.url}/v1/studio/models/tiny/files/{path}")
    assert reply.status_code == 404
    assert SECRET not in reply.text


def test_a_connection_shows_its_secret_to_nobody(served: Served) -> None:
    secret = secrets.token_hex(16)
    body = {"name": "logs", "bucket": "logs", "key_id": "AK", "secret": secret}
    made = call(served, "POST", "/connections", body, 201)
    shown = [made, call(served, "GET", "/connections"), call(served, "GET", "/connections/logs")]
    shown += [call(served, "POST", "/connections", body, 400), call(served, "GET", "/audit")]
    wrong = {**body, "name": "Not A Name", "secret": secret}
    shown.append(call(served, "POST", "/connections", wrong, 400))
    assert secret not in json.dumps(shown)
    assert call(served, "DELETE", "/connections/logs")["deleted"] is True
    call(served, "GET", "/connections/logs", status=404)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:9000",
        "http://localhost:9000",
        "http://[::1]/",
        "http://10.0.0.8",
        "http://169.254.169.254/latest/meta-data",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://user:password@8.8.8.8/",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
        "http://8.8.8.8\r\nX: 1",
        "http://",
        "no url",
    ],
)
def test_no_endpoint_leads_into_the_servers_network(served: Served, endpoint: str) -> None:
    body = {"name": "inner", "bucket": "logs", "key_id": "AK", "secret": "s", "endpoint": endpoint}
    error = call(served, "POST", "/connections", body, 400)["error"]
    assert (error["code"], error["param"]) == ("address_refused", "endpoint")
    spec = {"dataset": "x", "endpoint": {"url": endpoint, "model": "m"}}
    error = call(served, "POST", "/jobs", {"kind": "test", "spec": spec}, 400)["error"]
    assert error["code"] == "address_refused"
    teacher = [{"url": endpoint, "model": "m"}]
    call(served, "POST", "/synthesis", {"logs": ["log:app.log"], "teacher": teacher}, 400)


def test_a_job_is_told_to_look_at_addresses_again(served: Served) -> None:
    teacher = {"url": "https://8.8.8.8/v1", "model": "m", "public_only": False}
    for given in (teacher, [teacher]):
        spec = {**OPTIONS, "logs": ["log:app.log"], "teacher": given}
        made = call(served, "POST", "/jobs", {"kind": "synth", "spec": spec}, 201)
        kept = call(served, "GET", f"/jobs/{made['id']}")["spec"]["teacher"]
        assert (kept if isinstance(kept, dict) else kept[0])["public_only"] is True
        call(served, "POST", f"/jobs/{made['id']}/cancel")


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("prepare", {"rows": "/etc/passwd"}),
        ("prepare", {"rows": "../secret.txt"}),
        ("prepare", {"logs": ["/etc/passwd"]}),
        ("prepare", {"logs": ["log:../secret.txt"]}),
        ("prepare", {"logs": ["log:link.log"]}),
        ("import", {"model": "/etc"}),
        ("train", {"stage": "cpt", "model": "tiny", "train": "x", "hyperparameters": "/etc/passwd"}),
        ("train", {"stage": "cpt", "model": "/etc", "train": "x", "hyperparameters": {}}),
        ("train", {"stage": "cpt", "model": "tiny", "train": "x", "hyperparameters": {}, "allow_pickle": True}),
        ("train", {"stage": "cpt", "model": "tiny", "train": "x", "hyperparameters": {}, "trust_remote_code": True}),
        ("test", {"model": "tiny", "dataset": "x", "harness_tasks": "file-0123456789abcdef01234567"}),
        ("test", {"dataset": "x", "endpoint": {"url": "https://8.8.8.8/v1", "model": "m", "key_env": "HOME"}}),
        ("export", {"model": "tiny", "to": "nothing"}),
        ("compare", {"tests": {"a": "/etc"}}),
        ("ask", {"gguf": "tiny", "logs": ["log:none.log"], "question": "why"}),
    ],
)
def test_what_callers_may_not_name_makes_no_job(served: Served, kind: str, spec: dict[str, Any]) -> None:
    before = call(served, "GET", "/jobs?limit=1")["first_id"]
    reply = HTTP.post(f"{served.url}/v1/studio/jobs", json={"kind": kind, "spec": spec})
    assert reply.status_code in (400, 404), reply.text
    assert SECRET not in reply.text
    assert call(served, "GET", "/jobs?limit=1")["first_id"] == before


def test_jobs_of_other_kinds_are_queued_listed_stopped_and_forgotten(served: Served) -> None:
    made = call(served, "POST", "/synthesis", {"logs": ["log:app.log"], "options": OPTIONS}, 201)
    assert (made["kind"], made["state"]) == ("synth", "queued")
    spec = {"rows": f"${{{made['id']}.train}}"}
    after = call(served, "POST", "/jobs", {"kind": "prepare", "spec": spec, "name": "corpus"}, 201)
    assert after["depends_on"] == [made["id"]]
    listed = call(served, "GET", "/jobs?kind=prepare&kind=synth&state=queued&limit=2")["data"]
    assert [each["id"] for each in listed] == [after["id"], made["id"]]
    assert [each["id"] for each in call(served, "GET", "/jobs?name=ORPU")["data"]] == [after["id"]]
    assert call(served, "GET", "/jobs?name=ORPU&kind=synth")["data"] == []
    assert call(served, "POST", f"/jobs/{made['id']}/pause")["state"] == "paused"
    assert call(served, "POST", f"/jobs/{made['id']}/cancel")["state"] == "cancelled"
    assert call(served, "GET", f"/jobs/{after['id']}")["state"] == "cancelled"
    assert call(served, "GET", f"/jobs/{made['id']}/events")["data"][0]["message"] == "job cancelled"
    assert call(served, "GET", f"/jobs/{made['id']}/metrics")["data"] == []
    assert HTTP.get(f"{served.url}/v1/studio/jobs/{made['id']}/log").content == b""
    assert call(served, "DELETE", f"/jobs/{after['id']}")["deleted"] is True
    call(served, "GET", f"/jobs/{after['id']}", status=404)


def test_what_would_be_given_twice_is_refused(served: Served) -> None:
    for options in ({"logs": ["log:deep/b.log"]}, {"teacher": "analyst"}):
        body = {"logs": ["log:app.log"], "options": {**OPTIONS, **options}}
        told = call(served, "POST", "/synthesis", body, 400)["error"]["message"]
        assert f"options.{next(iter(options))}: it belongs beside" in told


def test_an_estimate_queues_nothing(served: Served, client: openai.OpenAI) -> None:
    file = client.files.create(file=("rows.jsonl", ROWS * 20), purpose="fine-tune").id
    before = call(served, "GET", "/jobs?limit=1")["first_id"]
    body = {"model": "tiny", "training_file": file, "method": {"type": "cpt"}}
    found = call(served, "POST", "/estimates", body)
    assert found["tokens"] > 0
    assert found["steps"] >= 1
    assert call(served, "GET", "/jobs?limit=1")["first_id"] == before


def test_keys_are_made_listed_and_revoked_and_the_trail_says_so(served: Served) -> None:
    made = call(served, "POST", "/keys", {"name": "ci", "requests_per_minute": 5}, 201)
    assert made["scopes"] == ["chat"]
    listed = call(served, "GET", "/keys")
    assert made["key"] not in json.dumps(listed)
    assert "sha256" not in json.dumps(listed)
    assert call(served, "DELETE", f"/keys/{made['id']}")["state"] == "revoked"
    trail = call(served, "GET", f"/audit?target={made['id']}")["data"]
    assert [each["action"] for each in trail] == ["key.revoke", "key.create"]
    assert call(served, "GET", "/costs")["budget"] is None
    call(served, "GET", "/costs?month=2026-13", status=400)
    for body in ({"name": " "}, {"name": "x", "scopes": []}, {"name": "x", "scopes": ["root"]}):
        call(served, "POST", "/keys", body, 400)
