"""The job `test`: one model version or endpoint on one held-out dataset, every row's answer and scores kept.

Rows are conversations; every assistant turn (or the last one) is a truth, and the model sees the true turns before it,
never its own. Written to the run folder, each row as it is answered, so that a killed job goes on: `outputs.jsonl` (in
this process) or `answers.jsonl` and `outcomes.jsonl` (endpoint); at the end `rows.parquet` (input, truth, output, every
score, latency, tokens) and `scores.json`.
"""

import dataclasses
import importlib.metadata
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from loglore import settings
from loglore.data.render import render_prompt
from loglore.endpoint.target import Target
from loglore.errors import InputError, JobError
from loglore.evaluate import asking, generate, harness, metrics, questions, rows, suites, summary
from loglore.evaluate.questions import Question
from loglore.runs import files, fingerprint
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec

_LOCAL = ("adapter", "batch_size", "threads", "general_text", "harness")
_SHORT = (
    "rows",
    "chunks",
    "unanswered",
    "scores",
    "measures",
    "general_text",
    "generation_s",
    "tokens",
    "tokens_per_second",
    "truncated",
    "empty",
)


class TestSpec(Spec):
    """Which model on which rows.

    model: folder or GGUF file, run in this process; endpoint: instead, an OpenAI-compatible URL. replicas: further URLs
    that serve the same model; each takes the next question when it is free, so that they share the rows. adapter: LoRA
    adapter, merged in memory for the job. dataset: chat rows with the truth as answers, or a folder of splits, of which
    only the file of `split` is read. turns: score `all` assistant turns or the `last`. suite: `own` rows as they are,
    or `logs`: the five log tasks, recognised by their instructions. tasks, rows_per_task: which rows of it.
    max_new_tokens: longest answer. temperature: 0 is greedy. top_p: share of probability sampled from. stop: texts that
    end an answer. system: system message instead of the rows' own. batch_size: rows answered together; more is faster
    and takes more memory. threads: of the CPU; 0 for the settings' or the library's choice. general_text: also measure
    perplexity on general text. harness: tasks of the LM Evaluation Harness to run as well (extra `harness`);
    harness_tasks: folder of task files of your own; harness_limit: samples a task. resamples: of the bootstrap; seed:
    of bootstrap, sampling and drawn rows.
    """

    __test__ = False  # pytest, which collects names that begin with Test

    model: Path | None = None
    endpoint: Target | None = None
    replicas: list[str] = Field(default_factory=list, max_length=1024)
    adapter: Path | None = None
    dataset: Path
    split: str = "test"
    turns: questions.Turns = "all"
    suite: Literal["own", "logs"] = "own"
    tasks: list[str] = Field(default_factory=list)
    rows_per_task: int | None = Field(None, ge=1)
    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    stop: list[str] = Field(default_factory=list, max_length=4)
    system: str | None = None
    batch_size: int = Field(24, ge=1)
    threads: int = Field(0, ge=0)
    general_text: bool = True
    harness: list[str] = Field(default_factory=list)
    harness_tasks: Path | None = None
    harness_limit: int | None = Field(None, ge=1)
    resamples: int = Field(1000, ge=100)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> "TestSpec":
        if (self.model is None) == (self.endpoint is None):
            raise ValueError("expected `model` (in this process) or `endpoint` (a URL), and not both")
        given = [name for name in _LOCAL if name in self.model_fields_set and getattr(self, name)]
        if self.endpoint is not None and given:
            raise ValueError(f"`{given[0]}` is for models in this process, not for an endpoint; leave it out")
        if self.replicas and self.endpoint is None:
            raise ValueError("`replicas` are further URLs of an `endpoint`, and there is none")
        for url in self.replicas:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ValueError(f"`replicas`: {url!r} is no URL such as https://api.example.com/v1")
        if not self.harness and (self.harness_tasks or self.harness_limit):
            raise ValueError("`harness_tasks` and `harness_limit` need `harness`, the names of tasks")
        if self.top_p < 1 and not self.temperature:
            raise ValueError(
                "`top_p` below 1 changes nothing at `temperature` 0 (greedy); set a temperature or leave it out"
            )
        if not all(self.stop):
            raise ValueError("`stop` has an empty text, which would end every answer at once")
        unknown = set(self.tasks) - set(suites.TASKS) if self.suite == "logs" else ()
        if unknown:
            raise ValueError(f"`tasks`: {min(unknown)!r} is none of the log tasks: {', '.join(suites.TASKS)}")
        return self

    @property
    def decoding(self) -> generate.Decoding:
        """How answers are made."""
        return generate.Decoding(self.max_new_tokens, self.temperature, self.top_p, tuple(self.stop), self.seed)


