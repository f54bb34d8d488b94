import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.data import files
from loglore.data.formats import RowError
from loglore.data.frame import student_prompt
from loglore.data.split import SIDES, Quotas, group_of, split
from loglore.errors import InputError

TASKS = ["root_cause", "summary", "patterns"]


def chat(question: str, answer: str, **meta: object) -> dict:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], "meta": meta}


def dataset(chunks: int = 60) -> list[dict]:
    return [
        chat(f"{task}?", f"{task} of {chunk}", chunk=f"c{chunk}", source="a.log", task=task)
        for chunk in range(chunks)
        for task in TASKS
    ]


def run(folder: Path, rows: list[dict], quotas: Quotas, **options: object) -> tuple[dict, object]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = {side: str(folder / f"{side}.jsonl") for side in SIDES}
    outcome = split(path, out, quotas, **options)
    return {side: files.read_rows(out[side]) for side in SIDES}, outcome


def keyed(sides: dict) -> dict:
    return {side: Counter(json.dumps(row, sort_keys=True) for row in rows) for side, rows in sides.items()}


def test_quotas_are_met_per_task_and_no_chunk_is_on_two_sides(tmp_path: Path) -> None:
    sides, outcome = run(tmp_path, dataset(), Quotas(validation=7, test=5), seed=3)
    for side, wanted in (("validation", 7), ("test", 5)):
        assert Counter(row["meta"]["task"] for row in sides[side]) == dict.fromkeys(TASKS, wanted)
    chunks = [{row["meta"]["chunk"] for row in sides[side]} for side in SIDES]
    assert not chunks[0] & chunks[1] and not chunks[0] & chunks[2] and not chunks[1] & chunks[2]
    assert sum(len(rows) for rows in sides.values()) == 180
    assert outcome.rows == {"train": 144, "validation": 21, "test": 15} and not outcome.short and not outcome.left_out
    assert outcome.groups == {"train": 48, "validation": 7, "test": 5}


@given(
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 5),
    quotas=st.sampled_from([Quotas(4, 4), Quotas(0.2, 0.1), Quotas(0, 3)]),
    unique=st.booleans(),
)
def test_another_order_of_the_input_gives_the_same_sets(
    tmp_path_factory: pytest.TempPathFactory, order: random.Random, seed: int, quotas: Quotas, unique: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    rows = dataset(12) + dataset(4) + [chat("x?", "extra", chunk="c3", source="a.log", task="summary")]
    first, _ = run(folder, rows, quotas, seed=seed, unique=unique)
    shuffled = rows.copy()
    order.shuffle(shuffled)
    second, _ = run(folder, shuffled, quotas, seed=seed, unique=unique)
    assert keyed(first) == keyed(second)


def test_another_seed_gives_other_sets(tmp_path: Path) -> None:
    first, _ = run(tmp_path, dataset(), Quotas(5, 5), seed=1)
    second, _ = run(tmp_path, dataset(), Quotas(5, 5), seed=2)
    assert keyed(first) != keyed(second)


def test_shares_keep_rows_where_they_were_when_others_come(tmp_path: Path) -> None:
    few, _ = run(tmp_path, dataset(60), Quotas(0.2, 0.2))
    many, outcome = run(tmp_path, dataset(400), Quotas(0.2, 0.2))
    assert all(not keyed(few)[side] - keyed(many)[side] for side in SIDES)
    assert 50 < outcome.groups["test"] < 110


def test_rows_beyond_a_quota_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = dataset(20) + [
        chat("again?", f"more of {chunk}", chunk=f"c{chunk}", source="a.log", task="summary") for chunk in range(20)
    ]
    sides, outcome = run(tmp_path, rows, Quotas(0, 5))
    held_out = {row["meta"]["chunk"] for row in sides["test"]}
    assert Counter(row["meta"]["task"] for row in sides["test"]) == dict.fromkeys(TASKS, 5)
    assert not held_out & {row["meta"]["chunk"] for row in sides["train"]}
    left_out = outcome.left_out["beyond the quota, of a group in test"]
    assert left_out == 80 - len(sides["train"]) - len(sides["test"]) > 0


def test_duplicates_are_left_out_once_each(tmp_path: Path) -> None:
    sides, outcome = run(tmp_path, dataset(20) + dataset(5), Quotas(0, 2), unique=True)
    assert sum(map(len, sides.values())) == 60
    assert outcome.left_out == {"the same text as another row": 15}


def test_quotas_that_cannot_be_met_are_told(tmp_path: Path) -> None:
    _, outcome = run(tmp_path, [*dataset(10), chat("q", "a", chunk="d", source="a.log", task="rare")], Quotas(0, 3))
    assert outcome.short == ["test: 1 of 3 rows of task rare"]
    with pytest.raises(InputError, match="nothing is left for training"):
        run(tmp_path, dataset(3), Quotas(0, 3))
    with pytest.raises(InputError, match="no rows"):
        run(tmp_path, [], Quotas(0, 3))


@pytest.mark.parametrize("quotas", [Quotas(), Quotas(0.5, 0.5), Quotas(0.5, 3), Quotas(-1, 3), Quotas(2.5, 3)])
def test_quotas_that_mean_nothing_are_refused(quotas: Quotas) -> None:
    with pytest.raises(InputError, match="validation"):
        quotas.check()


@pytest.mark.parametrize(
    ("row", "group"),
    [
        (chat("q", "a", chunk="c1", source="x"), "chunk=x/c1"),
        (chat("q", "a", source="x", lines=[1, 9]), "lines=x/[1, 9]"),
        ({"instruction": "q", "log": "L", "output": "a", "domain": "d"}, "log=L"),
        ({"instruction": "q", "log": "L", "output": "a", "domain": "d", "meta": {"template": "t"}}, "template=t"),
        (chat(student_prompt("Why?", "disk full"), "a"), "log=disk full"),
        ({"text": "t"}, "text=t"),
    ],
)
def test_what_a_row_is_about(row: dict, group: str) -> None:
    assert group_of(row)[0] == group


def test_a_field_of_choice_decides(tmp_path: Path) -> None:
    assert group_of(chat("q", "a", host="h"), "meta.host")[0] == "meta.host=h"
    with pytest.raises(RowError, match=r"`meta.host`: the row has no field"):
        group_of(chat("q", "a"), "meta.host")
