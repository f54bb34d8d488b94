"""Speed of the data verbs that read whole files, each alone and on one core: MB/s of the file.

    python bench/bench_check.py FOLDER [--megabytes 600] [--held-out 500]
    python bench/bench_check.py FOLDER --line 5000      # an array of 5 GB in one line, read and checked

Writes FOLDER/bench.json (one array, nlplog rows of about 2.3 kB from a seeded generator of log-like text) once and a
held-out file beside it, then times: reading, reading as JSON Lines, check without and with near duplicates, check with
a held-out file (leaks), convert to corpus, split by share. Peers in the same run where they can be imported: `ijson`
(reading) and `datasketch` (MinHash of the same windows, 64 permutations, on the first 200 rows); install them for it:
pip install ijson datasketch. Prints one table; peak memory of each step is measured in a process of its own.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

WORDS = 5000


def generate(path: Path, megabytes: int, seed: int) -> None:
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz._-/:", k=dice.randint(2, 12))) for _ in range(WORDS)]
    with path.open("w") as stream:
        size = 0
        stream.write("[")
        while size < megabytes * 1e6:
            log = " ".join(dice.choices(words, k=30)) + f" pid={dice.randint(1, 99999)}"
            answer = "\n".join(" ".join(dice.choices(words, k=24)) for _ in range(10))
            row = {"instruction": f"Explain this log: {log}", "log": log, "output": answer, "domain": "bench"}
            text = ("," if size else "") + json.dumps(row)
            stream.write(text)
            size += len(text)
        stream.write("]")


def generate_line(path: Path, megabytes: int) -> None:
    """One array in one line: a block of about 20 MB, repeated, so that the disk and not the generator is the limit."""
    block = path.with_name("block.json")
    generate(block, 20, 3)
    rows = block.read_bytes()[1:-1]
    with path.open("wb") as stream:
        stream.write(b"[" + rows)
        for _ in range(max(0, round(megabytes * 1e6 / len(rows)) - 1)):
            stream.write(b"," + rows)
        stream.write(b"]")


def _read(path: Path) -> None:
    from loglore.data.files import open_rows

    for _ in open_rows(path):
        pass


def _check(path: Path, *others: Path, near: bool = False) -> None:
    from loglore.data.check import check, parse_input

    check([parse_input(str(one)) for one in (path, *others)], near_duplicates=near)


def _convert(path: Path) -> None:
    from loglore.data import convert, writing

    writing.write_rows(path.with_name("bench-out.jsonl"), convert.rows(path, "corpus"))


def _split(path: Path) -> None:
    from loglore.data.split import Quotas, split

    sides = ("train", "validation", "test")
    split(path, {side: str(path.with_name(f"bench-{side}.jsonl")) for side in sides}, Quotas(0.01, 0.01))


def _ijson(path: Path) -> None:
    import ijson

    with path.open("rb") as stream:
        for _ in ijson.items(stream, "item", buf_size=1 << 20):
            pass


def _datasketch(path: Path) -> None:
    from datasketch import MinHash

    from loglore.data.files import open_rows

    for number, row in open_rows(path):
        raw = (row["instruction"] + "\n" + row["output"]).encode()
        MinHash(num_perm=64).update_batch([raw[place : place + 16] for place in range(len(raw) - 15)])
        if number == 200:
            return


STEPS: dict[str, Callable[[Path], None]] = {
    "read line": lambda path: _read(path.with_name("line.json")),
    "check line": lambda path: _check(path.with_name("line.json")),
    "read array": _read,
    "read lines": lambda path: _read(path.with_suffix(".jsonl")),
    "read array, ijson": _ijson,
    "check": _check,
    "check, near duplicates": lambda path: _check(path, near=True),
    "check, leaks": lambda path: _check(path, path.with_name("bench_test.json")),
    "convert to corpus": _convert,
    "split by share": _split,
    "MinHash of 200 rows, datasketch": _datasketch,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--held-out", type=int, default=500, help="rows of the held-out file")
    parser.add_argument("--line", type=int, help="megabytes of an array in one line; only that is measured")
    parser.add_argument("--only", choices=list(STEPS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    path = asked.folder / "bench.json"
    if asked.only:
        started = time.perf_counter()
        STEPS[asked.only](path)
        print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    if asked.line:
        generate_line(path.with_name("line.json"), asked.line)
        table(asked.folder, path.with_name("line.json"), ("read line", "check line"))
        return
    if not path.exists():
        generate(path, asked.megabytes, 1)
        generate(path.with_name("bench_test.json"), max(1, asked.held_out * 23 // 10_000), 2)
        with path.with_suffix(".jsonl").open("w") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in json.loads(path.read_text()))
    table(asked.folder, path, [name for name in STEPS if "line" not in name.split()])


def table(folder: Path, file: Path, steps: Sequence[str]) -> None:
    """Run steps, each in a process of its own, and print a row for each."""
    size = file.stat().st_size / 1e6
    print(f"{size:.0f} MB\n{'step':34} {'seconds':>8} {'MB/s':>7} {'peak MB':>8}")
    for name in steps:
        command = [sys.executable, __file__, str(folder), "--only", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name:34} {done.stderr.strip().splitlines()[-1]}")
            continue
        seconds, peak = map(float, done.stdout.split())
        print(f"{name:34} {seconds:8.1f} {size / seconds:7.0f} {peak:8.0f}")


if __name__ == "__main__":
    main()
