"""Server time of every page of the studio with many jobs in the database.

    python bench/bench_pages.py [--jobs 1000] [--loads 20]

A real API process over a home of its own; each load is a new visitor's first drawing of a page (Streamlit's AppTest,
which runs the page's script as the page server does, without the browser), all calls of the API included. The newest
train job has 1,000 steps and as many samples of telemetry, the newest test job 500 rows. Milliseconds, median and 95th
percentile.
"""

import argparse
import contextlib
import json
import logging
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS, ROWS = 1000, 500
DATASETS = 100


def page() -> None:
    import importlib
    import sys

    importlib.import_module(f"loglore.studio.{sys.argv[2]}_page").show()


def fill(home: Path, count: int) -> dict[str, str]:
    """Jobs, datasets, a model; returns ids of jobs by what they are."""
    import sqlalchemy as sa
    from support_pages import add_jobs
    from support_tiny import build_llama

    from loglore.hub import datasets, models
    from loglore.store.database import open_database

    build_llama(home / "tiny", 64, 4, 2048)
    models.add("tiny", home / "tiny", {"from": "bench"})
    with contextlib.closing(open_database()) as database:
        found = add_jobs(database, home, count, STEPS, ROWS)
        for number in range(DATASETS):
            path = home / f"{number}.jsonl"
            path.write_text("".join(json.dumps({"text": f"event {number} {row}"}) + "\n" for row in range(20)))
            datasets.add(database, f"rows-{number}", path)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))
    return found


def measure(url: str, loads: int, name: str, query: dict[str, str]) -> tuple[float, float]:
    """Median and 95th percentile of a page's server time, in milliseconds; the first load warms caches."""
    from streamlit.testing.v1 import AppTest

    sys.argv = ["page.py", url, name]
    taken = []
    for _ in range(loads + 1):
        app = AppTest.from_function(page, default_timeout=120)
        app.query_params.update(query)
        start = time.perf_counter()
        app.run()
        taken.append((time.perf_counter() - start) * 1000)
        assert not app.exception, app.exception
        assert not app.error, [each.value for each in app.code]
    taken = sorted(taken[1:])
    return statistics.median(taken), taken[math.ceil(0.95 * len(taken)) - 1]


def main() -> None:
    """Fill a home, start an API, load every page."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=1000)
    options.add_argument("--loads", type=int, default=20)
    wish = options.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    logging.disable(logging.WARNING)  # Streamlit misses the browser at every load
    with tempfile.TemporaryDirectory(prefix="loglore-pages-") as place:
        os.environ["LOGLORE_HOME"] = place
        newest = fill(Path(place), wish.jobs)
        from support_pages import api_of

        with api_of(Path(place), ROOT / "examples" / "logs") as served:
            loads: dict[str, tuple[str, dict[str, str]]] = {
                "chat": ("chat", {}),
                "data": ("data", {}),
                "data, one": ("data", {"dataset": "rows-3@1"}),
                "data, generate": ("data", {"view": "generate"}),
                "models": ("models", {"model": "tiny@1"}),
                "tuning, running": ("tuning", {"job": newest["running"]}),
                "tuning": ("tuning", {"job": newest["train"]}),
                "tuning, new": ("tuning", {"view": "new"}),
                "tests": ("tests", {"job": newest["test"]}),
                "tests, new": ("tests", {"view": "new"}),
                "tests, compare": ("tests", {"view": "compare", "comparison": newest["compare"]}),
                "sessions": ("sessions", {}),
                "runs": ("runs", {}),
                "keys": ("keys", {}),
                "costs": ("costs", {}),
                "audit": ("audit", {}),
            }
            print(f"{wish.jobs:,} jobs, {DATASETS} datasets; ms of {wish.loads} loads")
            for label, (name, query) in loads.items():
                middle, high = measure(served.url, wish.loads, name, query)
                print(f"{label:16} p50 {middle:6.0f}   p95 {high:6.0f}")


if __name__ == "__main__":
    main()
