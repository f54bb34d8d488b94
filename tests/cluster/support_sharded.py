"""Run in a process that joins a cluster (RAY_ADDRESS): pack and write over shards, smaller than in earnest."""

import json
import sys
from pathlib import Path

import ray

from loglore.cluster import packing, writing
from loglore.data import samples
from loglore.runs.folder import RunFolder
from loglore.synth.chat import ChatSpec
from loglore.train.job import TrainSpec


def main(folder: Path, train: str, chat: str) -> None:
    samples.BATCH_ROWS, packing.BATCHES = 5, 2
    ray.init(logging_level="error", log_to_driver=False)
    spec = TrainSpec.parse(json.loads(train), "train")
    assert packing.pack(spec, RunFolder(folder / "packed-by-all", {}), large=0) is not None
    writing.synth(ChatSpec.parse(json.loads(chat), "chat"), RunFolder(folder / "written-by-all", {}), shard=7)
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
