"""The process of `loglore cluster check` on the cluster: `python -m loglore.cluster.look STORAGE`, started by Ray Jobs.

Its last line is what all nodes said, as JSON, or why they could not be asked: it speaks through Ray's log, for storage
may not be shared.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

MARK = "loglore nodes: "
FAULT = "loglore fault: "


def main(where: str) -> int:
    """Ask all nodes; returns the exit status."""
    import ray

    from loglore.cluster import nodes
    from loglore.data.sources import S3
    from loglore.errors import InputError, JobError

    if not where.startswith(S3) and not Path(where).is_dir():
        print(f"{FAULT}storage is not shared: {where} is not on the cluster's head", flush=True)
        return 2
    ray.init(logging_level="warning")
    try:
        answers = nodes.ask(where, [], None)
    except (InputError, JobError) as fault:
        print(f"{FAULT}{fault}", flush=True)
        return 1
    print(MARK + json.dumps([asdict(answer) for answer in answers]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
