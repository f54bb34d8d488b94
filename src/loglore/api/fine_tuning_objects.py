"""Fine-tuning between two shapes: OpenAI's objects, and our train jobs with their 40 hyperparameters.

    method.type   stage   rows
    cpt           cpt     corpus, nlplog                          (ours, not OpenAI's)
    supervised    sft     alpaca, sharegpt, openai-chat, nlplog
    dpo           dpo     sharegpt-dpo

A method's `hyperparameters` are the JSON of 40 keys, verbatim; OpenAI's four names are read, too: `n_epochs` as
`epochs`, `beta` as `pref_beta`, `batch_size`, and `learning_rate_multiplier`, which multiplies the default rate. Their
`"auto"` means the default. Nothing here touches a database or a disk.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from loglore.api.errors import ApiError
from loglore.api.plain import Values, check
from loglore.api.wishes import Strict
from loglore.errors import InputError
from loglore.runs.spec import unknown_key
from loglore.store.events import Event
from loglore.store.jobs import Job
from loglore.train import hyperparameters
from loglore.train.hyperparameters import Hyperparameters

STAGES = {"cpt": "cpt", "supervised": "sft", "dpo": "dpo"}
METHODS = {stage: method for method, stage in STAGES.items()}
FORMATS = {
    "cpt": ("corpus", "nlplog"),
    "supervised": ("sharegpt", "openai-chat", "alpaca", "nlplog"),
    "dpo": ("sharegpt-dpo",),
}
ORGANIZATION = "loglore"
ALIASES = {"n_epochs": "epochs", "beta": "pref_beta"}
MULTIPLIER = "learning_rate_multiplier"
AUTO = "auto"
DEFAULTS = Hyperparameters.model_validate({})

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
    AfterValidator(check),
]


class MethodBody(Strict):
    """The hyperparameters of a method: the 40 keys, or OpenAI's names."""

    hyperparameters: Values = Field(default_factory=dict, examples=[{"epochs": 3, "learning_rate": 5e-5}])


class Method(Strict):
    """How to train; the field of the same name as `type` holds the hyperparameters."""

    type: Literal["cpt", "supervised", "dpo"]
    cpt: MethodBody | None = None
    supervised: MethodBody | None = None
    dpo: MethodBody | None = None

    @model_validator(mode="after")
    def _own_body_only(self) -> "Method":
        for name in STAGES:
            if name != self.type and getattr(self, name) is not None:
                raise ValueError(f"method.{name}: the type of the method is {self.type}")
        return self

    @property
    def values(self) -> dict[str, Any]:
        """The hyperparameters as they were sent."""
        body: MethodBody | None = getattr(self, self.type)
        return body.hyperparameters if body else {}


class CreateJob(Strict):
    """OpenAI's request for a fine-tuning job.

    model: a model of the hub, `name` or `name@version`, or a checkpoint of an earlier job. training_file,
    validation_file: ids of files with the purpose `fine-tune`, or datasets of the hub. suffix: name of the result in
    the hub. hyperparameters: the older place for those of the method `supervised`. Beyond OpenAI's: priority (-100 to
    100), depends_on (ids of jobs that must succeed first), gpus, max_tokens (of training rows), general_text (measure
    perplexity on general text before and after), replay (share of general text in pretraining), long_rows (what happens
    to chat rows that are too long), processes (training processes on a machine), nodes (machines, where the worker has
    a Ray cluster do its jobs), price_per_gpu_hour (dollars).
    """

    model: str = Field(min_length=1, max_length=200, examples=["llama@1"])
    training_file: str = Field(min_length=1, max_length=200, examples=["file-0123456789abcdef01234567"])
    validation_file: str | None = Field(None, min_length=1, max_length=200)
    method: Method | None = None
    hyperparameters: Values | None = None
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    suffix: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", examples=["logs-sft"])
    metadata: Metadata | None = None
    integrations: None = Field(None, description="refused: name a tracker in a train job of /v1/studio/jobs")
    priority: int = Field(0, ge=-100, le=100)
    depends_on: list[str] = Field(default_factory=list, max_length=100)
    gpus: int | None = Field(None, ge=0, le=1024)
    max_tokens: int | None = Field(None, ge=1, lt=2**53)
    general_text: bool | None = None
    replay: float | None = Field(None, ge=0, lt=1)
    long_rows: str | None = None
    processes: int | None = Field(None, ge=1, le=1024)
    nodes: int | None = Field(None, ge=1, le=1024)
    price_per_gpu_hour: float | None = Field(None, ge=0, le=1e6)

    @model_validator(mode="after")
    def _one_place(self) -> "CreateJob":
        if self.hyperparameters is not None and self.method is not None:
            raise ValueError("hyperparameters: they belong into `method` when there is one")
        return self

    @property
    def kind(self) -> str:
        """The method's type; OpenAI's default is `supervised`."""
        return self.method.type if self.method else "supervised"

    @property
    def values(self) -> dict[str, Any]:
        """The hyperparameters as they were sent."""
        return self.method.values if self.method else self.hyperparameters or {}