@dataclasses.dataclass(frozen=True)
class _Answers:
    """Outputs by question, None where there is none, why, general-text perplexity, harness tasks, what it took."""

    outputs: Sequence[generate.Output | None]
    reasons: dict[int, str]
    general_text: dict[str, Any] | None
    harness: dict[str, Any]
    speed: dict[str, Any]


def run(spec: TestSpec, context: RunFolder) -> dict[str, Any]:
    """Answer all rows, score them and write `rows.parquet` and `scores.json`.

    Raises:
        InputError: a row without truth or too long for the model, no rows, no such model or endpoint.
        JobError: the endpoint stopped answering, or answered no row.
    """
    dataset = questions.held_out(spec.dataset, spec.split)
    asked = read(spec)
    found = _by_endpoint(spec.endpoint, spec, context, asked) if spec.endpoint else _in_process(spec, context, asked)
    reasons = asking.listed(found.reasons, asked)
    if len(found.reasons) == len(asked):
        raise JobError(f"{spec.endpoint and spec.endpoint.url}: no row was answered: {reasons[0]}")
    started = time.monotonic()
    table = rows.table(asked, found.outputs)
    decoding = f"{spec.decoding.signature()}|{questions.SCORED_TURNS[spec.turns]}"
    decoding += "" if spec.system is None else f"|system:{fingerprint.of_value(spec.system)[:8]}"
    sums = summary.summarize(table, spec.resamples, spec.seed)
    scores = sums | {
        "signatures": summary.signatures(decoding),
        "not_fitting": summary.not_fitting(sums["measures"]),
        "decoding": decoding,
        "general_text": found.general_text,
        "harness": found.harness,
        "model": _named(spec),
        "dataset": {"path": str(dataset), "sha256": fingerprint.of_path(dataset)},
        "unanswered_because": reasons,
        **found.speed,
        "software": {name: _version(name) for name in ("torch", "transformers", "numpy", "openai")},
    }
    with files.replacing(context.path / "rows.parquet") as partial:
        table.write_parquet(partial)
    files.write_json(context.path / "scores.json", scores)
    context.event("scored", rows=len(asked), seconds=round(time.monotonic() - started, 3))
    result = {"outputs": {"rows": "rows.parquet", "scores": "scores.json"}, **{name: scores[name] for name in _SHORT}}
    return result | {"summary": _text(scores), "unfinished": bool(found.reasons)}


def read(spec: TestSpec) -> list[Question]:
    """The questions of a spec.

    Raises:
        InputError: as `questions.read_questions`.
    """
    return questions.read_questions(
        spec.dataset,
        spec.turns,
        split=spec.split,
        suite=spec.suite == "logs",
        tasks=spec.tasks,
        per_task=spec.rows_per_task,
        seed=spec.seed,
        system=spec.system,
    )


def _by_endpoint(target: Target, spec: TestSpec, context: RunFolder, asked: Sequence[Question]) -> _Answers:
    others = [Target.model_validate({**target.model_dump(), "url": url}) for url in spec.replicas]
    found = asking.ask([target, *others], asked, spec.decoding, context)
    return _Answers(found.outputs, found.reasons, None, {}, found.speed)


