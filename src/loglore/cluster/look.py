"""The process of `loglore cluster check` on the cluster: `python -m loglore.cluster.look FOLDER`, started by Ray Jobs.

Its last line is what all nodes said, as JSON: it speaks through Ray's log, for storage may not be shared.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

MARK = "loglore nodes: "


def main(folder: Path) -> int:
    """Ask all nodes; returns the exit status."""
    import ray

    from loglore.cluster import nodes
    from loglore.errors import JobError

    if not folder.is_dir():
        print(f"storage is not shared: {folder} is not on the cluster's head", flush=True)
        return 2
    ray.init(logging_level="warning")
    try:
        answers = nodes.ask(folder, [], None)
    except JobError as fault:
        print(fault, flush=True)
        return 1
    print(MARK + json.dumps([asdict(answer) for answer in answers]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
