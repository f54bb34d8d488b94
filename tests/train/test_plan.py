"""The plan maps what is packed on disk; its steps are those of a reference that holds everything in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support_tiny import TEXTS

from loglore.data.files import read_rows
from loglore.data.formats import to_corpus, to_messages
from loglore.models.job import embedded_gguf
from loglore.models.load import load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.synth.chat import ChatSpec
from loglore.synth.chat import run as synthesize
from loglore.train import hyperparameters, plan
from loglore.train.prepare import PrepareSpec
from loglore.train.prepare import run as prepare

Sample = tuple[list[int], list[int]]  # ids and targets


def chat_sample(row: dict, tokenizer: Any) -> Sample:
    """One call of the tokenizer a prefix; ChatML's newline behind an answer is not counted."""
    turns = to_messages(row)

    def ids_of(upto: int, prompt: bool) -> list[int]:
        return tokenizer.apply_chat_template(turns[:upto], add_generation_prompt=prompt, return_dict=False)

    ids = ids_of(len(turns), False)
    targets = [-100] * len(ids)
    for turn, message in enumerate(turns):
        if message["role"] == "assistant":
            start, end = len(ids_of(turn, True)), len(ids_of(turn + 1, False)) - 1
            targets[start - 1 : end - 1] = ids[start:end]
    return ids, targets


def text_sample(row: dict, tokenizer: Any) -> Sample:
    ids = [*tokenizer(to_corpus(row))["input_ids"], tokenizer.eos_token_id]
    return ids, [*ids[1:], -100]


def up_to(limit: int, samples: list[Sample]) -> list[Sample]:
    ends = np.cumsum([len(ids) for ids, _ in samples])
    return samples[: int(np.searchsorted(ends, limit, side="right"))]


def first_fit_decreasing(samples: list[Sample], capacity: int) -> list[list[Sample]]:
    """As `plan` packed before the datasets came to disk."""
    rows: list[list[int]] = []
    for number in sorted(range(len(samples)), key=lambda number: -len(samples[number][0])):
        fitting = [row for row in rows if sum(len(samples[one][0]) for one in [*row, number]) <= capacity]
        if fitting:
            fitting[0].append(number)
        else:
            rows.append([number])
    return [[samples[number] for number in sorted(row)] for row in rows]


