"""Trainings whose weights or optimizer state are divided among the nodes of a Ray cluster; one of them is lost."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support_cluster import SmallCluster, small_cluster
from support_steps import alone, at_a_checkpoint, events, same, spec
from support_workers import until

from loglore.cluster import order
from loglore.cluster.submission import OnRay
from loglore.runs.folder import RunFolder

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(600)  # on a busy machine every process takes long to start


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallCluster]:
    values = {"LOGLORE_CHECKPOINT_SECONDS": "0.5", "LOGLORE_HOME": str(tmp_path / "home")}
    for name, value in (values | {"DS_ACCELERATOR": "cpu", "DS_BUILD_OPS": "0"}).items():
        monkeypatch.setenv(name, value)
    with small_cluster() as started:
        yield started


def test_a_lost_node_s_part_of_the_weights_is_taken_over_by_those_that_are_left(
    cluster: SmallCluster, tmp_path: Path, tiny_model: Path
) -> None:
    third = cluster.add()
    asked = spec(tmp_path, tiny_model, 3, distributed_backend="fsdp")
    place = tmp_path / "run"
    with at_a_checkpoint(place, lambda: cluster.kill(third)):
        report = OnRay(cluster.url)("train", asked, RunFolder(place, asked.model_dump(mode="json")))
    (loss,) = report["cluster"]["losses"]
    assert report["cluster"]["starts"] == [3, 2] and report["processes"] == 2
    assert 0 < loss["from_step"] <= loss["after_step"] <= report["steps"]
    assert re.match(r"worker \d: .", loss["reason"]) and "Traceback" not in loss["reason"]
    shares = [row["here"] / row["parameters"] for row in events(place, "sharded")]
    assert shares == [pytest.approx(1 / 3, abs=0.05), pytest.approx(1 / 2, abs=0.05)]
    # No start was tried with the node that was lost, which Ray still took for alive.
    assert len(list((place / order.FOLDER / "ray").iterdir())) == 2
    same(place, alone(tmp_path, tiny_model))


def test_deepspeed_waits_for_a_node_in_place_of_the_lost_one(
    cluster: SmallCluster, tmp_path: Path, tiny_model: Path
) -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is no dependency: pip install deepspeed")
    third = cluster.add()
    asked = spec(tmp_path, tiny_model, 3, distributed_backend="deepspeed", zero_stage=2)
    place = tmp_path / "run"
    with ThreadPoolExecutor(1) as pool:  # a node can only be added by this thread
        running = pool.submit(OnRay(cluster.url), "train", asked, RunFolder(place, asked.model_dump(mode="json")))
        until(lambda: running.done() or events(place, "checkpoint"))
        parts = {path.name for path in place.rglob("checkpoints/step-*/*/*_optim_states.pt")}
        cluster.kill(third)
        cluster.add()
        report = running.result()
    assert parts == {f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(3)}
    assert report["cluster"]["starts"] == [3, 3] and len(report["cluster"]["losses"]) == 1
    assert report["cluster"]["losses"][0]["from_step"] > 0
    same(place, alone(tmp_path, tiny_model))
