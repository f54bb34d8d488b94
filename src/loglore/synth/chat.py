"""Logs to conversations for fine-tuning (ShareGPT rows), split by chunk, every answer checked on the log.

    logs ── mine, cut ── chunks ── split ─┬─ test ──────┐                  ┌─ analyst ───┐
                                          ├─ validation ├─ task, material ─┤             ├─ gate ── clean ── rows
                                          └─ train ─────┘                  └─ endpoints ─┘

A chunk belongs to one split whatever the task, so no log line of a test row was seen in training. Files appear whole or
not at all. The analyst's rows take seconds, so a rerun makes them anew; answers of endpoints are kept as they arrive,
under LOGLORE_HOME, and survive a change of the spec: only what is asked differently is asked again.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import Field, model_validator

from loglore.data.files import read_rows
from loglore.data.frame import log_of
from loglore.endpoint.items import Tally
from loglore.errors import InputError
from loglore.logs import chunks, reader, templates
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.runs.spec import Spec, unknown_key
from loglore.synth import analyst, asking, prompts, rows, writers
from loglore.synth.clean import Cleaner
from loglore.synth.material import Digests, Source

SPLITS = ("test", "validation", "train")
NAMES = {
    "jsonl": {"train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl", "mini": "mini.jsonl"},
    "tutorial": {
        "train": "train_no_json.json",
        "validation": "val_no_json.json",
        "test": "test_no_json.json",
        "mini": "train_no_json_mini.json",
    },
}
REMOVED, FAILURES = "removed.jsonl", "failures.jsonl"


class ChatSpec(Spec):
    """What to write about which logs.

    Attributes:
        logs: files, folders or globs.
        smallest, largest: lines of a chunk.
        seed: of chunk sizes, split, choice of rows, digests and answers.
        tasks: what is asked; rows are shared out evenly among them. Built in: those of the default and `alert`.
        prompts: folder of task files of your own, added to the built-in ones or in their place (`synth.prompts`).
        turns: question and answer pairs of a conversation; the analyst writes as many as the log answers.
        test_chunks, validation_chunks: how many chunks are kept from training.
        test_rows, validation_rows, train_rows: at most so many rows; a split has at most chunks x tasks.
        mini_rows: also write a seeded subset of so many training rows; None for none.
        max_chunk_characters: longer chunks are left out (and counted); None for no limit.
        limit_per_source: at most so many chunks of a log; None for all.
        numbered: whether the student's log lines begin with `L<number>|`, which lets answers cite line numbers.
        evidence_share: share of rows, 0 to 1, that show the digest of a window of the log as the chat does.
        evidence_tokens: longest digest, in tokens; evidence_lines: longest window.
        tokenizer: model folder whose tokenizer counts them; None takes two bytes for a token, about right for logs.
        duplicates: leave out rows whose logs share this part of their word runs with another row of the task, or, in
            training, with a held-out row; None keeps them.
        files: names of the row files: `jsonl`, or `tutorial` (JSON arrays `train_no_json.json` …).
        teacher: `analyst`, or one endpoint or a list of them (`loglore.endpoint.target.Target`).
        language: of questions and answers: `en`, `ja` or `mix`.
        max_answer_tokens, temperature: of an endpoint's answers.
        budget_dollars, budget_tokens: stop asking before more is used.
        batches: use the endpoint's `/v1/batches`.
    """

    logs: list[Path] = Field(min_length=1)
    smallest: int = Field(8, ge=1)
    largest: int = Field(15, ge=1)
    seed: int = 0
    tasks: list[str] = Field(list(analyst.TASKS), min_length=1)
    prompts: Path | None = None
    turns: int = Field(4, ge=2, le=20)
    test_chunks: int = Field(ge=0)
    validation_chunks: int = Field(ge=0)
    test_rows: int = Field(ge=0)
    validation_rows: int = Field(ge=0)
    train_rows: int = Field(ge=0)
    mini_rows: int | None = Field(None, ge=1)
    max_chunk_characters: int | None = Field(None, ge=1)
    limit_per_source: int | None = Field(None, ge=1)
    numbered: bool = False
    evidence_share: float = Field(0.0, ge=0, le=1)
    evidence_tokens: int = Field(900, ge=64)
    evidence_lines: int = Field(2000, ge=1)
    tokenizer: Path | None = None
    duplicates: float | None = Field(None, ge=0.5, le=1)
    files: Literal["jsonl", "tutorial"] = "jsonl"
    teacher: asking.Teacher = "analyst"
    language: Literal["en", "ja", "mix"] = "en"
    max_answer_tokens: int = Field(1500, ge=16)
    temperature: float = Field(0.0, ge=0, le=2)
    budget_dollars: float | None = Field(None, gt=0)
    budget_tokens: int | None = Field(None, gt=0)
    batches: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "ChatSpec":
        if self.smallest > self.largest:
            raise ValueError(f"smallest is {self.smallest}, expected at most largest ({self.largest})")
        if self.prompts is None:
            _check_tasks(self.tasks, prompts.tasks())
        if self.teacher == []:
            raise ValueError("teacher is an empty list, expected `analyst` or endpoints")
        if self.teacher == "analyst":
            asked_of_endpoints = ("batches", "budget_dollars", "budget_tokens")
            given = [name for name in asked_of_endpoints if getattr(self, name)]
            if given:
                raise ValueError(f"{given[0]} is for endpoints, and the teacher is the analyst")
        return self


def run(
    spec: ChatSpec,
    context: RunFolder,
    by_analyst: writers.ByAnalyst = writers.by_analyst,
    ask: asking.AskAll = asking.here,
) -> dict[str, Any]:
    """Write `chunks.jsonl`, the rows of each split, and `removed.jsonl` (what was left out, and why).

    With endpoints also `failures.jsonl`: rows without an answer, which the same command asks for again; the result
    says `unfinished` then.

    Raises:
        InputError: an unreadable or empty log, fewer chunks than the held-out splits ask for, a wrong task file, an
            endpoint that cannot work.
        JobError: endpoints that stopped answering.
    """
    tasks = _tasks(spec)
    source, splits, left_out = _material(spec)
    plan = _plan(spec, splits)
    shop = _workshop(spec, tasks, source, splits)
    files.write_jsonl(context.path / "chunks.jsonl", _chunk_rows(splits, source))
    with context.progress("conversations", sum(map(len, plan.values())), "rows") as tick:
        if spec.teacher == "analyst":
            tally = None
            written = {name: by_analyst(shop, plan[name], tick) for name in SPLITS}
        else:
            tally, written = _by_endpoints(shop, asking.call_of(spec, context.path), plan, ask, tick)
        counts = _write(spec, shop, written, context.path)
    failures = [row for row in shop.removed if row["status"] in ("failed", "unasked")]
    gone = [row for row in shop.removed if row["status"] not in ("failed", "unasked")]
    files.write_jsonl(context.path / REMOVED, gone)
    names = [*SPLITS, *(["mini"] if spec.mini_rows else [])]
    outputs = {"chunks": "chunks.jsonl", "removed": REMOVED, **{name: NAMES[spec.files][name] for name in names}}
    result = {
        "outputs": outputs,
        "chunks": {name: len(splits[name]) for name in SPLITS},
        "rows": counts,
        "rows_wanted": _wanted(spec),
        "left_out": left_out,
        "removed": dict(Counter(f"{row['status']}: {row['kind']}" for row in gone)),
        "grounding": dict(shop.verdicts),
        "notes": {name: count for name, count in shop.notes.items() if count},
    }
    if tally is None:
        return result
    files.write_jsonl(context.path / FAILURES, failures)
    outputs["failures"] = FAILURES
    long = shop.notes["too_long_for_the_teacher"]
    notes = [f"{long} logs too long for the teacher were shown as digests"] if long else []
    return {**result, **asking.account(tally, "rows", len(failures), notes)}


def opened(spec: ChatSpec) -> tuple[writers.Workshop, dict[str, list[rows.Asked]]]:
    """What a writer needs, and the rows to write by split: the same for whoever opens the same spec and logs.

    Raises:
        InputError: see `run`.
    """
    tasks = _tasks(spec)
    source, splits, _ = _material(spec)
    return _workshop(spec, tasks, source, splits), _plan(spec, splits)


def questions(spec: ChatSpec) -> asking.Questions:
    """What is asked of endpoints, as `run` asks it.

    Raises:
        InputError: see `run`.
    """
    shop, plan = opened(spec)
    writer = writers.ByEndpoints(shop, asking.call_of(spec, Path()))
    return writer.questions([one for name in SPLITS for one in plan[name]])


def preview(spec: ChatSpec, count: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The first requests of each endpoint as they would be sent: row id, URL, JSON body. Nothing is sent.

    Raises:
        InputError: see `run`; or the teacher is the analyst, to which nothing is sent.
    """
    if spec.teacher == "analyst":
        raise InputError("nothing would be sent: the teacher is the built-in analyst")
    shop, plan = opened(spec)
    asked = [one for name in ("train", "validation", "test") for one in plan[name]]
    writer = writers.ByEndpoints(shop, asking.call_of(spec, Path()))
    yield from asking.preview(writer.questions(asked), spec.teacher, count)


