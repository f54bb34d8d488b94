"""A training over machines that share neither network address nor disk, only a bucket; their head is lost."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import support_machines
from support_machines import HERE, URL, Machines, machines
from support_steps import losses, same, spec
from support_workers import until

from loglore.cluster import order, places
from loglore.cluster.submission import OnRay
from loglore.data import sources
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.job import run as train

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(600)  # on a busy machine every process takes long to start

STORAGE = "s3://test-machines/runs-of-tests"
COMMAND = """
import json, sys
from pathlib import Path
from loglore.cluster import submission
from loglore.jobs import runner
from loglore.runs.folder import RunFolder
from loglore.train.job import TrainSpec
submission.SILENT_S = 5.0
spec = TrainSpec.parse(json.loads(sys.argv[3]), "test")
context = RunFolder(Path(sys.argv[2]), spec.model_dump(mode="json"))
runner.result_of("train", spec, context, submission.OnRay(sys.argv[1]))
"""


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    """Two machines and a bucket; they see nothing of the folder `here`."""
    if fault := support_machines.refused():
        pytest.skip(fault)
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGLORE_CHECKPOINT_SECONDS", "0.5")
    monkeypatch.setenv("LOGLORE_CLUSTER_STORAGE", STORAGE)
    monkeypatch.setenv("LOGLORE_ENDPOINT_KEY", "secret")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    (tmp_path / "here").mkdir()
    with machines(tmp_path / "here") as found:
        server = ThreadedMotoServer(ip_address=HERE, port=0, verbose=False)
        server.start()
        try:
            values = {
                "AWS_ENDPOINT_URL": f"http://{HERE}:{server.get_host_and_port()[1]}", "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            }  # fmt: skip
            for name, value in values.items():
                monkeypatch.setenv(name, value)
            type(sources.s3()).clear_instance_cache()
            sources.s3().mkdir("test-machines")
            yield found
        finally:
            server.stop()


def test_the_head_is_lost_and_the_same_command_goes_on_from_the_bucket(
    apart: Machines, tmp_path: Path, tiny_model: Path
) -> None:
    # Each machine has a part of the weights, and draws other masks than the other: both are in a checkpoint.
    asked = spec(
        tmp_path / "here", tiny_model, 2, distributed_backend="fsdp", training_type="lora", lora_dropout=0.2,
    )  # fmt: skip
    place = tmp_path / "here" / "run"
    apart.start(2)
    command = [sys.executable, "-c", COMMAND, URL, str(place), asked.model_dump_json()]
    bucket = places.of_run(place, STORAGE)
    waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: waiting.poll() is not None or (losses(place) and bucket.steps()))
    # The driver has read the endpoints' keys by now.
    there = sources.s3().find("test-machines")
    assert not [key for key in there if key.endswith(order.KEYS)]
    handed = {key.rsplit("/", 1)[1] for key in there if "/parts/checkpoint-" in key}
    assert {"shard-1-of-2.pt", "rng_state_1.pth"} <= handed and "shard-0-of-2.pt" not in handed
    assert not (place / order.FOLDER / order.KEYS).exists()
    apart.kill(1)
    said = waiting.communicate(timeout=120)[1]
    assert waiting.returncode == 1, said
    assert "JobError: no Ray cluster answers at" in said, said
    assert said.strip().endswith("the job there ends, and the same command goes on where it was"), said
    apart.end()
    with machines(apart.hidden) as fresh:
        fresh.start(2)
        report = OnRay(URL)("train", asked, RunFolder(place, asked.model_dump(mode="json")))
        # What the machines handed to each other is removed, but for what later jobs may read.
        left = {key.split("/")[2] for key in sources.s3().find("test-machines")}
    events = files.read_jsonl_log(place / "events.jsonl")
    assert [row["event"] for row in events].count("submitted") == 2
    assert [row["done"] > 0 for row in events if row["event"] == "started"] == [False, True]
    assert report["processes"] == 2 and report["cluster"] == {"starts": [2], "losses": []}
    unbroken = RunFolder(tmp_path / "unbroken", {})
    train(asked.model_copy(update={"nodes": None, "processes": 2}), unbroken)
    same(place, unbroken.path)
    assert left == {"inputs"}
