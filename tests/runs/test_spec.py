from pathlib import Path

import pytest
from pydantic import Field

from loglore.errors import InputError
from loglore.runs.spec import Spec


class Sample(Spec):
    model: Path
    logs: list[Path] = Field(default_factory=list)
    tests: dict[str, Path] = Field(default_factory=dict)
    seed: int = Field(0, ge=0)


class Demanding(Spec):
    train_rows: int
    test_rows: int


def test_all_missing_keys_are_named_at_once() -> None:
    with pytest.raises(InputError, match=r"^c\.yaml: keys `train_rows`, `test_rows` are missing$"):
        Demanding.parse({}, "c.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "m", "sede": 1}, r"r\.yaml: job x: unknown key `sede`; did you mean `seed`\?"),
        ({"model": "m", "zzz": 1}, "unknown key `zzz`; known keys: logs, model, seed, tests"),
        ({}, "key `model` is missing"),
        ({"model": "m", "seed": -1}, "`seed`: .*greater than or equal to 0, got -1"),
    ],
)
def test_errors_name_the_key_and_what_was_expected(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sample.parse(values, "r.yaml: job x")


def test_inputs_are_the_paths() -> None:
    spec = Sample.parse({"model": "m", "logs": ["a", "b"], "tests": {"base": "t"}, "seed": 3}, "test")
    assert spec.inputs() == {"model": [Path("m")], "logs": [Path("a"), Path("b")], "tests": [Path("t")]}