def split(
    usable: Sequence[chunks.Chunk], held_out: Mapping[str, int], seed: int, neighbours: bool = False
) -> dict[str, list[chunks.Chunk]]:
    """Give each chunk to one split.

    Held-out chunks are taken from the sources in turn, so that each service is tested, but never more than half of a
    source's chunks. The order within a split is such a round as well: any beginning of it covers the sources evenly.
    With `neighbours`, the held-out chunks of a source follow each other, so that windows over several fit into a split.

    Raises:
        InputError: not enough chunks.
    """
    by_source: dict[str, list[chunks.Chunk]] = {}
    for chunk in usable:
        by_source.setdefault(chunk.source, []).append(chunk)
    for source, members in by_source.items():
        draw = random.Random(f"{seed}:split:{PurePath(source).name}")
        if neighbours:
            start = draw.randrange(len(members))
            members[:] = members[start:] + members[:start]
        else:
            draw.shuffle(members)
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
    left = [[chunk for chunk in each if chunk.id not in taken] for each in by_source.values()]
    if neighbours:
        for each in left:
            random.Random(f"{seed}:order").shuffle(each)
    found["train"] = _in_turn(left)
    return found


def choose(
    members: Sequence[chunks.Chunk], tasks: Sequence[str], rows: int, seed: int
) -> list[tuple[chunks.Chunk, str]]:
    """Which task is asked of which chunk: at most `rows` pairs, even over tasks and chunks, in a seeded order."""
    pairs: list[tuple[chunks.Chunk, str]] = []
    for number, task in enumerate(tasks):
        quota = min(rows // len(tasks) + (number < rows % len(tasks)), len(members))
        # Each task begins elsewhere, so that few rows still speak of many chunks.
        start = number * len(members) // len(tasks)
        pairs += [(members[(start + index) % len(members)], task) for index in range(quota)]
    random.Random(f"{seed}:rows").shuffle(pairs)
    return pairs


def _by_endpoints(
    shop: writers.Workshop, call: asking.Call, plan: Mapping[str, Sequence[rows.Asked]], ask: asking.AskAll, tick: Tick
) -> tuple[Tally, dict[str, Iterator[rows.Row]]]:
    """The tally, and the rows of each split."""
    writer = writers.ByEndpoints(shop, call)
    tally, outcomes = ask(writer.questions([one for name in SPLITS for one in plan[name]]), call, tick)
    written, start = {}, 0
    for name in SPLITS:
        end = start + len(plan[name])
        written[name] = writer.rows(plan[name], outcomes(start, end))
        start = end
    return tally, written


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


def _check_tasks(names: Sequence[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(unknown_key(name, list(known)).replace("key", "task", 1))


def _tasks(spec: ChatSpec) -> dict[str, prompts.Task]:
    """The tasks of the spec by name, each with what this job needs of it."""
    known = prompts.tasks(spec.prompts)
    try:
        _check_tasks(spec.tasks, known)
    except ValueError as fault:
        raise InputError(f"tasks: {fault}") from None
    for name in spec.tasks:
        if spec.teacher == "analyst" and name not in analyst.WRITES:
            raise InputError(f"tasks: the analyst cannot write {name}; it writes {', '.join(analyst.WRITES)}")
        task = known[name]
        for language in ("en", "ja") if spec.language == "mix" else (spec.language,):
            if task.answer != "conversation" and language not in task.student:
                raise InputError(f"tasks: {name} has no wordings of the user's question in {language!r} (`student`)")
    return known


def _material(spec: ChatSpec) -> tuple[Source, dict[str, list[chunks.Chunk]], dict[str, int]]:
    """The logs, their chunks by split, and how many chunks were left out, by reason."""
    mined = templates.mine(reader.read_table(spec.logs))
    source = Source(
        {part["source"][0]: part for part in mined.table.partition_by("source", maintain_order=True)},
        {template.key: template.text for template in mined.templates},
    )
    cut = chunks.cut(mined.table, spec.smallest, spec.largest, spec.seed, spec.limit_per_source)
    usable, left_out = _usable(cut, spec.max_chunk_characters)
    if not usable:
        raise InputError(f"{', '.join(map(str, spec.logs))}: no lines to write about ({len(cut)} chunks, {left_out})")
    held_out = {"test": spec.test_chunks, "validation": spec.validation_chunks}
    return source, split(usable, held_out, spec.seed, neighbours=spec.evidence_share > 0), left_out


def _wanted(spec: ChatSpec) -> dict[str, int]:
    return {"test": spec.test_rows, "validation": spec.validation_rows, "train": spec.train_rows}


def _plan(spec: ChatSpec, splits: Mapping[str, Sequence[chunks.Chunk]]) -> dict[str, list[rows.Asked]]:
    """The rows to write, by split."""
    wanted = _wanted(spec)
    pairs = {name: choose(splits[name], spec.tasks, wanted[name], spec.seed) for name in SPLITS}
    return rows.plan(pairs, spec.language, spec.evidence_share, spec.seed)


def _workshop(
    spec: ChatSpec, tasks: Mapping[str, prompts.Task], source: Source, splits: Mapping[str, list[chunks.Chunk]]
) -> writers.Workshop:
    count = writers.tokens
    if spec.tokenizer is not None:
        from loglore.models.load import load_tokenizer

        tokenizer = load_tokenizer(spec.tokenizer)

        def count(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    digests = {
        name: Digests(source, splits[name], spec.evidence_tokens, count, spec.evidence_lines, spec.seed)
        for name in SPLITS
    }
    return writers.Workshop(tasks, source, digests, spec.numbered, spec.turns)


def _write(
    spec: ChatSpec, shop: writers.Workshop, written: Mapping[str, Iterable[rows.Row]], folder: Path
) -> dict[str, int]:
    """Write the rows of each split; returns how many there are."""
    cleaner = Cleaner(spec.duplicates) if spec.duplicates is not None else None
    names = NAMES[spec.files]

    def kept(name: str) -> Iterator[rows.Row]:
        for row in written[name]:
            reason = cleaner.reason(row, name) if cleaner else ""
            if reason:
                identity = f"{name}/{row['meta']['chunk']}/{row['meta']['task']}"
                shop.note_removed(identity, row["meta"]["task"], "repeats", reason, reason)
                continue
            if cleaner and name != "train":
                cleaner.hold_out([log_of(row["conversations"][0]["value"])])
            yield row

    counts = {name: rows.write(folder / names[name], kept(name)) for name in SPLITS}
    if spec.mini_rows:
        chosen = rows.subset(read_rows(folder / names["train"]), spec.mini_rows, spec.seed)
        counts["mini"] = rows.write(folder / names["mini"], chosen)
    return counts
