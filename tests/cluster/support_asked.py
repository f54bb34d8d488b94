"""Run in a process that joins a cluster (RAY_ADDRESS): a job that asks endpoints, in shards smaller than in earnest."""

import json
import sys
from pathlib import Path

import ray

from loglore.cluster import writing
from loglore.runs.folder import RunFolder
from loglore.synth.chat import ChatSpec
from loglore.synth.nlplog import NlplogSpec


def main(kind: str, folder: Path, spec: str, shard: int) -> None:
    ray.init(logging_level="error", log_to_driver=False)
    if kind == "synth":
        result = writing.synth(ChatSpec.parse(json.loads(spec), kind), RunFolder(folder, {}), shard)
    else:
        result = writing.of_events(NlplogSpec.parse(json.loads(spec), kind), RunFolder(folder, {}), shard, many=0)
    print(json.dumps(result))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
