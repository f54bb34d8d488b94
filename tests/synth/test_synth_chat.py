import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loglore.data.formats import to_messages
from loglore.data.frame import log_of
from loglore.errors import InputError
from loglore.runs.folder import RunFolder
from loglore.synth import chat
from loglore.synth.analyst import TASKS

NAMES = ("chunks.jsonl", "train.jsonl", "validation.jsonl", "test.jsonl")


@pytest.fixture(scope="module")
def long_logs(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Path:
    """The example logs, each long enough for several chunks."""
    folder = tmp_path_factory.mktemp("long")
    for path in sorted(logs.glob("*.log")):
        (folder / path.name).write_text(path.read_text() * 6)
    return folder


def spec_for(folder: Path, **changes: object) -> chat.ChatSpec:
    values = {
        "logs": [str(folder)], "seed": 5, "test_chunks": 7, "validation_chunks": 5,
        "test_rows": 35, "validation_rows": 12, "train_rows": 60,
    }  # fmt: skip
    return chat.ChatSpec.parse({**values, **changes}, "recipe, job chat")


def rows_of(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def digests(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES]


@pytest.fixture(scope="module")
def done(long_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("run")
    return folder, chat.run(spec_for(long_logs), RunFolder(folder, {}))


def test_a_chunk_belongs_to_one_split(done: tuple[Path, dict]) -> None:
    folder, result = done
    chunks = rows_of(folder, "chunks")
    split_of = {row["id"]: row["split"] for row in chunks}
    assert len(split_of) == len(chunks) == sum(result["chunks"].values())
    lines = {name: set() for name in chat.SPLITS}
    for name in chat.SPLITS:
        for row in rows_of(folder, name):
            meta = row["meta"]
            assert split_of[meta["chunk"]] == name
            lines[name] |= {(meta["source"], line) for line in range(meta["lines"][0], meta["lines"][1] + 1)}
    assert not lines["test"] & lines["train"]
    assert not lines["validation"] & (lines["train"] | lines["test"])


def test_held_out_chunks_are_spread_over_the_sources(done: tuple[Path, dict]) -> None:
    chunks = rows_of(done[0], "chunks")
    assert len({row["source"] for row in chunks if row["split"] == "test"}) == 7
    assert sum(row["split"] == "test" for row in chunks) == 7


def test_rows_are_shared_out_among_tasks(done: tuple[Path, dict]) -> None:
    folder, result = done
    for name, expected in (("test", [7] * 5), ("validation", [2, 2, 2, 3, 3]), ("train", [12] * 5)):
        rows = rows_of(folder, name)
        assert sorted(sum(row["meta"]["task"] == task for row in rows) for task in TASKS) == expected
        assert len({(row["meta"]["task"], row["meta"]["chunk"]) for row in rows}) == len(rows)
    assert result["rows"] == {"test": 35, "validation": 12, "train": 60}


def test_rows_are_conversations_about_their_chunk(done: tuple[Path, dict], long_logs: Path) -> None:
    for row in rows_of(done[0], "train"):
        messages = to_messages(row)
        meta = row["meta"]
        first, last = meta["lines"]
        text = "\n".join((long_logs / meta["source"]).read_text().split("\n")[first - 1 : last])
        assert log_of(messages[0]["content"]) == text.rstrip()
        assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert all("Log content:" not in message["content"] for message in messages[1:])
        assert len(messages) == (8 if meta["task"] == "conversation" else 2)
        assert meta["teacher"] == "analyst"


def test_no_row_is_contradicted(done: tuple[Path, dict]) -> None:
    folder, result = done
    assert result["grounding"]["contradicted"] == 0
    totals = {"supported": 0, "contradicted": 0, "unverifiable": 0}
    for name in chat.SPLITS:
        for row in rows_of(folder, name):
            for verdict, count in row["meta"]["grounding"].items():
                totals[verdict] += count
    assert totals == result["grounding"]


def test_questions_vary(done: tuple[Path, dict]) -> None:
    rows = [row for row in rows_of(done[0], "train") if row["meta"]["task"] == "summary"]
    assert len({row["conversations"][0]["value"].partition("\n\n")[0] for row in rows}) >= 4


def test_the_analyst_writes_both_languages(long_logs: Path, tmp_path: Path) -> None:
    spec = spec_for(long_logs, language="mix", tasks=[*TASKS, "alert"], evidence_share=0.4)
    result = chat.run(spec, RunFolder(tmp_path, {}))
    assert result["removed"] == {}
    assert result["grounding"]["contradicted"] == 0
    rows = rows_of(tmp_path, "train")
    languages = [row["meta"]["language"] for row in rows]
    assert abs(languages.count("en") - languages.count("ja")) <= 1
    for row in rows:
        asked, answered = row["conversations"][0]["value"].split("\n")[0], row["conversations"][1]["value"]
        assert asked.isascii() == (row["meta"]["language"] == "en")
        assert ("。" in answered) == (row["meta"]["language"] == "ja")
    assert any("evidence" in row["meta"] and row["meta"]["language"] == "ja" for row in rows)


def test_numbered_lines(long_logs: Path, tmp_path: Path) -> None:
    chat.run(spec_for(long_logs, numbered=True, train_rows=5, test_rows=0, validation_rows=0), RunFolder(tmp_path, {}))
    row = rows_of(tmp_path, "train")[0]
    first, last = row["meta"]["lines"]
    shown = log_of(row["conversations"][0]["value"]).split("\n")
    assert shown[0].startswith(f"L{first}|")
    assert shown[-1].startswith(f"L{last}|")


def test_long_chunks_are_left_out_and_counted(long_logs: Path, tmp_path: Path) -> None:
    result = chat.run(spec_for(long_logs, max_chunk_characters=1000, test_chunks=2), RunFolder(tmp_path, {}))
    assert result["left_out"]["too long"] > 0
    for row in rows_of(tmp_path, "train"):
        assert len(log_of(row["conversations"][0]["value"])) <= 1000


def test_a_rerun_writes_the_same_bytes_also_after_a_kill(
    done: tuple[Path, dict], long_logs: Path, tmp_path: Path
) -> None:
    program = (
        "import json, sys; from pathlib import Path\n"
        "from loglore.runs.folder import RunFolder; from loglore.synth import chat\n"
        "chat.run(chat.ChatSpec.parse(json.loads(sys.argv[1]), 'test'), RunFolder(Path(sys.argv[2]), {}))\n"
    )
    spec = spec_for(long_logs).model_dump_json()
    process = subprocess.Popen(
        [sys.executable, "-c", program, spec, str(tmp_path)],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "chunks.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    chat.run(spec_for(long_logs), RunFolder(tmp_path, {}))
    assert digests(tmp_path) == digests(done[0])


def test_too_many_held_out_chunks(long_logs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="test_chunks"):
        chat.run(spec_for(long_logs, test_chunks=500), RunFolder(tmp_path, {}))
    assert not (tmp_path / "train.jsonl").exists()


def test_bad_specs_name_the_key(long_logs: Path) -> None:
    with pytest.raises(InputError, match="did you mean `train_rows`"):
        spec_for(long_logs, train_row=5)
    with pytest.raises(InputError, match="tasks"):
        spec_for(long_logs, tasks=["sumary"])
    with pytest.raises(InputError, match="smallest"):
        spec_for(long_logs, smallest=20)
