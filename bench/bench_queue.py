"""The queue of jobs: reads of a large one, workers that share it, and processes that are killed, on both databases.

    python bench/bench_queue.py read   [--database postgresql] [--jobs 10000] [--events 1000000] [--calls 400]
    python bench/bench_queue.py once   [--database postgresql] [--workers 8] [--jobs 4000] [--processes]
    python bench/bench_queue.py chaos  [--database postgresql] [--workers 4] [--seconds 300]

`read`: milliseconds of a page of jobs, a page of events and the look that a follower takes. `once`: workers as
processes, each job writes one line when it is started; without `--processes` a job is a function in its worker, so that
claims are what is measured. `chaos`: every one to four seconds a worker or a job's process is killed with SIGKILL, and
killed workers are started again; meanwhile somebody looks twenty times a second whether any job has two processes.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support_postgresql import binary, cluster, run

from loglore.jobs import queue
from loglore.jobs.executor import DONE, Assignment
from loglore.jobs.queue import Order
from loglore.jobs.worker import Worker
from loglore.runs import files
from loglore.store import events, jobs
from loglore.store.database import Database, open_database
from loglore.store.events import EVENTS
from loglore.store.jobs import JOBS

LOG = Path(__file__).parents[1] / "examples" / "logs" / "redis.log"


@contextlib.contextmanager
def database_of(kind: str, folder: Path) -> Iterator[Database]:
    """An empty database of a kind, and the environment that leads other processes to it."""
    os.environ["LOGLORE_HOME"] = str(folder / "home")
    with contextlib.ExitStack() as stack:
        if kind == "postgresql":
            folder.chmod(0o711)  # started by root, the server runs as another user, who must get to its files
            place = folder / "cluster"
            place.mkdir()
            os.environ["LOGLORE_DATABASE"] = stack.enter_context(cluster(place)).url()
        else:
            os.environ["LOGLORE_DATABASE"] = f"sqlite:///{folder / 'home' / 'loglore.db'}"
        yield stack.enter_context(contextlib.closing(open_database()))


def read(database: Database, wish: argparse.Namespace) -> None:
    ids = fill(database, wish.jobs, wish.events)
    pick = random.Random(7)
    last = max(1, wish.events // wish.jobs)
    page_ids = [ids[pick.randrange(len(ids))] for _ in range(wish.calls)]
    timed("jobs: first page of 20", wish.calls, lambda n: jobs.jobs(database, limit=21))
    timed("jobs: a page anywhere", wish.calls, lambda n: jobs.jobs(database, after=page_ids[n], limit=21))
    timed("jobs: kind and state", wish.calls, lambda n: jobs.jobs(database, ["train"], ["failed"], limit=21))
    timed("jobs: running (none)", wish.calls, lambda n: jobs.jobs(database, states=["running"], limit=21))
    timed("job: by id", wish.calls, lambda n: jobs.find(database, page_ids[n]))
    timed("events: newest page of 20", wish.calls, lambda n: events.events(database, page_ids[n], 0, 21, True))
    timed(
        "events: a page of 100", wish.calls, lambda n: events.events(database, page_ids[n], pick.randrange(last), 100)
    )
    timed("events: a follower's look", wish.calls, lambda n: events.events(database, page_ids[n], last, 500))


def fill(database: Database, count: int, all_events: int) -> list[str]:
    start = time.monotonic()
    each = all_events // count
    kinds, states = ("train", "test", "synth", "export"), ("succeeded", "succeeded", "failed", "cancelled", "queued")
    spec = {"stage": "sft", "model": "/models/base", "train": "/data/train.jsonl", "hyperparameters": "/data/h.json"}
    data = {"step": 1, "loss": 1.234567, "learning_rate": 5e-5, "grad_norm": 0.9, "tokens": 8192, "seconds": 1.23}
    rows = [
        {
            "number": number, "id": jobs.new_id(kinds[number % 4]), "kind": kinds[number % 4], "spec": spec,
            "spec_version": 1, "name": f"job {number}", "state": states[number % 5], "wanted": "run", "note": "",
            "priority": number % 3, "created": float(number), "not_before": 0.0, "attempts": 1, "max_attempts": 3,
            "folder": f"/runs/{number}", "metadata": {}, "events": each, "indexed": {}, "price": 2.31,
        }
        for number in range(1, count + 1)
    ]  # fmt: skip
    with database.begin() as connection:
        connection.execute(JOBS.insert(), rows)
    for first in range(1, count + 1, 200):
        happened = [
            {
                "job": job, "number": number, "time": float(number), "level": "info", "type": "metrics",
                "message": f"step {number}: loss 1.234, learning_rate 5e-05", "data": data,
            }
            for job in range(first, min(first + 200, count + 1))
            for number in range(1, each + 1)
        ]  # fmt: skip
        with database.begin() as connection:
            connection.execute(EVENTS.insert(), happened)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    print(f"filled with {count:,} jobs and {each * count:,} events in {time.monotonic() - start:.0f} s")
    return [row["id"] for row in rows]


def timed(what: str, calls: int, call: Callable[[int], object]) -> None:
    taken = []
    for number in range(calls):
        start = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - start) * 1000)
    taken.sort()
    at = {share: taken[min(int(share * calls), calls - 1)] for share in (0.5, 0.95, 0.99)}
    print(
        f"{what:28} p50 {at[0.5]:6.2f} ms   p95 {at[0.95]:6.2f} ms   p99 {at[0.99]:6.2f} ms   max {taken[-1]:6.2f} ms"
    )


class Note:
    """An attempt that is over when it has begun."""

    def pulse(self) -> None: ...

    def poll(self) -> int:
        return DONE

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class Noting:
    """An executor whose jobs write one line into a file that all workers share, and do nothing else."""

    def start(self, assignment: Assignment) -> Note:
        with Path(os.environ["BENCH_JOURNAL"]).open("a") as journal:
            journal.write(f"{assignment.job_id}\n")
        files.write_json(assignment.home / "run" / "report.json", {"outputs": {}})
        return Note()


def work() -> None:
    """A worker of `once`, as a process of its own."""
    Worker(open_database(), Noting(), say=lambda text: None).run(threading.Event(), until_idle=True)


def once(database: Database, wish: argparse.Namespace) -> None:
    folder = Path(os.environ["LOGLORE_HOME"])
    files.write_jsonl(folder / "rows.jsonl", [{"text": "disk full"}])
    values = {"rows": str(folder / "rows.jsonl"), "validation_share": 0}
    os.environ["BENCH_JOURNAL"] = str(folder / "journal")
    start = time.monotonic()
    made = [queue.submit(database, "prepare", values).id for _ in range(wish.jobs)]
    print(f"{wish.jobs:,} jobs submitted, {wish.jobs / (time.monotonic() - start):,.0f} a second")
    start = time.monotonic()
    command = ["-m", "loglore", "worker", "--until-idle"] if wish.processes else [__file__, "worker"]
    workers = [
        subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(wish.workers)
    ]
    codes = [each.wait() for each in workers]
    seconds = time.monotonic() - start
    if wish.processes:
        started = Counter(
            job_id
            for job_id in made
            for row in files.read_jsonl_log(queue.home_of(job_id) / "run" / "events.jsonl")
            if row["event"] == "job started"
        )
    else:
        started = Counter(Path(os.environ["BENCH_JOURNAL"]).read_text().split())
    states = Counter(job.state for job in jobs.jobs(database, limit=wish.jobs + 1))
    wrong = {job_id: started[job_id] for job_id in made if started[job_id] != 1}
    print(
        f"{wish.workers} workers (exit codes {set(codes)}): {seconds:.1f} s, {wish.jobs / seconds:,.1f} jobs a second"
    )
    print(
        f"states {dict(states)}, started once {sum(count == 1 for count in started.values()):,}, otherwise {wrong or 0}"
    )


def chaos(database: Database, wish: argparse.Namespace) -> None:
    pick = random.Random(11)
    home = Path(os.environ["LOGLORE_HOME"])
    watch = Watch()
    made: list[str] = []
    killed: Counter[str] = Counter()
    team = [worker() for _ in range(wish.workers)]
    end = time.monotonic() + wish.seconds
    while time.monotonic() < end:
        while len(jobs.jobs(database, states=["queued"], limit=2 * wish.workers)) < 2 * wish.workers:
            made.append(submit(database, len(made)))
        time.sleep(pick.uniform(1, 4))
        if pick.random() < 0.5:
            victim = pick.randrange(len(team))
            team[victim].kill()
            team[victim].wait()
            team[victim] = worker()
            killed["workers"] += 1
        elif processes := [process for process in job_processes() if process.is_running()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                pick.choice(processes).kill()
                killed["jobs"] += 1
    while jobs.jobs(database, states=["queued", "running"], limit=1):
        time.sleep(0.5)
    for each in team:
        each.send_signal(signal.SIGTERM)
    codes = {each.wait() for each in team}
    twice = watch.stop()
    found = {job.id: job for job in jobs.jobs(database, limit=len(made) + 1)}
    ends = Counter(
        job_id
        for job_id in made
        for event in events.events(database, job_id, limit=10000)
        if event.message == "job succeeded"
    )
    print(f"{wish.seconds} s: {sum(killed.values())} kills ({dict(killed)}), {watch.looks:,} looks at the processes")
    print(
        f"{len(made)} jobs: {dict(Counter(found[job_id].state for job_id in made))}, lost {set(made) - set(found) or 0}"
    )
    print(f"ended more than once: {[job for job, n in ends.items() if n > 1] or 0}; with two processes: {twice or 0}")
    print(f"attempts {sum(job.attempts for job in found.values())}, exit codes of workers at the end {codes}")
    print(f"rows as of an undisturbed run: {same_rows([found[job_id] for job_id in made])}")
    check(database, home)


def submit(database: Database, number: int) -> str:
    values = {
        "logs": [str(LOG)], "test_chunks": 2, "validation_chunks": 1, "test_rows": 5, "validation_rows": 2,
        "train_rows": 60, "seed": number % 4,
    }  # fmt: skip
    return queue.submit(database, "synth", values, Order(str(number), max_attempts=1000)).id


def same_rows(done: list[jobs.Job]) -> str:
    """Jobs with the same seed must have written the same rows, however often they were killed."""
    digests: dict[object, set[str]] = {}
    for job in done:
        outputs = (job.report or {})["job"]["outputs"]
        digests.setdefault(job.spec["seed"], set()).add(outputs["train"])
    return "yes" if all(len(each) == 1 for each in digests.values()) else f"NO: {digests}"


def worker() -> "subprocess.Popen[bytes]":
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-m", "loglore", "worker"], stdout=quiet, stderr=quiet)


def job_processes() -> list[psutil.Process]:
    """The processes that run jobs of this bench, told by their command lines."""
    home = os.environ["LOGLORE_HOME"]
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "loglore.jobs.process" in words and words[-1].startswith(home):
            found.append(process)
    return found


class Watch:
    """Looks for jobs with two live processes."""

    def __init__(self) -> None:
        self.looks = 0
        self._twice: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.looks += 1
            folders: Counter[str] = Counter()
            for process in job_processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.status() != psutil.STATUS_ZOMBIE:
                        folders[process.info["cmdline"][-1]] += 1
            self._twice |= {Path(folder).name for folder, count in folders.items() if count > 1}

    def stop(self) -> set[str]:
        self._stop.set()
        self._thread.join()
        return self._twice


def check(database: Database, home: Path) -> None:
    """The database's own check of its files."""
    if database.engine.dialect.name == "sqlite":
        with database.begin() as connection:
            print("integrity_check:", connection.execute(sa.text("PRAGMA integrity_check")).scalar())
            print("foreign_key_check:", connection.execute(sa.text("PRAGMA foreign_key_check")).fetchall() or "ok")
        return
    url = database.engine.url
    run(
        str(binary("pg_amcheck")), "--install-missing", "--heapallindexed", "--parent-check", "-h", "127.0.0.1",
        "-p", str(url.port), "-U", str(url.username), str(url.database),
    )  # fmt: skip
    print("pg_amcheck: ok")


def main() -> None:
    if sys.argv[1:] == ["worker"]:
        work()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["read", "once", "chaos"])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--jobs", type=int, help="default: 10,000 to read, 4,000 to run")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--processes", action="store_true", help="jobs as processes of their own")
    parser.add_argument("--seconds", type=int, default=300)
    wish = parser.parse_args()
    wish.jobs = wish.jobs or (10_000 if wish.what == "read" else 4_000)
    with tempfile.TemporaryDirectory() as folder, database_of(wish.database, Path(folder)) as database:
        print(f"{wish.what} on {wish.database}, {os.cpu_count()} cores")
        {"read": read, "once": once, "chaos": chaos}[wish.what](database, wish)


if __name__ == "__main__":
    main()
