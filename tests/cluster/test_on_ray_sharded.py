"""A training whose weights are divided among the nodes of a Ray cluster; one of them is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_cluster import SmallCluster, small_cluster
from support_steps import alone, at_a_checkpoint, events, same, spec

from loglore.cluster import order
from loglore.cluster.submission import OnRay
from loglore.runs.folder import RunFolder

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(600)  # on a busy machine every process takes long to start


@pytest.fixture
def cluster() -> Iterator[SmallCluster]:
    with small_cluster() as started:
        yield started


def test_a_lost_node_s_part_of_the_weights_is_taken_over_by_those_that_are_left(
    cluster: SmallCluster, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGLORE_CHECKPOINT_SECONDS", "0.5")
    third = cluster.add()
    asked = spec(tmp_path, tiny_model, 3, distributed_backend="fsdp")
    place = tmp_path / "run"
    with at_a_checkpoint(place, lambda: cluster.kill(third)):
        report = OnRay(cluster.url)("train", asked, RunFolder(place, asked.model_dump(mode="json")))
    (loss,) = report["cluster"]["losses"]
    assert report["cluster"]["starts"] == [3, 2] and report["processes"] == 2
    assert 0 < loss["from_step"] <= loss["after_step"] <= report["steps"]
    shares = [row["here"] / row["parameters"] for row in events(place, "sharded")]
    assert shares == [pytest.approx(1 / 3, abs=0.05), pytest.approx(1 / 2, abs=0.05)]
    # No start was tried with the node that was lost, which Ray still took for alive.
    assert len(list((place / order.FOLDER / "ray").iterdir())) == 2
    same(place, alone(tmp_path, tiny_model))
