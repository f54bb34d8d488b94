import json
from pathlib import Path

import pytest

from loglore.data import check, leaks
from loglore.data.faults import Fault
from loglore.data.frame import student_prompt


def chat(question: str, answer: str, **meta: object) -> dict:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": turns, **({"meta": meta} if meta else {})}


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def report_of(path: str, **options: object) -> check.FileReport:
    return check.check([check.parse_input(path)], **options).files[0]


def first(report: check.FileReport, kind: str) -> Fault:
    return report.problems[kind].examples[0]


def numbers(leak: leaks.Leak) -> tuple[list[int], ...]:
    return tuple([place.row for place in places] for places in (leak.chunk, leak.exact, leak.overlapping))


@pytest.mark.parametrize(
    ("row", "kind", "field"),
    [
        (chat("q", ""), "empty", "conversations[2]"),
        (chat("q", " \n"), "empty", "conversations[2]"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "unknown-role", "conversations[1]"),
        ({"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]}, "turn-order", ""),
        ({"conversations": [{"from": "human", "value": "x"}] * 2}, "turn-order", ""),
        ({"conversations": [{"from": "human", "value": 7}]}, "wrong-type", "conversations[1]"),
        ({"conversations": "x"}, "wrong-type", "conversations"),
        ({"instruction": "x", "output": "y", "input": ["z"]}, "wrong-type", "input"),
        ({"conversations": [{"from": "human", "value": "x"}], "chosen": [], "rejected": []}, "wrong-type", "chosen"),
        ({"a": 1}, "unknown-format", ""),
        ({"conversations": [], "images": ["x"]}, "image", "images"),
    ],
)
def test_errors_name_row_and_field(tmp_path: Path, row: dict, kind: str, field: str) -> None:
    report = report_of(write(tmp_path / "a.jsonl", [chat("good question", "good answer"), row]))
    assert report.rows == 1 and report.faulty == 1
    assert (report.problems[kind].severity, report.problems[kind].count) == ("error", 1)
    assert (first(report, kind).row, first(report, kind).field) == (2, field)


def test_warnings_do_not_make_a_row_faulty(tmp_path: Path) -> None:
    rows = [chat("q", "cafÃ©"), chat("q", "a\x07"), chat("q", "\ufffd"), chat("q", "cafÃ©")]
    report = report_of(write(tmp_path / "a.jsonl", rows))
    assert report.rows == 4 and not report.faulty
    assert {kind: problem.count for kind, problem in report.problems.items()} == {
        "mojibake": 2,
        "control": 1,
        "replacement": 1,
        "duplicate": 1,
    }
    assert str(first(report, "duplicate")).endswith("row 4: the same text as row 1")
    assert first(report, "control").field == "conversations[2].value"


def test_near_duplicates_are_told_apart_from_exact_ones_and_can_be_left_out(tmp_path: Path) -> None:
    long = " ".join(f"word{number}" for number in range(80))
    path = write(
        tmp_path / "a.jsonl", [chat("q", long), chat("q", "something else"), chat("q", long), chat("q", long + " end")]
    )
    report = report_of(path)
    assert (first(report, "duplicate").row, first(report, "near-duplicate").row) == (3, 4)
    assert "like row 1" in first(report, "near-duplicate").message
    assert "near-duplicate" not in report_of(path, near_duplicates=False).problems


def test_nan_in_a_csv_is_an_error_and_in_json_a_word(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction,input,output\nq,nan,a\nq,,a\n")
    report = report_of(str(tmp_path / "a.csv"))
    assert (first(report, "nan").row, first(report, "nan").field, report.rows) == (1, "input", 1)
    assert not report_of(write(tmp_path / "a.jsonl", [{"instruction": "q", "output": "nan"}])).problems


def test_the_same_log_without_meta_is_the_same_chunk(tmp_path: Path) -> None:
    """The tutorial's files have no `meta`: one chunk stands in train and in test under another question."""
    log = "10:00 start\n10:01 failed"
    train = write(tmp_path / "train.jsonl", [chat(student_prompt("What failed?", log), "One."), chat("free", "x")])
    test = write(
        tmp_path / "test.jsonl", [chat("free too", "y"), chat(student_prompt("Sum it up.", log + "\n"), "Two.")]
    )
    (leak,) = check.check([check.parse_input(train), check.parse_input(test)]).leaks
    assert numbers(leak) == ([2], [], [])
    event = {"instruction": "Why?", "log": "disk full", "output": "No space.", "domain": "db"}
    train = write(tmp_path / "train.jsonl", [event])
    test = write(tmp_path / "test.jsonl", [{**event, "instruction": "What next?", "output": "Crash."}])
    (leak,) = check.check([check.parse_input(train), check.parse_input(test)]).leaks
    assert numbers(leak) == ([1], [], [])


def test_examples_are_bounded_and_counts_are_not(tmp_path: Path) -> None:
    told: list[Fault] = []
    path = write(tmp_path / "a.jsonl", [chat("q", "")] * 40)
    report = report_of(path, on_error=told.append)
    assert report.problems["empty"].count == 40 == len(told)
    assert len(report.problems["empty"].examples) == check.EXAMPLES


def test_what_was_found_before_a_file_breaks_off_is_still_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": ""}, {"text": ')
    report = report_of(str(tmp_path / "a.json"))
    assert set(report.problems) == {"empty", "unreadable"}
    assert "row 3: the file ends inside the array" in first(report, "unreadable").message


def test_leaks_between_files_given_together(tmp_path: Path) -> None:
    long = " ".join(f"line {number} failed" for number in range(99))
    other = " ".join(f"row {number} passed" for number in range(99))
    train = write(tmp_path / "train.jsonl", [chat("q1", long, source="a.log", lines=[1, 50]), chat("q2", "same")])
    val = write(tmp_path / "val.jsonl", [chat("q2", "same"), chat("q9", other)])
    test = write(
        tmp_path / "test.jsonl", [chat("q3", "x", source="a.log", lines=[50, 60]), chat("q4", long), chat("q9", other)]
    )
    corpus = write(tmp_path / "corpus.jsonl", [{"text": "nothing in common"}])
    found = check.check([check.parse_input(path) for path in (corpus, train, val, test)])
    assert [file.role for file in found.files] == ["corpus", "train", "validation", "test"]
    grounds = {(Path(leak.held_out).stem, Path(leak.seen_in).stem): numbers(leak) for leak in found.leaks}
    assert grounds == {
        ("val", "corpus"): ([], [], []),
        ("val", "train"): ([], [1], []),
        ("test", "corpus"): ([], [], []),
        ("test", "train"): ([1], [], [2]),
        ("test", "val"): ([], [3], [3]),
    }
    assert found.files[3].problems["leak-chunk"].severity == "error"
    assert found.files[3].problems["overlap"].severity == "warning"
    assert found.errors == 3
    assert found.files[3].problems["overlap"].examples[0].message.startswith("100% of its 50-byte windows stand in")
    text = "\n".join(check.lines(found))
    assert "of 3 rows 1 share log lines, 0 are the same text, 1 overlap by 50% or more" in text
    assert json.loads(json.dumps(check.as_json(found)))["errors"] == 3


def test_mixed_formats_are_told(tmp_path: Path) -> None:
    report = report_of(write(tmp_path / "a.jsonl", [chat("q", "a"), {"text": "x"}]))
    assert first(report, "mixed-formats").message == "rows of several formats: sharegpt 1, corpus 1"


def test_leaks_of_a_folder_name_the_file_within_it(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    write(tmp_path / "test" / "a.jsonl", [chat("q1", "one")])
    write(tmp_path / "test" / "b.jsonl", [chat("q2", "two"), chat("q3", "three")])
    train = write(tmp_path / "train.jsonl", [chat("q3", "three")])
    found = check.check([check.parse_input(train), check.parse_input(f"test={tmp_path / 'test'}")])
    told = first(found.files[1], "leak-exact")
    assert (Path(told.file).name, told.row) == ("b.jsonl", 2)
    assert check.as_json(found)["leaks"][0]["exact"] == [{"file": told.file, "row": 2}]
