"""The job `test`: one model on one held-out dataset, every row's answer and scores kept.

Rows are conversations; the last assistant turn is the truth, and the model sees the true turns before it, never its
own. Answers are greedy: one answer a row, no luck. Written to the run folder: `outputs.jsonl` (grows batch by batch, so
that a killed job goes on), `rows.parquet` (input, truth, output, every score, latency, tokens) and `scores.json`.
"""

import dataclasses
import importlib.metadata
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from loglore import settings
from loglore.data import files as data_files
from loglore.data.formats import Message, to_messages
from loglore.data.frame import log_of
from loglore.data.render import render_prompt
from loglore.errors import InputError
from loglore.evaluate import bootstrap, generate, grounded, metrics
from loglore.runs import files, fingerprint
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec

SCORED_TURN = "last assistant turn, given the true turns before it"


class TestSpec(Spec):
    """Which model on which rows.

    model: folder or GGUF file. adapter: LoRA adapter, merged in memory for the job. dataset: chat rows with the truth
    as last turn. max_new_tokens: longest answer. batch_size: rows answered together; more is faster and takes more
    memory. threads: of the CPU; 0 for the settings' or the library's choice. general_text: also measure perplexity on
    general text. resamples, seed: of the bootstrap.
    """

    __test__ = False  # pytest, which collects names that begin with Test

    model: Path
    adapter: Path | None = None
    dataset: Path
    max_new_tokens: int = Field(256, ge=1)
    batch_size: int = Field(24, ge=1)
    threads: int = Field(0, ge=0)
    general_text: bool = True
    resamples: int = Field(1000, ge=100)
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Question:
    """A row ready to be asked: the messages shown, the true answer, the log in the first turn, and where it is from."""

    messages: list[Message]
    truth: str
    log: str
    chunk: str
    task: str
    source: str

    @property
    def key(self) -> str:
        """Identifies the same question with the same truth in another test run."""
        return fingerprint.of_value([self.messages, self.truth])[:16]


def run(spec: TestSpec, context: RunFolder) -> dict[str, Any]:
    """Answer all rows, score them and write the three files.

    Raises:
        InputError: a row without truth or too long for the model, no rows, no such model.
    """
    questions = read_questions(spec.dataset)
    outputs, general = _answers(spec, context, questions)
    started = time.monotonic()
    table = _table(questions, outputs)
    scores = summarize(table, spec.resamples, spec.seed) | {
        "decoding": f"greedy|max_new_tokens:{spec.max_new_tokens}|answers stripped|{SCORED_TURN}",
        "general_text": general,
        "model": {"model": str(spec.model), "adapter": str(spec.adapter) if spec.adapter else None},
        "dataset": {"path": str(spec.dataset), "sha256": fingerprint.of_file(spec.dataset)},
        **generate.throughput(outputs, spec.batch_size),
        "software": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")},
    }
    with files.replacing(context.path / "rows.parquet") as partial:
        table.write_parquet(partial)
    files.write_json(context.path / "scores.json", scores)
    context.event("scored", rows=len(questions), seconds=round(time.monotonic() - started, 3))
    short = (
        "rows",
        "chunks",
        "scores",
        "general_text",
        "generation_s",
        "tokens",
        "tokens_per_second",
        "truncated",
        "empty",
    )
    return {"outputs": {"rows": "rows.parquet", "scores": "scores.json"}, **{name: scores[name] for name in short}}


def read_questions(path: Path) -> list[Question]:
    """Read chat rows; a row's chunk (`meta.chunk`) is what its interval is clustered by, its own row number if missing.

    Raises:
        InputError: no rows, or one without a true last answer; names the row.
    """
    questions = []
    for where, row in data_files.placed_rows(path):
        try:
            messages = to_messages(row)
        except InputError as fault:
            raise InputError(f"{where}: {fault}") from None
        meta = row.get("meta") or {}
        first = next(message["content"] for message in messages if message["role"] == "user")
        named = {name: str(meta.get(name) or "") for name in ("task", "source")}
        chunk = str(meta.get("chunk") or f"row {where.row}")
        questions.append(Question(messages[:-1], messages[-1]["content"], log_of(first), chunk, **named))
    if not questions:
        raise InputError(f"{path}: no rows to test on")
    return questions


def summarize(table: Any, resamples: int, seed: int) -> dict[str, Any]:
    """Scores with intervals, groundedness, and counts of truncated and empty answers, from the rows' table."""
    clusters = table["chunk"].to_list()
    found = bootstrap.intervals(row_scores(table), clusters, resamples, seed)
    return {
        "rows": table.height,
        "chunks": len(set(clusters)),
        "scores": {name: dataclasses.asdict(value) for name, value in found.items()},
        **grounding(table, resamples, seed),
        "truncated": int((table["finish"] == "length").sum()),
        "empty": int((table["output"] == "").sum()),
        "bootstrap": {"resamples": resamples, "seed": seed, "level": bootstrap.LEVEL, "clusters": "chunk"},
        "signatures": metrics.signatures(),
    }


