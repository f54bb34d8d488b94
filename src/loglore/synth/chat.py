"""Chunks of logs to conversations for fine-tuning (ShareGPT rows), split by chunk, every answer checked on the log.

    logs ── mine, cut ── chunks ── split ─┬─ test ──────┐
                                          ├─ validation ├─ task, chunk ── analyst ── grounding ── rows
                                          └─ train ─────┘

A chunk belongs to one split whatever the task, so no log line of a test row was seen in training. Crash safety is the
simplest there is: the work takes seconds, so a rerun starts anew, and each file appears whole or not at all.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import polars as pl
from pydantic import Field, model_validator

from loglore.data.frame import student_prompt
from loglore.errors import InputError
from loglore.logs import chunks, grounding, reader, templates
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.runs.spec import Spec
from loglore.synth import analyst
from loglore.synth.analyst.facts import facts_of

Task = Literal["root_cause", "summary", "patterns", "comparison", "conversation"]
SPLITS = ("test", "validation", "train")


class ChatSpec(Spec):
    """What to write about which logs.

    Attributes:
        logs: files, folders or globs.
        smallest, largest: lines of a chunk.
        seed: of chunk sizes, split and choice of rows.
        tasks: what is asked; rows are shared out evenly among them.
        turns: question and answer pairs of a conversation, where the log answers as many.
        test_chunks, validation_chunks: how many chunks are kept from training.
        test_rows, validation_rows, train_rows: at most so many rows; a split has at most chunks x tasks.
        max_chunk_characters: longer chunks are left out (and counted); None for no limit.
        limit_per_source: at most so many chunks of a log; None for all.
        numbered: whether the student's log lines begin with `L<number>|`, which lets answers cite line numbers.
    """

    logs: list[Path] = Field(min_length=1)
    smallest: int = Field(8, ge=1)
    largest: int = Field(15, ge=1)
    seed: int = 0
    tasks: list[Task] = Field(list(get_args(Task)), min_length=1)
    turns: int = Field(4, ge=2, le=20)
    test_chunks: int = Field(ge=0)
    validation_chunks: int = Field(ge=0)
    test_rows: int = Field(ge=0)
    validation_rows: int = Field(ge=0)
    train_rows: int = Field(ge=0)
    max_chunk_characters: int | None = Field(None, ge=1)
    limit_per_source: int | None = Field(None, ge=1)
    numbered: bool = False

    @model_validator(mode="after")
    def _sizes(self) -> "ChatSpec":
        if self.smallest > self.largest:
            raise ValueError(f"smallest is {self.smallest}, expected at most largest ({self.largest})")
        return self


@dataclass(frozen=True)
class Source:
    """The mined logs: rows by source, template texts by key."""

    parts: Mapping[str, pl.DataFrame]
    patterns: dict[str, str]

    def rows(self, chunk: chunks.Chunk) -> pl.DataFrame:
        """The rows of a chunk; row 0 of a source is its line 1."""
        return self.parts[chunk.source].slice(chunk.first - 1, chunk.last - chunk.first + 1)


def run(spec: ChatSpec, context: RunFolder) -> dict[str, Any]:
    """Write `chunks.jsonl`, `train.jsonl`, `validation.jsonl` and `test.jsonl`.

    Raises:
        InputError: an unreadable log, or fewer chunks than the held-out splits ask for.
    """
    mined = templates.mine(reader.read_table(spec.logs))
    source = Source(
        {part["source"][0]: part for part in mined.table.partition_by("source", maintain_order=True)},
        {template.key: template.text for template in mined.templates},
    )
    cut = chunks.cut(mined.table, spec.smallest, spec.largest, spec.seed, spec.limit_per_source)
    usable, left_out = _usable(cut, spec.max_chunk_characters)
    splits = split(usable, {"test": spec.test_chunks, "validation": spec.validation_chunks}, spec.seed)
    wanted = {"test": spec.test_rows, "validation": spec.validation_rows, "train": spec.train_rows}
    plan = {name: choose(splits[name], spec.tasks, wanted[name], spec.seed) for name in SPLITS}
    files.write_jsonl(context.path / "chunks.jsonl", _chunk_rows(splits, source))
    verdicts: Counter[str] = Counter(supported=0, contradicted=0, unverifiable=0)
    with context.progress("conversations", sum(map(len, plan.values())), "rows") as tick:
        for name, pairs in plan.items():
            files.write_jsonl(context.path / f"{name}.jsonl", _rows(pairs, spec, source, verdicts, tick))
    return {
        "outputs": {"chunks": "chunks.jsonl", **{name: f"{name}.jsonl" for name in SPLITS}},
        "chunks": {name: len(splits[name]) for name in SPLITS},
        "rows": {name: len(plan[name]) for name in SPLITS},
        "rows_wanted": wanted,
        "left_out": left_out,
        "grounding": dict(verdicts),
    }


def split(usable: Sequence[chunks.Chunk], held_out: Mapping[str, int], seed: int) -> dict[str, list[chunks.Chunk]]:
    """Give each chunk to one split.

    Held-out chunks are taken from the sources in turn, so that each service is tested, but never more than half of a
    source's chunks. The order within a split is such a round as well: any beginning of it covers the sources evenly.

    Raises:
        InputError: not enough chunks.
    """
    by_source: dict[str, list[chunks.Chunk]] = {}
    for chunk in usable:
        by_source.setdefault(chunk.source, []).append(chunk)
    for source, members in by_source.items():
        random.Random(f"{seed}:split:{PurePath(source).name}").shuffle(members)
    wanted = sum(held_out.values())
    offered = _in_turn([members[: len(members) // 2] for members in by_source.values()])
    if len(offered) < wanted:
        raise InputError(
            f"held-out chunks: {wanted} asked for, but half of each log's chunks are only {len(offered)} "
            f"({len(usable)} in all); lower test_chunks or validation_chunks, or make chunks smaller"
        )
    found: dict[str, list[chunks.Chunk]] = {}
    start = 0
    for name, count in held_out.items():
        found[name] = offered[start : start + count]
        start += count
    taken = {chunk.id for chunk in offered[:wanted]}
    found["train"] = _in_turn([[chunk for chunk in each if chunk.id not in taken] for each in by_source.values()])
    return found


def choose(
    members: Sequence[chunks.Chunk], tasks: Sequence[Task], rows: int, seed: int
) -> list[tuple[chunks.Chunk, Task]]:
    """Which task is asked of which chunk: at most `rows` pairs, even over tasks and chunks, in a seeded order."""
    pairs: list[tuple[chunks.Chunk, Task]] = []
    for number, task in enumerate(tasks):
        quota = min(rows // len(tasks) + (number < rows % len(tasks)), len(members))
        # Each task begins elsewhere, so that few rows still speak of many chunks.
        start = number * len(members) // len(tasks)
        pairs += [(members[(start + index) % len(members)], task) for index in range(quota)]
    random.Random(f"{seed}:rows").shuffle(pairs)
    return pairs


def conversation(
    pairs: Sequence[tuple[str, str]], lines: Sequence[str], first: int, numbered: bool
) -> list[dict[str, str]]:
    """ShareGPT turns of question and answer pairs; the log stands in the first human turn alone."""
    log = "\n".join(f"L{number}|{text}" for number, text in enumerate(lines, first)) if numbered else "\n".join(lines)
    turns = []
    for number, (question, answer) in enumerate(pairs):
        turns.append({"from": "human", "value": question if number else student_prompt(question, log)})
        turns.append({"from": "gpt", "value": answer})
    return turns


def _usable(cut: Sequence[chunks.Chunk], limit: int | None) -> tuple[list[chunks.Chunk], dict[str, int]]:
    kept, left_out = [], Counter({"blank": 0, "too long": 0})
    for chunk in cut:
        if not chunk.text.strip():
            left_out["blank"] += 1
        elif limit is not None and len(chunk.text) > limit:
            left_out["too long"] += 1
        else:
            kept.append(chunk)
    return kept, dict(left_out)


def _in_turn(groups: Sequence[Sequence[chunks.Chunk]]) -> list[chunks.Chunk]:
    longest = max(map(len, groups), default=0)
    return [group[index] for index in range(longest) for group in groups if index < len(group)]


def _chunk_rows(splits: Mapping[str, Sequence[chunks.Chunk]], source: Source) -> Iterator[dict[str, Any]]:
    for name in SPLITS:
        for chunk in splits[name]:
            keys = source.rows(chunk)["key"].drop_nulls().unique(maintain_order=True).to_list()
            name_of_source = PurePath(chunk.source).name
            lines = [chunk.first, chunk.last]
            yield {"id": chunk.id, "source": name_of_source, "lines": lines, "split": name, "templates": keys}


def _rows(
    pairs: Sequence[tuple[chunks.Chunk, Task]], spec: ChatSpec, source: Source, verdicts: Counter[str], tick: Tick
) -> Iterator[dict[str, Any]]:
    for chunk, task in pairs:
        table = source.rows(chunk)
        said = analyst.converse(task, facts_of(table, source.patterns, spec.numbered), spec.turns)
        index = grounding.LogIndex(table)
        counts = grounding.tally([claim for _, answer in said for claim in grounding.check(answer, index)])
        verdicts.update(counts)
        yield {
            "conversations": conversation(said, chunk.lines, chunk.first, spec.numbered),
            "meta": {
                "source": PurePath(chunk.source).name,
                "lines": [chunk.first, chunk.last],
                "chunk": chunk.id,
                "task": task,
                "language": "en",
                "teacher": "analyst",
                "prompt": analyst.VERSION,
                "grounding": counts,
            },
        }
        tick()
