import json
import sys
from pathlib import Path

import pytest

from loglore import cli
from loglore.data import fetch
from loglore.data.files import read_rows


@pytest.fixture
def loglore(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line; returns (exit code, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["loglore", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def chat(question: str, answer: str, **meta: object) -> dict:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], "meta": meta}


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    tasks = ("summary", "patterns")
    return write(
        tmp_path / "rows.jsonl",
        [chat(f"{t} {n}?", f"{t} answer {n}", chunk=n, task=t) for n in range(30) for t in tasks],
    )


def test_check_exits_with_2_only_for_errors_under_fail(loglore, tmp_path: Path, rows: Path) -> None:
    code, out, _ = loglore("data", "check", rows)
    assert code == 0 and f"{rows}: 60 good rows (sharegpt 60), 0 faulty; taken as train" in out
    bad = write(tmp_path / "test.jsonl", [chat("q", ""), chat("summary 3?", "summary answer 3")])
    code, out, _ = loglore("data", "check", rows, bad, "--json")
    report = json.loads(out)
    assert code == 2 and report["errors"] == 2
    assert report["leaks"][0]["exact"] == [{"file": str(bad), "row": 2}]
    code, _, err = loglore("data", "check", rows, bad, "--on-error", "skip", "--skipped", tmp_path / "bad.jsonl")
    assert code == 0 and "1 row skipped (empty 1)" in err
    assert json.loads((tmp_path / "bad.jsonl").read_text())["row"] == 1


def test_check_counts_tokens_of_a_model(loglore, tmp_path: Path, tiny_model: Path) -> None:
    question = "What?\n\nLog content:\n" + "disk full\n" * 40
    path = write(tmp_path / "rows.jsonl", [chat("What?", "The disk."), chat(question, "The disk.")])
    model = ("--tokenizer", tiny_model, "--max-sequence-length", 60)
    code, out, _ = loglore("data", "check", path, *model)
    assert code == 0 and "warning too-long: 1" in out and "would be left out" in out and "log lines left out)" in out
    code, out, _ = loglore("data", "check", path, *model, "--long-rows", "refuse")
    assert code == 2 and "error unfit: 1" in out and "row 2: " in out
    code, _, err = loglore("data", "check", path, "--max-sequence-length", 20)
    assert code == 2 and "need --tokenizer" in err


def test_check_writes_what_can_be_trained_on(loglore, tmp_path: Path, tiny_model: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("q", "a"), chat("q", ""), chat("q", "word " * 300), chat("p", "b")])
    model = ("--tokenizer", tiny_model, "--max-sequence-length", 60)
    code, _, err = loglore("data", "check", path, *model, "--good", tmp_path / "good.jsonl")
    assert code == 2 and "--on-error skip" in err
    options = (*model, "--on-error", "skip", "--good", tmp_path / "good.jsonl")
    code, _, err = loglore("data", "check", path, *options)
    assert code == 0 and "good.jsonl: 2 rows" in err and "2 rows skipped (empty 1, unfit 1); listed in" in err
    assert read_rows(tmp_path / "good.jsonl") == [chat("q", "a"), chat("p", "b")]
    listed = read_rows(tmp_path / "good.jsonl.skipped.jsonl")
    assert [(one["row"], one["kind"]) for one in listed] == [(2, "empty"), (3, "unfit")]
    assert loglore("data", "check", tmp_path / "good.jsonl", *model)[0] == 0


def test_check_shows_as_many_rows_as_asked(loglore, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("q", "")] * 9)
    _, out, _ = loglore("data", "check", path)
    assert out.count(": row ") == 5 and "… and 4 more" in out
    _, out, _ = loglore("data", "check", path, "--examples", 9)
    assert out.count(": row ") == 9 and "more" not in out


def test_convert_says_what_it_read_and_wrote(loglore, tmp_path: Path, rows: Path) -> None:
    code, _, err = loglore("data", "convert", rows, tmp_path / "out.parquet", "--to", "openai-chat")
    assert (
        code == 0
        and f"reading {rows} (JSON, " in err
        and "out.parquet: 60 rows of openai-chat (read as sharegpt 60)" in err
    )
    code, _, _ = loglore("data", "convert", tmp_path / "out.parquet", tmp_path / "back.jsonl", "--to", "sharegpt")
    assert code == 0 and read_rows(tmp_path / "back.jsonl") == read_rows(rows)


def test_split_writes_three_files_that_check_finds_clean(loglore, tmp_path: Path, rows: Path) -> None:
    out = tmp_path / "sides"
    code, said, _ = loglore("data", "split", rows, "-o", out, "--validation", 4, "--test", 3, "--seed", 1)
    assert code == 0 and f"{out}/validation.jsonl: 8 rows of 4 sources (" in said
    files = [out / f"{side}.jsonl" for side in ("train", "validation", "test")]
    code, said, _ = loglore("data", "check", *files, "--json")
    assert code == 0 and not any(leak["chunk"] or leak["exact"] for leak in json.loads(said)["leaks"])
    code, _, err = loglore("data", "split", rows, "-o", out, "--validation", 0, "--test", 40)
    assert code == 2 and "nothing is left for training" in err


def test_a_bad_row_stops_a_split_before_anything_is_written(loglore, tmp_path: Path, rows: Path) -> None:
    with rows.open("a") as stream:
        stream.write('{"conversations": []}\n')
    code, _, err = loglore("data", "split", rows, "-o", tmp_path / "sides", "--validation", 2, "--test", 2)
    assert code == 2 and "row 61: `conversations`: expected a list of turns" in err
    assert not (tmp_path / "sides").exists()
    code, _, err = loglore(
        "data", "split", rows, "-o", tmp_path / "sides", "--validation", 2, "--test", 2, "--on-error", "skip"
    )
    assert code == 0 and "1 row skipped (wrong-type 1); listed in" in err
    assert len((tmp_path / "sides" / "rows.skipped.jsonl").read_text().splitlines()) == 1


def test_mix_reports_what_was_drawn(loglore, tmp_path: Path) -> None:
    texts = write(tmp_path / "a.jsonl", [{"text": f"log event {number} explained"} for number in range(200)])
    code, out, _ = loglore("data", "mix", f"{texts}=1", "-o", tmp_path / "mix.jsonl", "--replay", "0.1", "--json")
    drawn = json.loads(out)
    assert code == 0 and [part["share"] for part in drawn] == [0.9, 0.1]
    assert sum(part["rows"] for part in drawn) == len(read_rows(tmp_path / "mix.jsonl"))


def test_fetch_shows_the_notice_and_takes_local_files(loglore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "NLPLog.json"
    given.write_text("[]")
    code, _, err = loglore("data", "fetch", "nlplog", "-o", tmp_path / "data", "--from", given)
    assert code == 2 and "terms: the repository names no licence" in err and "Not the file that was published" in err
    monkeypatch.setattr(fetch, "ZENODO_API", "http://127.0.0.1:9")
    code, _, err = loglore("data", "fetch", "loghub", "-o", tmp_path / "data")
    assert (
        code == 1
        and "get it from https://zenodo.org/records/8196385 and give it with --from PATH" in err.splitlines()[-1]
    )
    code, out, _ = loglore("data", "fetch", "loghub", "-o", tmp_path / "data", "--from", given)
    assert code == 0 and "trusted on first use" in out
