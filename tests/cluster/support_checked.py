"""Run in a process that joins a cluster (RAY_ADDRESS): checks over parts smaller than in earnest, one after the other.

Writes NUMBER/ (a run folder with the report and the faulty rows), and `used.json`: most bytes in the object store.
"""

import json
import re
import sys
import threading
import time
from pathlib import Path

import ray
from ray._private.internal_api import memory_summary

from loglore.cluster import checking, shards
from loglore.cluster.checking import CheckSpec
from loglore.runs.folder import RunFolder

MIB = re.compile(r"Plasma memory usage (\d+) MiB|Spilled (\d+) MiB")


def main(folder: Path, specs: list[dict]) -> None:
    checking.PART, shards.UNDER_WAY, shards.BLOCK = 3000, 8 << 20, 1 << 18
    ray.init(logging_level="error", log_to_driver=False)
    used, done = [0], threading.Event()

    def look() -> None:
        while not done.is_set():
            used.extend(int(a or b) for a, b in MIB.findall(memory_summary(stats_only=True)))
            time.sleep(0.2)

    looker = threading.Thread(target=look)
    looker.start()
    for number, values in enumerate(specs):
        context = RunFolder(folder / str(number), {})
        (context.path / "cluster").mkdir()
        checking.PART = values.pop("part", checking.PART)
        checking.run(CheckSpec.parse(values, "check"), context)
    done.set()
    looker.join()
    (folder / "used.json").write_text(json.dumps(max(used) << 20))
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
