"""Packed datasets on disk: the rows of an in-memory reference, built once, shared, rebuilt when damaged."""

import json
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_tiny import CHATML, TEXTS, build_tokenizer
from transformers import AutoTokenizer

from loglore.data import packed
from loglore.data.frame import student_prompt
from loglore.data.packed import PackedDataset, PackSettings, Source
from loglore.errors import InputError

CPT = PackSettings("cpt", 64, shuffle_seed=3)
SFT = PackSettings("sft", 200)
TEXT_ROWS = [{"text": f"{text} {number}" * (1 + number % 4)} for number, text in enumerate(TEXTS)]
CHAT_ROWS = [
    {
        "conversations": [
            {"from": "human", "value": student_prompt(f"{number}?", "\n".join(TEXTS[: 1 + number % 3]))},
            {"from": "gpt", "value": f"It says {text[:20]}"},
            {"from": "human", "value": "Sure?"},
            {"from": "gpt", "value": "Yes."},
        ]
    }
    for number, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def source(rows: list[dict], digest: str = "1") -> Source:
    return Source("rows.jsonl", digest, lambda: ((f"rows.jsonl: row {n}", row) for n, row in enumerate(rows, 1)))


def unreadable(digest: str = "1") -> Source:
    def fail() -> Iterator[Any]:
        raise AssertionError("built again")

    return Source("rows.jsonl", digest, fail)


def reference(row: dict, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids and targets of one row, the plain way: one call of the tokenizer a prefix, ChatML's newline not counted."""
    if "text" in row:
        ids = [*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id]
        return ids, [*ids[1:], -100]
    roles = {"human": "user", "gpt": "assistant"}
    turns = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]

    def ids_of(upto: int, prompt: bool) -> list[int]:
        return tokenizer.apply_chat_template(turns[:upto], add_generation_prompt=prompt, return_dict=False)

    ids = ids_of(len(turns), False)
    targets = [-100] * len(ids)
    for turn in range(1, len(turns), 2):
        start, end = len(ids_of(turn, True)), len(ids_of(turn + 1, False)) - 1
        targets[start - 1 : end - 1] = ids[start:end]
    return ids, targets


@pytest.mark.parametrize(("rows", "settings"), [(TEXT_ROWS, CPT), (CHAT_ROWS, SFT)])
def test_mapped_rows_are_those_of_the_reference(tmp_path: Path, tokenizer: Any, rows, settings: PackSettings) -> None:
    dataset = packed.open_or_build(tmp_path, source(rows), tokenizer, settings)
    expected = []
    for row in rows:
        ids, targets = reference(row, tokenizer)
        for start in range(0, len(ids), settings.capacity):
            piece, wanted = ids[start : start + settings.capacity], targets[start : start + settings.capacity]
            expected += [(piece, [*wanted[:-1], -100])] if len(piece) > 1 else []
    assert dataset.lengths.tolist() == [len(ids) for ids, _ in expected]
    seen = []
    for row, members in zip(dataset, dataset.packing, strict=True):
        assert len(row.ids) <= settings.capacity
        parts = [expected[number] for number in members]
        assert row.ids.tolist() == [token for ids, _ in parts for token in ids]
        assert row.targets.tolist() == [target for _, targets in parts for target in targets]
        assert row.positions.tolist() == [place for ids, _ in parts for place in range(len(ids))]
        assert row.segments.tolist() == np.cumsum([0, *(len(ids) for ids, _ in parts)]).tolist()
        assert {a.dtype for a in (row.ids, row.targets, row.positions, row.segments)} == {np.dtype(np.int32)}
        seen += members.tolist()
    assert sorted(seen) == list(range(len(expected)))
    report = dataset.report
    assert report["rows"] == len(rows) and report["samples"] == len(expected)
    assert report["tokens"] == sum(len(ids) for ids, _ in expected)
    assert report["counted_tokens"] == sum(target != -100 for _, targets in expected for target in targets)
    assert report["packed_rows"] == len(dataset)
    assert report["fill"] == report["tokens"] / (len(dataset) * settings.capacity)


def test_what_was_cut_is_counted(tmp_path: Path, tokenizer: Any) -> None:
    dataset = packed.open_or_build(tmp_path, source(TEXT_ROWS), tokenizer, CPT)
    lengths = [len(reference(row, tokenizer)[0]) for row in TEXT_ROWS]
    found = dataset.report["long_rows"]
    assert found["texts cut into pieces"] == sum(length > 64 for length in lengths) > 0
    assert found["single last tokens left out"] == sum(length > 64 and length % 64 == 1 for length in lengths)
    longest = max(len(reference(row, tokenizer)[0]) for row in CHAT_ROWS)
    short = PackSettings("sft", longest - 1)
    assert packed.open_or_build(tmp_path, source(CHAT_ROWS), tokenizer, short).report["long_rows"]["rows shortened"]
    with pytest.raises(InputError, match=r"rows\.jsonl: row \d+: \d+ tokens, more than"):
        packed.open_or_build(tmp_path, source(CHAT_ROWS), tokenizer, PackSettings("sft", longest - 1, "refuse"))


def test_first_rows_up_to_max_tokens(tmp_path: Path, tokenizer: Any) -> None:
    lengths = np.cumsum([len(reference(row, tokenizer)[0]) for row in TEXT_ROWS])
    for limit in (int(lengths[4]), int(lengths[5]) - 1, 1):
        dataset = packed.open_or_build(
            tmp_path, source(TEXT_ROWS), tokenizer, PackSettings("cpt", 512, max_tokens=limit)
        )
        # The first row is always used.
        assert dataset.report["rows"] == max(int((lengths <= limit).sum()), 1)


def test_second_start_reads_no_rows(tmp_path: Path, tokenizer: Any) -> None:
    first = packed.open_or_build(tmp_path, source(TEXT_ROWS), tokenizer, CPT)
    # What a call of the tokenizer left behind is no other tokenizer.
    tokenizer(["a", "b b b"], padding=True, truncation=True, max_length=8)
    again = packed.open_or_build(tmp_path, unreadable(), tokenizer, CPT)
    assert again.folder == first.folder and len(again) == len(first)
    assert all((a.ids == b.ids).all() for a, b in zip(first, again, strict=True))


def test_another_question_gets_another_folder(tmp_path: Path, tokenizer: Any) -> None:
    folders = {packed.open_or_build(tmp_path, source(CHAT_ROWS), tokenizer, SFT).folder}

    def differs(rows: Source, settings: PackSettings = SFT) -> None:
        folder = packed.open_or_build(tmp_path, rows, tokenizer, settings).folder
        assert folder not in folders
        folders.add(folder)

    differs(source(CHAT_ROWS, digest="2"))
    differs(source(CHAT_ROWS), PackSettings("sft", 201))
    differs(source(CHAT_ROWS), PackSettings("sft", 200, "refuse"))
    differs(source(CHAT_ROWS), PackSettings("sft", 200, max_tokens=500))
    differs(source(CHAT_ROWS), PackSettings("sft", 200, shuffle_seed=0))
    tokenizer.chat_template = CHATML.replace("<|im_start|>", "<|im_start|> ")
    differs(source(CHAT_ROWS))
    tokenizer.chat_template = CHATML
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    differs(source(CHAT_ROWS))


def spoil_report(folder: Path) -> None:
    (folder / "packing.json").write_text('{"files": ')


def cut_tokens(folder: Path) -> None:
    os.truncate(folder / "tokens.npy", (folder / "tokens.npy").stat().st_size - 4)


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "mask.npy").read_bytes())
    data[-7] ^= 1
    (folder / "mask.npy").write_bytes(data)


