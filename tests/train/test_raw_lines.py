"""Raw lines of the training chunks, and nothing of the held-out ones."""

import json
from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.prepare import PrepareSpec, run


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "logs" / "db.log"
    path.parent.mkdir()
    path.write_text("".join(f"line {number}\n" for number in range(1, 31)))
    return path


def chunks(tmp_path: Path, *bounds: tuple[int, int, str]) -> Path:
    path = tmp_path / "chunks.jsonl"
    names = ("source", "lines", "split", "templates", "id")
    rows = [("db.log", [first, last], split, [], f"db.log:{first}-{last}") for first, last, split in bounds]
    files.write_jsonl(path, [dict(zip(names, row, strict=True)) for row in rows])
    return path


def test_training_chunks_become_rows_as_they_stand(log: Path, tmp_path: Path) -> None:
    cut = chunks(tmp_path, (1, 10, "train"), (11, 20, "test"), (21, 25, "train"), (26, 30, "validation"))
    spec = PrepareSpec(logs=[log.parent], chunks=cut, validation_share=0)
    found = run(spec, RunFolder(tmp_path / "run", {}))
    texts = [json.loads(line)["text"] for line in (tmp_path / "run" / "train.jsonl").open()]
    expected = ["".join(f"line {n}\n" for n in range(first, last + 1)) for first, last in ((1, 10), (21, 25))]
    assert sorted(texts) == sorted(expected)
    assert found["left_out"] == {"held-out chunk": 2}


def test_a_share_goes_to_validation_and_the_rest_ends_at_the_limit(log: Path, tmp_path: Path) -> None:
    cut = chunks(tmp_path, *((first, first + 4, "train") for first in range(1, 30, 5)))
    spec = PrepareSpec(logs=[log], chunks=cut, validation_share=0.34, max_characters=120)
    found = run(spec, RunFolder(tmp_path / "run", {}))
    assert found["rows"]["validation"] == 2
    assert found["characters"] <= 120
    assert found["left_out"]["beyond max_characters"] == 4 - found["rows"]["train"]


def test_logs_that_the_chunks_are_not_of_are_refused(log: Path, tmp_path: Path) -> None:
    cut = chunks(tmp_path, (1, 99, "train"))
    with pytest.raises(InputError, match=r"row 1: chunk db\.log:1-99: no such lines in the logs given \(db\.log\)"):
        run(PrepareSpec(logs=[log], chunks=cut), RunFolder(tmp_path / "run", {}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "expected `rows` .* or `logs`"),
        ({"rows": "a", "logs": ["b"], "chunks": "c"}, "and not both"),
        ({"logs": ["b"]}, "`logs` needs `chunks`"),
    ],
)
def test_one_source_is_given(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PrepareSpec.parse(given, "spec.yaml")