def assert_row(found: Any, samples: list[Sample]) -> None:
    assert found.ids.tolist() == [token for ids, _ in samples for token in ids]
    assert found.targets.tolist() == [target for _, targets in samples for target in targets]
    assert found.positions.tolist() == [place for ids, _ in samples for place in range(len(ids))]
    assert found.segments.tolist() == np.cumsum([0, *(len(ids) for ids, _ in samples)]).tolist()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The data of recipes/quickstart.yaml, made as the recipe says, and its jobs."""
    root = Path(__file__).parent.parent.parent
    jobs = yaml.safe_load((root / "recipes" / "quickstart.yaml").read_text())["jobs"]
    folder = tmp_path_factory.mktemp("quickstart")
    asked = {name: value for name, value in jobs["chats"].items() if name not in ("kind", "logs")}
    asked["tokenizer"] = embedded_gguf()
    synthesize(ChatSpec(logs=[root / "examples" / "logs"], **asked), RunFolder(folder / "chats", {}))
    asked = {name: value for name, value in jobs["corpus"].items() if name not in ("kind", "rows", "chunks")}
    rows, chunks = root / "examples" / "nlplog.jsonl", folder / "chats" / "chunks.jsonl"
    prepare(PrepareSpec(rows=rows, chunks=chunks, **asked), RunFolder(folder / "corpus", {}))
    return folder, jobs


def asked_of(job: dict[str, Any]) -> hyperparameters.Hyperparameters:
    return hyperparameters.load(Path(__file__).parent.parent.parent / "recipes" / job["hyperparameters"])


@pytest.mark.model
def test_steps_of_the_quickstarts_fine_tuning_are_those_of_the_reference(
    quickstart: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, jobs = quickstart
    tokenizer, asked = load_tokenizer(embedded_gguf()), asked_of(jobs["sft"])
    train, validation = folder / "chats" / "train.jsonl", folder / "chats" / "validation.jsonl"
    limit = jobs["sft"]["max_tokens"]
    found = plan.build("sft", train, validation, tokenizer, asked, limit, cache=tmp_path)
    samples = up_to(limit, [chat_sample(row, tokenizer) for row in read_rows(train)])
    assert found.samples == len(samples)
    order = np.random.default_rng([asked.seed, 0]).permutation(len(samples))
    size = asked.samples_per_step
    expected = [
        first_fit_decreasing([samples[number] for number in order[start : start + size]], asked.max_sequence_length)
        for start in range(0, len(samples), size)
    ]
    assert len(found.steps) == len(expected)
    for step, rows in zip(found.steps, expected, strict=True):
        assert len(step) == len(rows)
        for row, members in zip(step, rows, strict=True):
            assert_row(row, members)
    assert found.tokens() == sum(len(ids) for ids, _ in samples)
    assert found.counted_tokens() == sum(target != -100 for _, targets in samples for target in targets)
    held_out = [chat_sample(row, tokenizer) for row in read_rows(validation)]
    rows = first_fit_decreasing(held_out, asked.max_sequence_length)
    assert len(found.evaluation) == len(rows)
    for row, members in zip(found.evaluation, rows, strict=True):
        assert_row(row, members)


@pytest.mark.model
def test_steps_of_the_quickstarts_pretraining_hold_the_same_samples(
    quickstart: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, jobs = quickstart
    tokenizer, asked = load_tokenizer(embedded_gguf()), asked_of(jobs["cpt"])
    limit, train = jobs["cpt"]["max_tokens"], folder / "corpus" / "train.jsonl"
    found = plan.build("cpt", train, None, tokenizer, asked, limit, cache=tmp_path)
    samples = up_to(limit, [text_sample(row, tokenizer) for row in read_rows(train)])
    assert all(len(ids) <= asked.max_sequence_length for ids, _ in samples)
    # Best fit puts other samples together than first fit did; the rows are as many.
    assert len(found.steps) == -(-len(first_fit_decreasing(samples, asked.max_sequence_length)) // asked.batch_size)
    for step, numbers in zip(found.steps, found.steps.rows, strict=True):
        assert len(step) == len(numbers) <= asked.samples_per_step
        for row, members in zip(step, numbers, strict=True):
            assert_row(row, [samples[number] for number in members])
    used = [number for step in found.steps.rows for row in step for number in row.tolist()]
    assert sorted(used) == list(range(len(samples)))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    files.write_jsonl(path, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    return path


SMALL = {"batch_size": 2, "gradient_accumulation_steps": 2, "epochs": 3, "max_sequence_length": 64}


def test_skipping_steps_reads_the_rest_alone(tiny_model: Path, corpus: Path, tmp_path: Path) -> None:
    asked = hyperparameters.load(SMALL)
    whole = plan.build("cpt", corpus, None, load_tokenizer(tiny_model), asked, cache=tmp_path / "packed")
    resumed = plan.build("cpt", corpus, None, load_tokenizer(tiny_model), asked, cache=tmp_path / "packed")
    rest = resumed.steps[5:]
    assert len(rest) == len(whole.steps) - 5
    for left, right in zip(list(whole.steps)[5:], rest, strict=True):
        assert [row.ids.tolist() for row in left] == [row.ids.tolist() for row in right]
    assert rest.tokens() == whole.steps.tokens()[5:]


def test_numbers_of_a_plan_are_those_of_its_rows(tiny_model: Path, corpus: Path) -> None:
    asked = hyperparameters.load(SMALL)
    found = plan.build("cpt", corpus, corpus, load_tokenizer(tiny_model), asked)
    rows = [row for step in found.steps for row in step]
    assert found.epochs == 3 and found.steps_per_epoch * 3 == len(found.steps)
    assert found.tokens() == sum(len(row.ids) for row in rows)
    assert found.steps.tokens() == [sum(len(row.ids) for row in step) for step in found.steps]
    assert found.counted_tokens() == sum(int((row.targets != -100).sum()) for row in rows)
    assert found.rows_per_step == max(len(step) for step in found.steps) == 4
    assert found.fill(64) == found.tokens() / (64 * len(rows))
    assert sum(len(row.ids) for row in found.evaluation) * 3 == found.tokens()
    last = len(found.steps) - 1
    places = [found.steps.row(last, place) for place in range(5)]
    kept = [row.ids.tolist() for row in places if row is not None]
    assert kept == [row.ids.tolist() for row in found.steps[last]] and places[4] is None


def test_cache_is_used_and_rows_are_packed_once(tiny_model: Path, corpus: Path, tmp_path: Path) -> None:
    asked = hyperparameters.load(SMALL)
    arguments = ("cpt", corpus, corpus, load_tokenizer(tiny_model), asked)
    plan.build(*arguments, cache=tmp_path / "packed")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*.npy")}
    plan.build(*arguments, cache=tmp_path / "packed")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*.npy")} == before


def test_without_a_cache_nothing_is_left(
    tiny_model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    found = plan.build("cpt", corpus, None, load_tokenizer(tiny_model), hyperparameters.load(SMALL))
    assert not list((tmp_path / "temporary").iterdir())
    assert len(found.steps[0][0].ids) > 0
