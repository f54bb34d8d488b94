"""The fan-out runner against the bare `openai` client: throughput, CPU a request, memory, and what survives a storm.

    python bench/bench_runner.py [--requests 6400] [--concurrency 64] [--latency 0.2] [--rounds 3]
    python bench/bench_runner.py --memory 100000 [--latency 0.05]
    python bench/bench_runner.py --storm 10000 [--kills 3]

Throughput: both ask the same local server (a process of its own, `tests/support_storm.py`) in turn, round by round; the
bare side is `AsyncOpenAI().chat.completions.create` behind a semaphore, one task a request. Memory: resident size after
a tenth and at the end. Storm: a worker process is killed with SIGKILL at random moments and started again.
"""

import argparse
import asyncio
import contextlib
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from loglore.endpoint.items import Accept, Again, Item, Reject
from loglore.endpoint.runner import Fanout
from loglore.endpoint.target import Answer, Request, Target

SERVER = Path(__file__).parents[1] / "tests" / "support_storm.py"
LINE = "Nov 22 09:18:05 gate01 sshd[2110]: Failed password for invalid user ghost from 10.20.1.31 port 41022 ssh2\n"


@contextlib.contextmanager
def served(*options: str) -> Iterator[str]:
    """The server with its options; yields its base URL."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def question(number: int) -> str:
    """A prompt of about 4,000 characters, as a chunk of a log is."""
    return f"Question {number}\n" + LINE * 37


def requests(first: int, count: int) -> Iterator[Item]:
    for number in range(first, first + count):
        message = {"role": "user", "content": question(number)}
        yield Item(str(number), Request((message,), max_tokens=64))


def judge(item: Item, answer: Answer, turn: int) -> Accept | Again | Reject:
    """As a schema check does: valid JSON with the right echo, else one repair."""
    try:
        good = json.loads(answer.text)["value"] == 1
    except (ValueError, KeyError, TypeError):
        good = False
    if good:
        return Accept(answer.text)
    return Again("Answer in JSON with `value`.") if turn == 0 else Reject("not the JSON that was asked for")


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def bare(url: str, first: int, count: int, concurrency: int) -> None:
    """The peer: the client as its documentation shows it."""
    from openai import AsyncOpenAI

    async def run() -> None:
        import httpx2

        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        client = AsyncOpenAI(base_url=url, api_key="x", http_client=httpx2.AsyncClient(limits=limits, timeout=60))
        gate = asyncio.Semaphore(concurrency)

        async def one(item: Item) -> str:
            async with gate:
                answer = await client.chat.completions.create(
                    model="storm", messages=list(item.request.messages), max_tokens=64, temperature=0, seed=0
                )
                return answer.choices[0].message.content or ""

        await asyncio.gather(*(one(item) for item in requests(first, count)))
        await client.close()

    asyncio.run(run())


def ours(url: str, first: int, count: int, concurrency: int, folder: Path) -> None:
    fanout = Fanout(
        [Target(url=url, model="storm", concurrency=concurrency)], folder / "answers.jsonl", folder / "outcomes.jsonl"
    )
    tally = fanout.run(requests(first, count), judge)
    fanout.close()
    assert tally.accepted == count, tally


def throughput(options: argparse.Namespace) -> None:
    print(f"{options.requests} requests, concurrency {options.concurrency}, latency {options.latency} s")
    ideal = options.concurrency / options.latency
    print(f"{'side':<8}{'round':>6}{'requests/s':>12}{'of ideal':>10}{'CPU ms/request':>16}")
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    with served("--latency", str(options.latency)) as url, tempfile.TemporaryDirectory() as scratch:
        first = 0
        for number in range(options.rounds + 1):
            for side in ("bare", "ours") if number % 2 else ("ours", "bare"):
                start, used = time.monotonic(), cpu()
                if side == "bare":
                    bare(url, first, options.requests, options.concurrency)
                else:
                    ours(url, first, options.requests, options.concurrency, Path(scratch) / str(number))
                rate = options.requests / (time.monotonic() - start)
                each = (cpu() - used) / options.requests * 1000
                first += options.requests
                if number:  # the first round imports and warms up
                    rates[side].append(rate)
                    times[side].append(each)
                    print(f"{side:<8}{number:>6}{rate:>12.1f}{rate / ideal:>10.1%}{each:>16.2f}")
    ratio = sum(rates["ours"]) / sum(rates["bare"])
    extra = (sum(times["ours"]) - sum(times["bare"])) / options.rounds
    print(f"throughput ours / bare: {ratio:.3f} (wanted >= 0.97); CPU above bare: {extra:+.2f} ms (wanted <= 0.5)")


def memory(options: argparse.Namespace) -> None:
    total = options.memory
    seen: list[tuple[int, float]] = []

    def watched(item: Item, answer: Answer, turn: int) -> Accept | Again | Reject:
        number = int(item.id) + 1
        if number % (total // 10) == 0:
            seen.append((number, resident_mb()))
            print(f"{number:>8} requests: {seen[-1][1]:.1f} MB", flush=True)
        return judge(item, answer, turn)

    with served("--latency", str(options.latency)) as url, tempfile.TemporaryDirectory() as scratch:
        target = Target(url=url, model="storm", concurrency=options.concurrency)
        fanout = Fanout([target], Path(scratch) / "a.jsonl", Path(scratch) / "o.jsonl")
        start = time.monotonic()
        tally = fanout.run(requests(0, total), watched)
        print(f"{tally.accepted} accepted in {time.monotonic() - start:.0f} s, journals {_size(Path(scratch)):.0f} MB")
        fanout.close()
    print(f"growth from a tenth to the end: {seen[-1][1] - seen[0][1]:+.1f} MB")


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def storm(options: argparse.Namespace) -> None:
    faults = ["--latency", "0.02", "--passing", "0.25", "--lasting", "0.1", "--unrepaired", "0.3", "--wait", "0.2"]
    scratch = Path(tempfile.mkdtemp())
    with served(*faults) as url:
        command = [sys.executable, __file__, "--worker", url, "--storm", str(options.storm), "--folder", str(scratch)]
        start = time.monotonic()
        for number in range(options.kills):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            time.sleep(random.Random(number).uniform(3, 8))
            process.send_signal(signal.SIGKILL)
            process.wait()
            print(f"killed after {time.monotonic() - start:.0f} s: {stats(url)}", flush=True)
        runs = 0
        while subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() != "finished":
            runs += 1
        print(f"{runs + 1} runs to the end, {time.monotonic() - start:.0f} s in all")
        check(options.storm, scratch, stats(url), options.kills * options.concurrency)
    shutil.rmtree(scratch)


def check(count: int, folder: Path, served_counts: dict[str, int], allowed: int) -> None:
    """Every row once, accepted or with a reason; answers served more than once are those that were in flight."""
    from loglore.endpoint.journal import Journal, digest

    states: dict[str, int] = {}
    with Journal(folder / "outcomes.jsonl") as outcomes:
        for item in requests(0, count):
            outcome = outcomes.get(digest(item.id))
            assert outcome is not None, f"row {item.id} is lost"
            assert outcome["status"] == "accepted" or outcome["reason"], outcome
            states[outcome["status"]] = states.get(outcome["status"], 0) + 1
        assert len(outcomes) == count, "more rows than asked"
    print(f"{count} rows: {states}; server: {served_counts}")
    print(f"answers served again: {served_counts['repeated']} (in flight at a kill: at most {allowed})")
    assert served_counts["repeated"] <= allowed


def stats(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/stats") as response:
        found: dict[str, int] = json.load(response)
    return found


def worker(options: argparse.Namespace) -> None:
    target = Target(url=options.worker, model="storm", concurrency=options.concurrency, timeout_s=2.0)
    fanout = Fanout([target], options.folder / "answers.jsonl", options.folder / "outcomes.jsonl")
    tally = fanout.run(requests(0, options.storm), judge)
    # Rows that were cut off or refused are asked again by each run; three are enough to see that they stay listed.
    runs = options.folder / "runs"
    done = int(runs.read_text()) + 1 if runs.exists() else 1
    runs.write_text(str(done))
    print("finished" if not tally.unfinished or done >= 3 else "unfinished")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=6400)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=0, help="so many requests, memory watched")
    parser.add_argument("--storm", type=int, default=0, help="so many requests to a server full of faults")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
    elif options.memory:
        memory(options)
    elif options.storm:
        storm(options)
    else:
        throughput(options)


if __name__ == "__main__":
    main()