def change_header(folder: Path) -> None:
    data = (folder / "starts.npy").read_bytes()
    (folder / "starts.npy").write_bytes(data.replace(b"<i8", b"<u8"))


def break_header(folder: Path) -> None:
    data = (folder / "starts.npy").read_bytes()
    (folder / "starts.npy").write_bytes(b"\0" * 8 + data[8:])


def remove_bounds(folder: Path) -> None:
    (folder / "bounds.npy").unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_report, "packing.json: JSONDecodeError"),
        (cut_tokens, r"tokens.npy: \d+ bytes, expected \d+"),
        (flip_a_bit, "mask.npy: its content does not match"),
        (change_header, "starts.npy: its content does not match"),
        (break_header, "starts.npy: its content does not match"),
        (remove_bounds, "bounds.npy: 0 bytes"),
    ],
)
def test_damaged_dataset_is_noticed_and_built_again(tmp_path: Path, tokenizer: Any, spoil, reason: str) -> None:
    first = packed.open_or_build(tmp_path, source(TEXT_ROWS), tokenizer, CPT)
    assert first.report["built_again_because"] is None
    assert packed.damage(first.folder) is None
    before = [row.ids.tolist() for row in first]
    copy = tmp_path / "copy"  # the arrays of `first` stay mapped: what is spoilt must be another file
    shutil.copytree(first.folder, copy)
    shutil.rmtree(first.folder)
    copy.rename(first.folder)
    spoil(first.folder)
    again = packed.open_or_build(tmp_path, source(TEXT_ROWS), tokenizer, CPT)
    assert re.match(reason, again.report["built_again_because"])
    assert [row.ids.tolist() for row in again] == before
    assert packed.damage(again.folder) is None


