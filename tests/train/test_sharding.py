"""What lies in the files of some processes, taken up by others."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.train import sharding
from loglore.train.world import World


@given(rows=st.integers(1, 20), before=st.integers(1, 7), now=st.integers(1, 7))
def test_every_process_takes_its_rows_from_those_that_had_them(rows: int, before: int, now: int) -> None:
    whole = torch.arange(rows * 2).reshape(rows, 2)
    per, each = -(-rows // before), -(-rows // now)
    parts = [whole[rank * per : (rank + 1) * per] for rank in range(before)]
    found = [sharding.rows_of(parts, min(rank * each, rows), min((rank + 1) * each, rows)) for rank in range(now)]
    assert [len(part) for part in found] == [len(whole[rank * each : (rank + 1) * each]) for rank in range(now)]
    assert torch.equal(torch.cat(found), whole)


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    with pytest.raises(InputError, match=r"no shard-0-of-2\.pt; it holds no shards"):
        sharding.load_shards(model, optimizer, tmp_path, World(0, 2))
    for rank in (0, 2):
        (tmp_path / f"shard-{rank}-of-3.pt").touch()
    with pytest.raises(InputError, match=r"no shard-1-of-3\.pt; it holds shard-0-of-3\.pt, shard-2-of-3\.pt"):
        sharding.load_shards(model, optimizer, tmp_path, World(0, 2))