def grounding(table: Any, resamples: int, seed: int, of: str = "") -> dict[str, Any]:
    """Number of claims, and share of each verdict with interval, in the answers or (`of="truth_"`) in the truth."""
    with_log = table.filter(table[f"{of}{grounded.VERDICTS[0]}"].is_not_null())
    claims = with_log.select(f"{of}{verdict}" for verdict in grounded.VERDICTS).to_numpy().astype(float)
    shares = grounded.shares(claims, with_log["chunk"].to_list(), resamples, seed)
    found = {name: dataclasses.asdict(share) if share else None for name, share in shares.items()}
    return {"claims": int(claims.sum()), "groundedness": found}


def row_scores(table: Any) -> dict[str, metrics.Floats]:
    """The per-row score arrays of `metrics.score_rows`, back from the rows' table."""
    counts = np.array(table[metrics.BLEU_COUNTS].to_list(), dtype=float)
    return {name: table[name].to_numpy() for name in metrics.NAMES} | {metrics.BLEU_COUNTS: counts}


def _answers(
    spec: TestSpec, context: RunFolder, questions: Sequence[Question]
) -> tuple[list[generate.Output], dict[str, Any] | None]:
    from loglore.models.load import attach_adapter, load_model, load_tokenizer
    from loglore.models.perplexity import general_text_perplexity

    _set_threads(spec.threads)
    tokenizer: Any = load_tokenizer(spec.model)
    if not tokenizer.chat_template:
        raise InputError(f"{spec.model}: the tokenizer has no chat template; a test job asks in chat turns")
    rendered = [render_prompt(question.messages, tokenizer) for question in questions]
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in rendered]
    model: Any = load_model(spec.model, dtype="bfloat16")
    if spec.adapter:
        model = attach_adapter(model, spec.adapter)
    limit = model.config.max_position_embeddings
    generate.check_lengths([len(prompt) for prompt in prompts], spec.max_new_tokens, limit, str(spec.dataset))
    outputs = generate.generate(
        model,
        tokenizer,
        prompts,
        context,
        max_new_tokens=spec.max_new_tokens,
        batch_size=spec.batch_size,
        identity={"model": _state(spec.model), "adapter": _state(spec.adapter) if spec.adapter else None},
    )
    return outputs, dataclasses.asdict(general_text_perplexity(model, tokenizer)) if spec.general_text else None


def _set_threads(threads: int) -> None:
    import torch

    wanted = threads or settings.load().threads
    if wanted:
        torch.set_num_threads(wanted)


def _state(path: Path) -> list[list[Any]]:
    """Names, sizes and change times of a model's files: enough to notice one that was replaced before a resumed run."""
    found = sorted(file for file in ([path] if path.is_file() else path.iterdir()) if file.is_file())
    return [[file.name, (stat := file.stat()).st_size, stat.st_mtime_ns] for file in found]


def _table(questions: Sequence[Question], outputs: Sequence[generate.Output]) -> Any:
    """One row a question: everything about it that a person or `compare` may want to look at."""
    import polars as pl

    scores = metrics.score_rows([output.text for output in outputs], [question.truth for question in questions])
    pairs = list(zip(questions, outputs, strict=True))
    claims = {
        "": [_claims(question, output.text) for question, output in pairs],
        "truth_": [_claims(question, question.truth) for question in questions],
    }
    columns: dict[str, Any] = {
        "row": range(1, len(questions) + 1),
        "key": [question.key for question in questions],
        "chunk": [question.chunk for question in questions],
        "task": [question.task for question in questions],
        "source": [question.source for question in questions],
        "turns": [sum(message["role"] == "user" for message in question.messages) for question in questions],
        "messages": [json.dumps(question.messages, ensure_ascii=False) for question in questions],
        "input": [question.messages[-1]["content"] for question in questions],
        "truth": [question.truth for question in questions],
        "output": [output.text for output in outputs],
        "finish": [output.finish for output in outputs],
        "prompt_tokens": [output.prompt_tokens for output in outputs],
        "tokens": [output.tokens for output in outputs],
        "latency_s": [output.seconds for output in outputs],
        **{name: scores[name] for name in metrics.NAMES},
        metrics.BLEU_COUNTS: scores[metrics.BLEU_COUNTS].tolist(),
    }
    for of, counts in claims.items():
        for verdict in grounded.VERDICTS:
            columns[of + verdict] = pl.Series([found.get(verdict) for found in counts], dtype=pl.Int64)
    return pl.DataFrame(columns)


def _claims(question: Question, answer: str) -> Mapping[str, int]:
    return grounded.count(answer, question.log) if question.log else {}