def _in_process(spec: TestSpec, context: RunFolder, asked: Sequence[Question]) -> _Answers:
    from loglore.models.load import attach_adapter, load_model, load_tokenizer
    from loglore.models.perplexity import general_text_perplexity

    assert spec.model is not None
    _set_threads(spec.threads)
    tokenizer: Any = load_tokenizer(spec.model)
    if not tokenizer.chat_template:
        raise InputError(f"{spec.model}: the tokenizer has no chat template; a test job asks in chat turns")
    rendered = [render_prompt(question.messages, tokenizer) for question in asked]
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in rendered]
    model: Any = load_model(spec.model, dtype="bfloat16")
    if spec.adapter:
        model = attach_adapter(model, spec.adapter)
    limit = model.config.max_position_embeddings
    names = [question.name for question in asked]
    generate.check_lengths([len(prompt) for prompt in prompts], spec.max_new_tokens, limit, names)
    groups = _conversations(asked)
    outputs = generate.generate(
        _placed(model),
        tokenizer,
        prompts,
        context,
        decoding=spec.decoding,
        batch_size=spec.batch_size,
        identity={"model": _state(spec.model), "adapter": _state(spec.adapter) if spec.adapter else None},
        groups=groups,
    )
    general = dataclasses.asdict(general_text_perplexity(model, tokenizer)) if spec.general_text else None
    speed = generate.throughput(outputs, spec.batch_size, groups)
    return _Answers(outputs, {}, general, _harness(spec, model, tokenizer), speed)


def _harness(spec: TestSpec, model: Any, tokenizer: Any) -> dict[str, Any]:
    if not spec.harness:
        return {}
    return harness.measure(
        model,
        tokenizer,
        spec.harness,
        folder=spec.harness_tasks,
        limit=spec.harness_limit,
        batch_size=spec.batch_size,
        seed=spec.seed,
    )


def _conversations(asked: Sequence[Question]) -> list[int] | None:
    """Which questions are turns of one row, by number; None when no row has two."""
    numbers = {place: number for number, place in enumerate(dict.fromkeys(question.place for question in asked))}
    return [numbers[question.place] for question in asked] if len(numbers) < len(asked) else None


def _placed(model: Any) -> Any:
    """The model on the GPU, where there is one."""
    import torch

    return model.to("cuda") if torch.cuda.is_available() else model


def _set_threads(threads: int) -> None:
    import torch

    wanted = threads or settings.load().threads
    if wanted:
        torch.set_num_threads(wanted)


def _state(path: Path) -> list[list[Any]]:
    """Names, sizes and change times of a model's files: enough to notice one that was replaced before a resumed run."""
    found = sorted(file for file in ([path] if path.is_file() else path.iterdir()) if file.is_file())
    return [[file.name, (stat := file.stat()).st_size, stat.st_mtime_ns] for file in found]


def _named(spec: TestSpec) -> dict[str, Any]:
    if spec.endpoint is not None:
        return {"model": f"{spec.endpoint.model} at {spec.endpoint.url}", "adapter": None}
    return {"model": str(spec.model), "adapter": str(spec.adapter) if spec.adapter else None}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(scores: dict[str, Any]) -> str:
    """The scores as lines for a terminal."""
    from loglore.evaluate.measures import BY_NAME

    labels = metrics.LABELS | {name: measure.label for name, measure in BY_NAME.items()}
    shown = scores["scores"] | scores["measures"]
    lines = [
        f"{labels[name]:<20} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
        + (f"  ({value['rows']} rows)" if value.get("rows", scores["rows"]) != scores["rows"] else "")
        for name, value in shown.items()
    ]
    if scores["general_text"]:
        lines.append(f"{'General perplexity':<20} {scores['general_text']['perplexity']:.2f}")
    lines.append(
        f"{scores['rows']} answers asked for, {scores['unanswered']} without one, {scores['truncated']} cut off, "
        f"{scores['empty']} empty; {scores['tokens']:,} tokens in {scores['generation_s']:.1f} s"
    )
    return "\n".join([*lines, *(f"No answer: {line}" for line in scores["unanswered_because"])])
