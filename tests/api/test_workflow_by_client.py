"""The official `openai` client, unchanged, drives the whole workflow against a real API and a real worker process."""

import time
from typing import Any

import httpx2
import openai
import pytest
from openai.types import FileObject, Model
from openai.types.evals import RunRetrieveResponse
from openai.types.evals.runs import OutputItemListResponse
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from support_workshop import CHATS, CORPUS, ITEMS, QUICK, Workshop


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
        method={"type": "supervised", "supervised": {"hyperparameters": {**QUICK, "n_epochs": 2}}},  # type: ignore
        suffix="tiny-sft",
        seed=7,
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
    answer = client.chat.completions.create(
        model="tiny-sft@1", messages=[{"role": "user", "content": "Why 1?"}], max_tokens=4
    )
    assert answer.model
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


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
