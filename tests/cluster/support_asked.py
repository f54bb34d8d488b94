"""Run in a process that joins a cluster (RAY_ADDRESS): a synthesis by endpoints, in shards smaller than in earnest."""

import json
import sys
from pathlib import Path

import ray

from loglore.cluster import writing
from loglore.runs.folder import RunFolder
from loglore.synth.chat import ChatSpec


def main(folder: Path, spec: str, shard: int) -> None:
    ray.init(logging_level="error", log_to_driver=False)
    result = writing.synth(ChatSpec.parse(json.loads(spec), "chat"), RunFolder(folder, {}), shard)
    print(json.dumps(result))
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
