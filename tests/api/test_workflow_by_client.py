"""The official `openai` client, unchanged, drives the whole workflow against a real API and a real worker process."""

import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from openai.types import FileObject, Model
from openai.types.evals import RunRetrieveResponse
from openai.types.evals.runs import OutputItemListResponse
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from support_workshop import CHATS, CORPUS, ITEMS, QUICK, Workshop

LORA = {"training_type": "lora", "lora_rank": 2, "lora_alpha": 4}


def raw(workshop: Workshop, path: str) -> Any:
    """An answer as it is, for a strict look at it."""
    return httpx2.get(f"{workshop.url}/v1{path}", timeout=60).raise_for_status().json()


def test_upload_pretrain_finetune_evaluate_chat(workshop: Workshop) -> None:
    client = workshop.client
    corpus = workshop.stored(CORPUS, name="corpus.jsonl")
    FileObject.model_validate(raw(workshop, f"/files/{corpus}"), strict=True)
    method: Any = {"type": "cpt", "cpt": {"hyperparameters": {**QUICK, "epochs": 1, "learning_rate": 1e-3}}}
    pretrained = client.fine_tuning.jobs.create(
        model="tiny@1", training_file=corpus, method=method, suffix="tiny-logs", metadata={"team": "sre"}
    )
    assert pretrained.id.startswith("ftjob-")
    done = workshop.wait(pretrained.id)
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model == "tiny-logs@1"
    assert done.trained_tokens > 0
    assert client.models.retrieve("tiny-logs@1").id == "tiny-logs@1"

    chats = workshop.stored(CHATS, name="chats.jsonl")
    supervised = client.fine_tuning.jobs.create(
        model="tiny-logs@1",
        training_file=chats,
        validation_file=chats,
        method={"type": "supervised", "supervised": {"hyperparameters": {**QUICK, "n_epochs": 2, **LORA}}},  # type: ignore
        suffix="tiny-sft",
        seed=7,
        extra_body={"general_text": False},
    )
    done = workshop.wait(supervised.id)
    assert done.status == "succeeded", done.error
    strict = FineTuningJob.model_validate(raw(workshop, f"/fine_tuning/jobs/{supervised.id}"), strict=True)
    assert (strict.hyperparameters.n_epochs, strict.seed) == (2, 7)
    assert strict.method is not None
    assert strict.method.type == "supervised"
    check_lists(workshop, pretrained.id, supervised.id)
    check_results(client, strict)
    check_eval(workshop)
    check_answers_that_are_there(workshop)
    check_checkpoint(workshop, supervised.id)


def check_lists(workshop: Workshop, first: str, second: str) -> None:
    client = workshop.client
    assert [each.id for each in client.fine_tuning.jobs.list(limit=1)][:2] == [second, first]
    assert [each.id for each in client.fine_tuning.jobs.list(metadata={"team": "sre"})] == [first]
    # Pages of 2 follow each other without a gap, the newest first.
    numbers = [int(each.id.rpartition("-")[2]) for each in client.fine_tuning.jobs.list_events(second, limit=2)]
    assert numbers == list(range(len(numbers), 0, -1))
    rows = raw(workshop, f"/fine_tuning/jobs/{second}/events?limit=100")["data"]
    events = [FineTuningJobEvent.model_validate(row, strict=True) for row in rows]
    assert {event.type for event in events} == {"message", "metrics"}
    losses = [event.data["loss"] for event in events if event.type == "metrics" and "loss" in event.data]  # type: ignore
    assert losses
    found = raw(workshop, f"/fine_tuning/jobs/{second}/checkpoints")
    points = [FineTuningJobCheckpoint.model_validate(row, strict=True) for row in found["data"]]
    assert points
    assert points[0].metrics.train_loss == losses[0]
    assert [each.id for each in client.fine_tuning.jobs.checkpoints.list(second)] == [each.id for each in points]
    for card in raw(workshop, "/models")["data"]:
        Model.model_validate(card, strict=True)


