"""Fine-tuning jobs over real HTTP, where no worker runs: what is asked for, kept, listed, followed and refused."""

import json
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from support_studio import Served

from loglore.api.fine_tuning_objects import CreateJob, requested, spec
from loglore.train.hyperparameters import Hyperparameters
from loglore.train.job import TrainSpec

# One client: each makes a TLS context of its own, which takes longer than a request.
HTTP = httpx2.Client(timeout=60)


@pytest.fixture(scope="module")
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def corpus(client: openai.OpenAI) -> str:
    return client.files.create(file=("rows.jsonl", b'{"text": "disk full"}\n'), purpose="fine-tune").id


def create(client: openai.OpenAI, file: str, values: dict[str, Any], **more: Any) -> Any:
    method: Any = {"type": "cpt", "cpt": {"hyperparameters": values}}
    return client.fine_tuning.jobs.create(model="tiny", training_file=file, method=method, **more)


def test_the_tutorials_forty_keys_go_in_and_come_out_verbatim(
    client: openai.OpenAI, corpus: str, repository: Path, served: Served
) -> None:
    file = repository / "recipes" / "hyperparameters" / "cpt_llama-3.1-8b_8xh100.json"
    values = json.loads(file.read_text())
    assert len(values) == 40
    job = create(client, corpus, values)
    found = HTTP.get(f"{served.url}/v1/fine_tuning/jobs/{job.id}").json()
    assert found["method"] == {"type": "cpt", "cpt": {"hyperparameters": values}}
    assert found["status"] == "queued"
    # And so does the job read them.
    spec = HTTP.get(f"{served.url}/v1/studio/jobs/{job.id}").json()["spec"]
    assert json.loads(Path(spec["hyperparameters"]).read_text()) == values


def wish(values: dict[str, Any], **more: Any) -> CreateJob:
    method = {"type": "dpo", "dpo": {"hyperparameters": values}}
    return CreateJob.model_validate({"model": "m", "training_file": "f", "method": method, **more})


def test_openais_names_are_ours_by_another_name() -> None:
    default = Hyperparameters.model_validate({}).learning_rate
    given = {"n_epochs": 4, "batch_size": "auto", "learning_rate_multiplier": 2, "beta": 0.3}
    assert requested(wish(given)) == {"epochs": 4, "learning_rate": 2 * default, "pref_beta": 0.3}
    assert requested(wish({"epochs": 2}, seed=5)) == {"epochs": 2, "seed": 5}
    assert requested(wish(dict.fromkeys(given, "auto"))) == {}


