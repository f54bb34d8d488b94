"""Reads of the API beside a training: an open loop at a fixed rate against SQLite, with a large queue in it.

    python bench/bench_reads.py [--rate 200] [--seconds 60] [--jobs 10000] [--events 1000000] [--model tiny|embedded]

The API and a worker are processes of their own over one home; the worker trains without end. Requests start when their
time has come, whether or not earlier ones are answered, and their latency counts from that time: a server that falls
behind cannot hide it. They are a seeded mix of what pages and clients read. Everything shares this machine's cores; the
client's own part is told as well.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
from bench_queue import database_of, fill
from support_tiny import build_llama

from loglore.hub import models
from loglore.store.jobs import JOBS

ROWS = [{"text": f"Human: What does event {n} mean?\nAssistant: The disk {n} was full. " * 4} for n in range(400)]
HYPERPARAMETERS = {"batch_size": 2, "gradient_accumulation_steps": 1, "epochs": 1000, "max_sequence_length": 256}


@contextlib.contextmanager
def studio(home: Path, threads: int) -> Iterator[str]:
    """The API and a worker; yields the base URL."""
    environment = {**os.environ, "LOGLORE_THREADS": str(threads)}
    serve = [sys.executable, "-m", "loglore.api", "--port", "0", "--until-eof", "--runs", str(home / "runs")]
    with subprocess.Popen(serve, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as api:
        assert api.stdout is not None
        assert api.stdin is not None
        url = api.stdout.readline().decode().strip()
        work = [sys.executable, "-m", "loglore.jobs.work"]
        worker = subprocess.Popen(work, env=environment, stdout=subprocess.DEVNULL)
        try:
            yield f"{url}/v1"
        finally:
            worker.terminate()
            worker.wait()
            api.stdin.close()


async def train(client: aiohttp.ClientSession, url: str, model: str) -> str:
    """Queue a training ahead of all others; returns its id once it has made its first steps."""
    form = aiohttp.FormData({"purpose": "fine-tune"})
    form.add_field("file", "".join(json.dumps(row) + "\n" for row in ROWS).encode(), filename="rows.jsonl")
    file = (await (await client.post(f"{url}/files", data=form)).json())["id"]
    method = {"type": "cpt", "cpt": {"hyperparameters": HYPERPARAMETERS}}
    wish = {"model": model, "training_file": file, "method": method, "priority": 100, "general_text": False}
    made = await (await client.post(f"{url}/fine_tuning/jobs", json=wish)).json()
    while await steps(client, url, made["id"]) < 3:
        await asyncio.sleep(0.5)
    return str(made["id"])


async def steps(client: aiohttp.ClientSession, url: str, job: str) -> int:
    rows = (await (await client.get(f"{url}/studio/jobs/{job}/metrics")).json())["data"]
    return int(rows[-1]["step"]) if rows else 0


def paths(ids: list[str], running: str, each: int, count: int) -> list[str]:
    """A seeded mix of reads."""
    pick = random.Random(5)

    def one() -> str:
        job = ids[pick.randrange(len(ids))]
        after = f"ftevent-{job.removeprefix('ftjob-')}-{pick.randrange(2, max(3, each))}"
        return pick.choice(
            [
                "/studio/jobs?limit=20", f"/studio/jobs?limit=20&after={job}", "/fine_tuning/jobs?limit=20",
                f"/studio/jobs/{job}", f"/studio/jobs/{job}/events?limit=20",
                f"/studio/jobs/{job}/events?limit=100&after={after}", f"/fine_tuning/jobs/{running}",
                f"/fine_tuning/jobs/{running}/events?limit=20", "/models", "/files?limit=20",
                "/studio/datasets", "/studio/costs",
            ]
        )  # fmt: skip

    return [one() for _ in range(count)]


async def load(client: aiohttp.ClientSession, url: str, wanted: list[str], rate: float) -> list[tuple[str, float, str]]:
    """Ask at `rate` a second; returns path, milliseconds since the request was due, and status or error."""
    start = time.perf_counter() + 0.1

    async def ask(number: int, path: str) -> tuple[str, float, str]:
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        try:
            async with client.get(url + path) as reply:
                await reply.read()
                status = str(reply.status)
        except (aiohttp.ClientError, TimeoutError) as fault:
            status = type(fault).__name__
        return path.partition("?")[0], (time.perf_counter() - due) * 1000, status

    return await asyncio.gather(*(ask(number, path) for number, path in enumerate(wanted)))


def told(what: str, taken: list[float]) -> None:
    taken.sort()
    at = [taken[min(int(share * len(taken)), len(taken) - 1)] for share in (0.5, 0.95, 0.99)]
    print(f"{what:34} p50 {at[0]:7.1f}   p95 {at[1]:7.1f}   p99 {at[2]:7.1f}   max {taken[-1]:7.1f} ms")


async def measure(url: str, ids: list[str], wish: argparse.Namespace) -> None:
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        running = await train(client, url, f"{wish.model}@1")
        wanted = paths(ids, running, wish.events // wish.jobs, int(wish.rate * wish.seconds))
        await load(client, url, wanted[: int(2 * wish.rate)], wish.rate)  # warm
        before, at, used = await steps(client, url, running), time.perf_counter(), time.process_time()
        found = await load(client, url, wanted, wish.rate)
        seconds, client_seconds = time.perf_counter() - at, time.process_time() - used
        made = await steps(client, url, running) - before
    statuses = Counter(status for _, _, status in found)
    print(f"{len(found)} requests in {seconds:.1f} s, {len(found) / seconds:.0f} a second; {dict(statuses)}")
    told("all", [taken for _, taken, _ in found])
    kinds: dict[str, list[float]] = {}
    for path, taken, _ in found:
        parts = ["ID" if "job-" in part else part for part in path.split("/")]
        kinds.setdefault("/".join(parts), []).append(taken)
    for kind in sorted(kinds):
        told(kind, kinds[kind])
    print(f"training meanwhile: {made} steps, {made / seconds:.2f} a second; client: {client_seconds:.1f} s of CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--model", choices=["tiny", "embedded"], default="tiny")
    parser.add_argument("--threads", type=int, default=0, help="of the training; 0 as torch chooses")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, database_of("sqlite", Path(folder)) as database:
        home = Path(os.environ["LOGLORE_HOME"])
        print(f"{os.cpu_count()} cores, training {wish.model} with {wish.threads or 'as many threads as torch takes'}")
        source = Path(folder) / "model"
        if wish.model == "tiny":
            build_llama(source, hidden=64, heads=4, positions=1024)
        else:
            source = models.resolve("smollm2-135m-instruct")
        models.add(wish.model, source, {"from": "bench"}, database)
        ids = fill(database, wish.jobs, wish.events)
        with database.begin() as connection:  # the worker is to train, not to run these
            connection.execute(JOBS.update().where(JOBS.c.state == "queued").values(state="paused"))
        with studio(home, wish.threads) as url:
            asyncio.run(measure(url, ids, wish))


if __name__ == "__main__":
    main()