def check_checkpoint(workshop: Workshop, lora: str) -> None:
    """A checkpoint of an adapter is a whole model: to train on and to chat with."""
    client = workshop.client
    point = client.fine_tuning.jobs.checkpoints.list(lora).data[0].fine_tuned_model_checkpoint
    assert client.models.retrieve(point).id == point
    # At a rate of next to nothing, what is trained on it is the job's own result, up to the rounding of both.
    still = {**QUICK, "n_epochs": 1, "learning_rate": 1e-12}
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": still}}
    chats = workshop.stored(CHATS[:4], name="chats.jsonl")
    again = client.fine_tuning.jobs.create(
        model=point, training_file=chats, method=method, suffix="further", extra_body={"general_text": False}
    )
    assert again.model == point
    assert workshop.wait(again.id).status == "succeeded", client.fine_tuning.jobs.retrieve(again.id).error
    hub = workshop.home / "models"
    assert largest_difference(hub / "further" / "1", hub / "tiny-sft" / "1") < 2**-7
    # It came from the model that the adapter was trained on.
    parents = [raw(workshop, f"/studio/models/{name}")["parents"] for name in ("tiny-sft@1", "further@1")]
    assert parents[0] == parents[1] != []
    with pytest.raises(openai.NotFoundError, match="has no checkpoint of step 99; it has: "):
        client.models.retrieve(f"{lora}:step-99")
    answer = client.chat.completions.create(model=point, messages=[{"role": "user", "content": "Why 1?"}], max_tokens=4)
    assert answer.model == point
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def largest_difference(one: Path, other: Path) -> float:
    from safetensors.torch import load_file

    weights = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert weights[0].keys() == weights[1].keys()
    return max(float((weights[0][name].float() - weights[1][name].float()).abs().max()) for name in weights[0])


def check_answers_that_are_there(workshop: Workshop) -> None:
    """A run of the type `jsonl`: graded without a model, from the request itself and from a file."""
    client = workshop.client
    rows = [
        {"item": {"cause": "The disk is full."}, "sample": {"output_text": "The disk is full."}},
        {"item": {"cause": "The disk is full."}, "sample": {"output_text": "No idea"}},
    ]
    criterion: Any = {
        "type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference": "{{item.cause}}",
        "operation": "eq",
    }  # fmt: skip
    schema = {"type": "object", "required": ["cause"]}
    config: Any = {"type": "custom", "item_schema": schema, "include_sample_schema": True}
    made = client.evals.create(name="given", data_source_config=config, testing_criteria=[criterion])
    file = workshop.stored(rows, purpose="evals", name="given.jsonl")
    for source in ({"type": "file_content", "content": rows}, {"type": "file_id", "id": file}):
        run = client.evals.runs.create(made.id, data_source={"type": "jsonl", "source": source})  # type: ignore
        assert (run.status, run.model, run.per_model_usage) == ("completed", "", [])
        assert (run.result_counts.total, run.result_counts.passed, run.result_counts.failed) == (2, 1, 1)
        path = f"/evals/{made.id}/runs/{run.id}"
        RunRetrieveResponse.model_validate(raw(workshop, path), strict=True)
        items = [
            OutputItemListResponse.model_validate(each, strict=True)
            for each in raw(workshop, f"{path}/output_items")["data"]
        ]
        assert [(each.status, each.sample.output[0].content) for each in items] == [
            ("pass", "The disk is full."), ("fail", "No idea"),
        ]  # fmt: skip
        with pytest.raises(openai.BadRequestError, match="is completed"):
            client.evals.runs.cancel(run.id, eval_id=made.id)
    assert [each.id for each in client.evals.runs.list(made.id, status="completed")][-1] == run.id
    assert list(client.evals.runs.list(made.id, status="failed")) == []
    for wrong, said in (
        ([{"item": {}}], "item 1: `item`: 'cause' is a required property"),
        ([rows[0], {"item": {"cause": "x"}}], "item 2: `sample.output_text`: there is no `sample`"),
    ):
        with pytest.raises(openai.BadRequestError, match=said):
            source = {"type": "file_content", "content": wrong}
            client.evals.runs.create(made.id, data_source={"type": "jsonl", "source": source})  # type: ignore
    for refused in (
        {"type": "responses", "source": {"type": "responses"}},
        {"type": "jsonl", "source": {"type": "stored_completions"}},
    ):
        with pytest.raises(openai.BadRequestError):
            client.evals.runs.create(made.id, data_source=refused)  # type: ignore
    client.evals.delete(made.id)
    assert not list((workshop.home / "evals").iterdir())


def check_results(client: openai.OpenAI, job: FineTuningJob) -> None:
    (file,) = job.result_files
    assert client.files.retrieve(file).purpose == "fine-tune-results"
    lines = client.files.content(file).text.splitlines()
    assert lines[0].startswith("step,loss")
    assert len(lines) > 2