def test_nodes_and_processes_are_the_jobs() -> None:
    values = spec(wish({}, nodes=2, processes=8), "m", "rows.jsonl", None, "h.json")
    assert (values["nodes"], values["processes"]) == (2, 8)
    assert TrainSpec.parse(values | {"stage": "cpt"}, "test").nodes == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epochz": 1}, "did you mean `epochs`"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"learning_rate": "fast"}, "valid number"),
        ({"n_epochs": 1, "epochs": 2}, "given twice"),
        ({"learning_rate_multiplier": 2, "learning_rate": 1e-4}, "beside `learning_rate`"),
        ({"learning_rate_multiplier": True}, "above 0"),
        ({"resume_from_checkpoint": "/etc"}, "server's disk"),
    ],
)
def test_hyperparameters_that_are_wrong_are_named(
    client: openai.OpenAI, corpus: str, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(openai.BadRequestError) as fault:
        create(client, corpus, values)
    assert said in fault.value.message
    assert fault.value.code == "invalid_hyperparameter"
    assert str(fault.value.param).startswith("method.cpt.hyperparameters")


@pytest.mark.parametrize(
    "more",
    [
        {"method": {"type": "reinforcement"}},
        {"method": {"type": "cpt", "dpo": {}}},
        {"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]},
        {"hyperparameters": {"n_epochs": 1}, "method": {"type": "cpt"}},
        {"suffix": "Not A Name"},
        {"metadata": {"k": "v" * 513}},
        {"metadata": {"k": "\x00"}},
        {"seed": -1},
        {"nonsense": 1},
        {"depends_on": ["ftjob-x"]},
        {"model": "../../etc"},
        {"model": "ftjob-0123456789abcdef01234567:step-1"},
    ],
)
def test_other_wrong_requests_are_refused_and_leave_no_job(served: Served, corpus: str, more: dict[str, Any]) -> None:
    url = f"{served.url}/v1/fine_tuning/jobs"
    before = HTTP.get(url).json()["first_id"]
    body = {"model": "tiny", "training_file": corpus, "method": {"type": "cpt"}, **more}
    reply = HTTP.post(url, json=body)
    assert reply.status_code in (400, 404), reply.text
    assert HTTP.get(url).json()["first_id"] == before


def test_a_base_may_be_one_of_hugging_faces_hub(client: openai.OpenAI, corpus: str, served: Served) -> None:
    method: Any = {"type": "cpt"}
    job = client.fine_tuning.jobs.create(model="someone/Tiny-Llama", training_file=corpus, method=method)
    assert (job.model, job.user_provided_suffix) == ("someone/Tiny-Llama", "tiny-llama-cpt")  # type: ignore[attr-defined]
    # Recognised by the prefix: no folder of a worker is looked for.
    spec = HTTP.get(f"{served.url}/v1/studio/jobs/{job.id}").json()["spec"]
    assert spec["model"] == "hf:someone/Tiny-Llama"
    body = {"model": "someone/Tiny-Llama", "training_file": corpus, "method": method}
    told = HTTP.post(f"{served.url}/v1/studio/estimates", json=body)
    assert told.status_code == 400
    assert "not in the local cache" in told.json()["error"]["message"]
    client.fine_tuning.jobs.cancel(job.id)


def test_lists_follow_each_other_without_gaps(client: openai.OpenAI, corpus: str, served: Served) -> None:
    made = [create(client, corpus, {}, metadata={"list": "pages"}, extra_body={"priority": n}).id for n in range(5)]
    url = f"{served.url}/v1/fine_tuning/jobs"
    first = HTTP.get(url, params={"limit": 2, "metadata[list]": "pages"}).json()
    assert [each["id"] for each in first["data"]] == made[:2:-1]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (made[4], made[3], True)
    last = HTTP.get(url, params={"limit": 5, "metadata[list]": "pages", "after": made[3]}).json()
    assert [each["id"] for each in last["data"]] == made[2::-1]
    assert last["has_more"] is False
    assert first["data"][0]["priority"] == 4
    for query in ("after=ftjob-x", "limit=0", "limit=101", 'metadata["]=1', "metadata=null"):
        assert HTTP.get(f"{url}?{query}").status_code in (400, 404), query


def test_unknown_jobs_are_404_on_every_route(served: Served) -> None:
    url = f"{served.url}/v1/fine_tuning/jobs/ftjob-x"
    for path in ("", "/events", "/checkpoints", "/events?stream=true"):
        assert HTTP.get(url + path).json()["error"]["code"] == "not_found", path
    for path in ("/cancel", "/pause", "/resume"):
        assert HTTP.post(url + path).status_code == 404, path


def test_events_stream_to_the_end_and_go_on_from_any_id(client: openai.OpenAI, corpus: str, served: Served) -> None:
    job = create(client, corpus, {}).id
    client.fine_tuning.jobs.pause(job)
    client.fine_tuning.jobs.cancel(job)
    url = f"{served.url}/v1/fine_tuning/jobs/{job}/events"
    listed = HTTP.get(url).json()["data"]
    assert [each["message"] for each in listed] == ["job cancelled", "job paused", "job queued"]
    whole = HTTP.get(f"{url}?stream=true")
    assert whole.headers["content-type"].startswith("text/event-stream")
    sent = [line.removeprefix("data: ") for line in whole.text.splitlines() if line.startswith("data: ")]
    assert sent[-1] == "[DONE]"
    assert [json.loads(each) for each in sent[:-1]] == listed[::-1]
    rest = HTTP.get(f"{url}?stream=true", headers={"Last-Event-ID": listed[1]["id"]}).text
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == [f"id: {listed[0]['id']}"]
    assert HTTP.get(f"{url}?after=ftevent-x-1").status_code == 400


def test_an_idempotency_key_makes_one_job(served: Served, corpus: str) -> None:
    url = f"{served.url}/v1/fine_tuning/jobs"
    body = {"model": "tiny", "training_file": corpus, "method": {"type": "cpt"}}
    headers = {"Idempotency-Key": "once"}
    first = HTTP.post(url, json=body, headers=headers)
    again = HTTP.post(url, json=body, headers=headers)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    other = HTTP.post(url, json={**body, "seed": 1}, headers=headers)
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert HTTP.post(url, json=body, headers={"Idempotency-Key": "twice"}).json()["id"] != first.json()["id"]
    # A request that was refused leaves its key to a better one.
    refused = HTTP.post(url, json={**body, "seed": -1}, headers={"Idempotency-Key": "better"})
    assert refused.status_code == 400
    assert HTTP.post(url, json=body, headers={"Idempotency-Key": "better"}).status_code == 200
    assert HTTP.post(url, json=body, headers={"Idempotency-Key": "x" * 256}).status_code == 400


def test_what_a_job_reads_cannot_be_deleted(client: openai.OpenAI, corpus: str) -> None:
    job = create(client, corpus, {})
    with pytest.raises(openai.BadRequestError, match=job.id):
        client.files.delete(corpus)
    with pytest.raises(openai.BadRequestError, match=job.id):
        client.models.delete("tiny@1")
    client.fine_tuning.jobs.cancel(job.id)