def test_fault_in_a_row_leaves_nothing_behind(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl: row 33: `text`: expected a text"):
        packed.open_or_build(tmp_path, source([*TEXT_ROWS, {"text": " "}]), tokenizer, CPT)
    with pytest.raises(InputError, match=r"rows\.jsonl: no rows"):
        packed.open_or_build(tmp_path, source([], "2"), tokenizer, CPT)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_it_is_a_sequence(tmp_path: Path, tokenizer: Any) -> None:
    dataset = packed.open_or_build(tmp_path, source(TEXT_ROWS), tokenizer, CPT)
    rows = list(dataset)
    assert (dataset[-1].ids == rows[-1].ids).all()
    assert [row.ids.tolist() for row in dataset[1:3]] == [row.ids.tolist() for row in rows[1:3]]
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def first_ids(dataset: PackedDataset) -> list[int]:
    return dataset[0].ids.tolist()


def test_workers_map_the_files_instead_of_copying_them(tmp_path: Path, tokenizer: Any) -> None:
    dataset = packed.open_or_build(tmp_path, source(TEXT_ROWS), tokenizer, CPT)
    assert len(pickle.dumps(dataset)) < 1000 < dataset.report["tokens"]
    assert pickle.loads(pickle.dumps(dataset))[0].ids.tolist() == dataset[0].ids.tolist()  # noqa: S301
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(first_ids, (dataset,)) == dataset[0].ids.tolist()


PROCESS = """
import json, os, sys
from pathlib import Path
from transformers import AutoTokenizer
from loglore.data import packed
folder, role = Path(sys.argv[1]), sys.argv[2]
rows = json.loads((folder / "rows.json").read_text())
def read():
    print("building", flush=True)
    if role == "waits":
        sys.stdin.readline()
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row
tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
print("asking", flush=True)
dataset = packed.open_or_build(
    folder / "packed", packed.Source("rows.json", "1", read), tokenizer, packed.PackSettings("cpt", 64)
)
print(json.dumps([row.ids.tolist() for row in dataset]), flush=True)
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    build_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "rows.json").write_text(json.dumps(TEXT_ROWS))
    return tmp_path


def start(folder: Path, role: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROCESS, str(folder), role]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_builds_and_the_other_waits(shared: Path) -> None:
    with start(shared, "waits") as builder:
        assert builder.stdout and builder.stdin
        assert [builder.stdout.readline(), builder.stdout.readline()] == ["asking\n", "building\n"]
        with start(shared, "goes on") as other:
            assert other.stdout
            assert other.stdout.readline() == "asking\n"
            # The builder is in the middle of its rows and stays there until it gets a line.
            builder.stdin.write("go on\n")
            builder.stdin.flush()
            built, found = builder.stdout.read(), other.stdout.read()
        assert builder.wait(60) == 0 and other.wait(60) == 0
    assert found == built  # one line, the rows: the other printed no "building"


def test_killed_builder_leaves_the_way_free(shared: Path) -> None:
    with start(shared, "waits") as builder:
        assert builder.stdout
        assert [builder.stdout.readline(), builder.stdout.readline()] == ["asking\n", "building\n"]
        builder.send_signal(signal.SIGKILL)
    with start(shared, "goes on") as other:
        output, _ = other.communicate(timeout=60)
    assert output.startswith("asking\nbuilding\n")
    (folder,) = [path for path in (shared / "packed").iterdir() if path.suffix != ".lock"]
    assert packed.damage(folder) is None


@given(
    st.lists(st.text("ab c", min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=12), st.integers(4, 30)
)
def test_every_token_is_in_one_row(tmp_path_factory, tokenizer: Any, texts: list[str], capacity: int) -> None:
    rows = [{"text": text} for text in texts]
    folder = tmp_path_factory.mktemp("packed")
    dataset = packed.open_or_build(folder, source(rows), tokenizer, PackSettings("cpt", capacity))
    tokens = sorted(token for row in dataset for token in row.ids.tolist())
    ids = [reference(row, tokenizer)[0] for row in rows]
    kept = [one if len(one) % capacity != 1 else one[:-1] for one in ids]
    assert tokens == sorted(token for one in kept for token in one)