def requested(wish: CreateJob) -> dict[str, Any]:
    """The keys of the contract that a request asks for, checked against their ranges; others take the default.

    Raises:
        ApiError: 400 that names the key and what was expected.
    """
    found: dict[str, Any] = {}
    for key, value in wish.values.items():
        name = ALIASES.get(key, key)
        if key != name and name in wish.values:
            raise _bad(wish, key, f"given twice, as `{key}` and `{name}`")
        if value != AUTO and key != MULTIPLIER:
            found[name] = value
    multiplier = wish.values.get(MULTIPLIER, AUTO)
    if multiplier != AUTO:
        found["learning_rate"] = _multiplied(wish, multiplier)
    if wish.seed is not None:
        if found.get("seed", wish.seed) != wish.seed:
            raise _bad(wish, "seed", f"{found['seed']} here and {wish.seed} beside the method")
        found["seed"] = wish.seed
    known = Hyperparameters.model_fields
    for key in found:
        if key not in known:
            raise _bad(wish, key, unknown_key(key, [*known, *ALIASES, MULTIPLIER]))
    if isinstance(found.get("resume_from_checkpoint"), str):
        raise _bad(wish, "resume_from_checkpoint", "a path is of the server's disk; name a checkpoint as `model`")
    try:
        hyperparameters.load(found)
    except InputError as fault:
        text = str(fault).removeprefix("hyperparameters: ")
        raise ApiError(400, f"{_place(wish)}: {text}", "invalid_hyperparameter", _place(wish)) from None
    return found


def _multiplied(wish: CreateJob, multiplier: Any) -> float:
    if "learning_rate" in wish.values:
        raise _bad(wish, MULTIPLIER, "given beside `learning_rate`")
    number = isinstance(multiplier, (int, float)) and not isinstance(multiplier, bool)
    if not number or not 0 < multiplier < math.inf:
        raise _bad(wish, MULTIPLIER, "expected a number above 0")
    return float(DEFAULTS.learning_rate * multiplier)


def _place(wish: CreateJob) -> str:
    return f"method.{wish.kind}.hyperparameters" if wish.method else "hyperparameters"


def _bad(wish: CreateJob, key: str, text: str) -> ApiError:
    param = f"{_place(wish)}.{key}"
    return ApiError(400, f"{param}: {text}", "invalid_hyperparameter", param)


def spec(wish: CreateJob, model: str, train: str, validation: str | None, file: str) -> dict[str, Any]:
    """Values of a train job: paths of the base, the rows, and the file that `requested` was written to."""
    found: dict[str, Any] = {"stage": STAGES[wish.kind], "model": model, "train": train, "hyperparameters": file}
    if validation is not None:
        found["validation"] = validation
    more = ("max_tokens", "general_text", "replay", "long_rows", "processes", "nodes", "price_per_gpu_hour")
    return found | {name: value for name in more if (value := getattr(wish, name)) is not None}


@dataclass(frozen=True)
class Shown:
    """What an object shows beyond the job's row.

    Attributes:
        request: the request's body, empty for a job that was not made through this API.
        values: the 40 keys as far as they were asked for.
        cost: GPU-seconds and dollars.
        finish: when it will be done, seconds since 1970; None when nothing is known.
    """

    request: Mapping[str, Any]
    values: Mapping[str, Any]
    cost: Mapping[str, float]
    finish: float | None = None