def check_eval(workshop: Workshop) -> None:
    client = workshop.client
    items = workshop.stored(ITEMS, purpose="evals", name="items.jsonl")
    made = client.evals.create(
        name="causes",
        data_source_config={"type": "custom", "item_schema": {"type": "object"}, "include_sample_schema": True},
        testing_criteria=[
            {
                "type": "text_similarity",
                "name": "close",
                "input": "{{sample.output_text}}",
                "reference": "{{item.cause}}",
                "evaluation_metric": "fuzzy_match",
                "pass_threshold": 0.99,
            },
            {
                "type": "string_check",
                "name": "other",
                "input": "{{sample.output_text}}",
                "reference": "nothing like it",
                "operation": "ne",
            },
        ],
    )
    run = client.evals.runs.create(
        made.id,
        name="first",
        data_source={
            "type": "completions",
            "model": "tiny-sft@1",
            "source": {"type": "file_id", "id": items},
            "input_messages": {
                "type": "template",
                "template": [{"role": "user", "content": "Why? {{item.log}}"}],
            },
            "sampling_params": {"max_completion_tokens": 5, "temperature": 0, "seed": 3},
        },
    )
    while (run := client.evals.runs.retrieve(run.id, eval_id=made.id)).status in ("queued", "in_progress"):
        time.sleep(0.2)
    assert run.status == "completed", run.error
    assert run.result_counts.total == 4
    assert {each.testing_criteria: each.passed for each in run.per_testing_criteria_results} == {"close": 0, "other": 4}
    path = f"/evals/{made.id}/runs/{run.id}"
    strict = RunRetrieveResponse.model_validate(raw(workshop, path), strict=True)
    assert strict.per_model_usage[0].completion_tokens > 0
    scores = raw(workshop, path)["scores"]["rougeL"]
    assert scores["low"] <= scores["value"] <= scores["high"]
    listed = list(client.evals.runs.output_items.list(run.id, eval_id=made.id, limit=3))
    assert [each.datasource_item["log"] for each in listed] == [row["item"]["log"] for row in ITEMS]
    for row in raw(workshop, f"{path}/output_items")["data"]:
        item = OutputItemListResponse.model_validate(row, strict=True)
        assert item.sample.input[0].content.startswith("Why? ERROR disk")
        assert item.sample.max_completion_tokens == 5
    assert list(client.evals.runs.output_items.list(run.id, eval_id=made.id, status="pass")) == []
    client.evals.runs.delete(run.id, eval_id=made.id)
    client.evals.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.evals.retrieve(made.id)


def test_a_client_that_leaves_in_the_middle_of_a_file_is_no_fault_of_the_server(workshop: Workshop) -> None:
    parts = urlsplit(workshop.url)
    head = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head + b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine')
    # Answered after it: the log, which the fixture reads at the end, has what became of it by then.
    assert workshop.client.files.list(limit=1) is not None


def test_pause_resume_cancel_of_running_and_queued_jobs(workshop: Workshop) -> None:
    client = workshop.client
    corpus = workshop.stored(CORPUS)
    method: Any = {"type": "cpt", "cpt": {"hyperparameters": {**QUICK, "epochs": 400}}}
    running = client.fine_tuning.jobs.create(model="tiny", training_file=corpus, method=method, suffix="long")
    waiting = client.fine_tuning.jobs.create(model="tiny", training_file=corpus, method=method)
    until(client, running.id, lambda job: job.status == "running" and has_steps(client, job.id))
    assert client.fine_tuning.jobs.pause(waiting.id).status == "paused"
    assert client.fine_tuning.jobs.resume(waiting.id).status == "queued"
    assert client.fine_tuning.jobs.cancel(waiting.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        client.fine_tuning.jobs.resume(waiting.id)
    client.fine_tuning.jobs.pause(running.id)
    until(client, running.id, lambda job: job.status == "paused")
    client.fine_tuning.jobs.resume(running.id)
    until(client, running.id, lambda job: job.status == "running")
    client.fine_tuning.jobs.cancel(running.id)
    until(client, running.id, lambda job: job.status == "cancelled")
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.cancel(running.id)
    trail = raw(workshop, f"/studio/audit?target={running.id}")["data"]
    assert [each["action"] for each in trail] == ["job.cancel", "job.resume", "job.pause", "job.create"]


def has_steps(client: openai.OpenAI, job: str) -> bool:
    return any(event.type == "metrics" for event in client.fine_tuning.jobs.list_events(job, limit=5).data)


def until(client: openai.OpenAI, job: str, holds: Any) -> None:
    deadline = time.monotonic() + 120
    while not holds(found := client.fine_tuning.jobs.retrieve(job)):
        assert time.monotonic() < deadline, found
        assert found.status != "failed", found.error
        time.sleep(0.1)