def job_object(job: Job, shown: Shown) -> dict[str, Any]:
    """A `fine_tuning.job`; `status` may also be `paused`, `method.type` also `cpt`.

    Beyond OpenAI's fields: `priority`, `depends_on`, `cost`, `report`, `note`, `attempts`, `wanted`.
    """
    method = shown.request.get("method", {}).get("type") or METHODS.get(str(job.spec.get("stage")), "supervised")
    effective = Hyperparameters.model_validate(dict(shown.values))
    published = published_as(job)
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created),
        "finished_at": int(job.ended) if job.ended and job.state in ("succeeded", "failed", "cancelled") else None,
        "status": job.state,
        "error": error_object(job),
        "model": shown.request.get("model") or str(job.spec.get("model")),
        "fine_tuned_model": published,
        "organization_id": ORGANIZATION,
        "result_files": [results_id(job.id)] if job.state == "succeeded" else [],
        "training_file": shown.request.get("training_file") or str(job.spec.get("train")),
        "validation_file": shown.request.get("validation_file") or job.spec.get("validation"),
        "hyperparameters": {
            "n_epochs": effective.epochs,
            "batch_size": effective.batch_size,
            "learning_rate_multiplier": effective.learning_rate / DEFAULTS.learning_rate,
        },
        "method": {"type": method, method: {"hyperparameters": dict(shown.values)}},
        "seed": effective.seed,
        "trained_tokens": (job.report or {}).get("tokens") if job.state == "succeeded" else None,
        "estimated_finish": int(shown.finish) if shown.finish is not None else None,
        "integrations": [],
        "metadata": dict(job.metadata),
        "user_provided_suffix": job.publish,
        "priority": job.priority,
        "depends_on": list(job.needs),
        "attempts": job.attempts,
        "wanted": job.wanted,
        "note": job.note,
        "cost": dict(shown.cost),
        "report": summary(job.report),
    }


def error_object(job: Job) -> dict[str, Any] | None:
    """`code`, `message`, `param` of a job that failed, or that waits because of a fault (a full disk, the budget)."""
    if job.error is None:
        return None
    return {"code": job.error_code or "job_failed", "message": job.error, "param": None}


def published_as(job: Job) -> str | None:
    """The name of what a job published in the hub; None while there is nothing."""
    published = (job.report or {}).get("job", {}).get("published")
    return str(published) if published and job.state == "succeeded" else None


def summary(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The figures of a training report that a client shows."""
    names = ("steps", "samples", "tokens", "seconds", "tokens_per_second", "loss", "eval_loss", "perplexity")
    return {name: report[name] for name in names if name in report} if report else None


def results_id(job_id: str) -> str:
    """The id under which a job's metrics are a file: `file-results-…`."""
    return f"file-results-{job_id.removeprefix('ftjob-')}"


def event_object(event: Event) -> dict[str, Any]:
    """A `fine_tuning.job.event`; metrics of a step are its `data`."""
    return {
        "id": event_id(event.job, event.number),
        "object": "fine_tuning.job.event",
        "created_at": int(event.time),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": dict(event.data) if event.data is not None else None,
    }


def event_id(job_id: str, number: int) -> str:
    """The id of an event, from which `event_number` reads its place."""
    return f"ftevent-{job_id.removeprefix('ftjob-')}-{number}"


def event_number(job_id: str, given: str) -> int:
    """The number of an event's id.

    Raises:
        ApiError: 400, it is no event of this job.
    """
    prefix = event_id(job_id, 0)[:-1]
    number = given.removeprefix(prefix)
    if not given.startswith(prefix) or not number.isdecimal() or not number.isascii() or len(number) > 9:
        raise ApiError(400, f"after: {given!r} is no event of {job_id}", "invalid_value", "after")
    return int(number)


def checkpoint_object(job_id: str, step: int, written: float, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A `fine_tuning.job.checkpoint` of a published step, with the last metrics up to it.

    Args:
        job_id: the job.
        step: optimizer step.
        written: when, in seconds since 1970.
        rows: of `metrics.jsonl`.
    """
    losses = [row for row in rows if row["step"] <= step and "loss" in row]
    evaluations = [row["eval_loss"] for row in rows if row["step"] <= step and "eval_loss" in row]
    metrics: dict[str, Any] = {"step": step}
    if losses:
        metrics["train_loss"] = losses[-1]["loss"]
    if evaluations:
        metrics["valid_loss"] = metrics["full_valid_loss"] = evaluations[-1]
    return {
        "id": f"ftckpt-{job_id.removeprefix('ftjob-')}-{step}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(written),
        "fine_tuned_model_checkpoint": checkpoint_name(job_id, step),
        "fine_tuning_job_id": job_id,
        "step_number": step,
        "metrics": metrics,
    }


def checkpoint_name(job_id: str, step: int) -> str:
    """How a later job names a checkpoint as its `model`."""
    return f"{job_id}:step-{step}"


def metrics_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The result file of a job: one line a step, as OpenAI's `step_metrics.csv`."""
    names = ("step", "loss", "eval_loss", "learning_rate", "grad_norm", "tokens", "seconds")
    lines = [",".join("" if row.get(name) is None else str(row[name]) for name in names) for row in rows]
    return "\n".join([",".join(names), *lines]) + "\n"
