"""Index, evidence and search of a large log, beside one SQLite FTS5 row a line and `grep`, in one run.

    python bench/bench_log_index.py [--megabytes 1000] [--peer-megabytes 200] [--folder DIR] [--steps index evidence]

The log is made of the fifteen example logs, over and over: times move on, long numbers, ids and last parts of addresses
change with every round (their digits are permuted), so that most messages are distinct while their templates are not.
All layouts are mixed in one file, the hardest case for the reader. Every measurement runs in a process of its own and
reports its own peak of resident memory. The log is removed afterwards.

Peer: a table of an own FTS5 database with one row a line (`executemany`, default tokenizer, contentless), which indexes
words only: no times, levels, templates, columns. It gets the first `--peer-megabytes`.
"""

import argparse
import datetime
import json
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples" / "logs"
STAMP = re.compile(
    rb"(?P<iso>2026-11-22[T ]20:\d\d:\d\d)|(?P<slash>2026/11/22 20:\d\d:\d\d)|(?P<syslog>Nov 22 20:\d\d:\d\d)"
    rb"|(?P<http>22/Nov/2026:20:\d\d:\d\d)|(?P<redis>22 Nov 2026 20:\d\d:\d\d)|(?P<epoch>17953\d{5})"
)
FORMS = {
    "slash": "%Y/%m/%d %H:%M:%S",
    "syslog": "%b %d %H:%M:%S",
    "http": "%d/%b/%Y:%H:%M:%S",
    "redis": "%d %b %Y %H:%M:%S",
}
VARIABLE = re.compile(
    rb"(?<=[0-9]\.)[0-9]{1,3}(?![0-9.])|(?<![0-9A-Za-z+])[0-9A-F]{5,}(?![0-9A-Za-z])|(?<= )[0-9]{4}(?= )"
)
DIGITS = b"0123456789"
# Digits that stay, while the others are permuted.
KEPT = bytes(range(0x10, 0x1A))
ROUND = datetime.timedelta(minutes=13)
QUERIES = ("10.20.1.37 refused", '"Temporary failure in name resolution"', "REFUSED", "zzzz_absent", "shadow 4711*")
NEEDLE = "order 99999999 lost at needle.example"


def template(content: bytes) -> tuple[list[bytes], list[tuple[datetime.datetime, str]]]:
    """A log cut at its times: the pieces between them, digits that stay replaced, and (time, form)."""
    pieces, times, at = [], [], 0
    for found in STAMP.finditer(content):
        pieces.append(_protected(content[at : found.start()]))
        at = found.end()
        kind, text = str(found.lastgroup), found[0].decode()
        if kind == "iso":
            times.append((datetime.datetime.fromisoformat(text), f"%Y-%m-%d{text[10]}%H:%M:%S"))
        elif kind == "epoch":
            times.append((datetime.datetime.fromtimestamp(int(text), datetime.UTC).replace(tzinfo=None), "epoch"))
        else:
            year = "2026 " if kind == "syslog" else ""
            form = ("%Y " if kind == "syslog" else "") + FORMS[kind]
            times.append((datetime.datetime.strptime(year + text, form), FORMS[kind]))
    return [*pieces, _protected(content[at:])], times


def _protected(piece: bytes) -> bytes:
    keep = bytes.maketrans(DIGITS, KEPT)
    done, at = [], 0
    for found in VARIABLE.finditer(piece):
        done += [piece[at : found.start()].translate(keep), found[0]]
        at = found.end()
    return b"".join([*done, piece[at:].translate(keep)])


def rounds() -> Iterator[bytes]:
    """The example logs, again and again, each time otherwise."""
    draw = random.Random(7)
    logs = [template(path.read_bytes()) for path in sorted(EXAMPLES.glob("*.log"))]
    number = 0
    while True:
        for pieces, times in logs:
            permuted = bytes(draw.sample(DIGITS, 10))
            table = bytes.maketrans(DIGITS + KEPT, permuted + DIGITS)
            body = b"\x01".join(pieces).translate(table).split(b"\x01")
            known: dict[tuple[datetime.datetime, str], bytes] = {}
            for stamp in times:
                if stamp not in known:
                    moment = stamp[0] + number * ROUND
                    epoch = str(int(moment.replace(tzinfo=datetime.UTC).timestamp()))
                    known[stamp] = (epoch if stamp[1] == "epoch" else moment.strftime(stamp[1])).encode()
            woven = [each for pair in zip(body, (known[stamp] for stamp in times), strict=False) for each in pair]
            yield b"".join([*woven, body[-1]])
        number += 1


def write(path: Path, megabytes: int) -> None:
    """A log of that size, with one line that is there once, at two thirds."""
    size, needle = 0, False
    with path.open("wb") as log:
        for part in rounds():
            size += log.write(part)
            if not needle and size > megabytes * 667_000:
                needle = True
                size += log.write(f"2026-11-30 10:00:00 ERROR shop: {NEEDLE}\n".encode())
            if size >= megabytes * 1_000_000:
                return


def peak_gb() -> float:
    """Most resident memory of this process, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def run_index(log: Path, folder: Path) -> dict[str, object]:
    """Index."""
    from loglore.logs import table

    start = time.perf_counter()
    found = table.index([log], folder)
    seconds = time.perf_counter() - start
    sizes = {each.name: each.stat().st_size for each in folder.iterdir()}
    return {
        "seconds": seconds,
        "peak_gb": peak_gb(),
        "cpu_s": time.process_time(),
        "lines": found.height,
        "templates": len(found.templates),
        "index_mb": sum(sizes.values()) / 1e6,
        "words_mb": sizes["words.db"] / 1e6,
    }


def run_again(log: Path, folder: Path) -> dict[str, object]:
    """Index what is indexed, then follow 1 MB more."""
    from loglore.logs import table

    start = time.perf_counter()
    found = table.index([log], folder)
    middle = time.perf_counter()
    with log.open("ab") as out:
        out.write(next(rounds()) * 25)
    added = time.perf_counter()
    found.update()
    return {"again_s": middle - start, "follow_s": time.perf_counter() - added, "peak_gb": peak_gb()}


def run_evidence(log: Path, folder: Path) -> dict[str, object]:
    """An evidence pack of 4,000 tokens, with and without a question, in a fresh process; imports are not timed."""
    from loglore.logs import evidence, table

    def tokens(text: str) -> int:
        return len(text) // 4

    timed = {}
    for name, question in (("plain", ""), ("asked", "why was order 99999999 lost?")):
        start = time.perf_counter()
        found = evidence.build(table.open_table(folder), 4000, tokens, question)
        timed[f"{name}_s"] = time.perf_counter() - start
    return {**timed, "needle": NEEDLE in found.text, "peak_gb": peak_gb()}


def run_search(log: Path, folder: Path) -> dict[str, object]:
    """Every query, and `grep` for the same words."""
    from loglore.logs import search, table

    rows = []
    found = table.open_table(folder)
    for query in (NEEDLE, *QUERIES):
        start = time.perf_counter()
        result = search.search(found, query)
        seconds = time.perf_counter() - start
        word = max(re.findall(r"[^\s\"*]+", query), key=len)
        start = time.perf_counter()
        grep = subprocess.run(["grep", "-c", "-i", "-F", word, log], capture_output=True, text=True, check=False)
        rows.append((query, result.total, seconds, result.blocks, time.perf_counter() - start, int(grep.stdout)))
    return {"rows": rows, "peak_gb": peak_gb()}


def run_peer(log: Path, folder: Path) -> dict[str, object]:
    """One row a line."""
    database = sqlite3.connect(folder / "peer.db")
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("CREATE VIRTUAL TABLE lines USING fts5(text, content='')")
    start = time.perf_counter()
    with log.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        database.executemany("INSERT INTO lines(text) VALUES (?)", ((line,) for line in lines))
    database.commit()
    seconds = time.perf_counter() - start
    size = (folder / "peer.db").stat().st_size / 1e6
    return {"seconds": seconds, "peak_gb": peak_gb(), "index_mb": size, "megabytes": log.stat().st_size / 1e6}


STEPS = {"index": run_index, "evidence": run_evidence, "search": run_search, "again": run_again, "peer": run_peer}


def apart(step: str, log: Path, folder: Path) -> dict[str, object]:
    """Run a step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, "--log", str(log), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--peer-megabytes", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="what to measure; index first")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(STEPS[options.step](options.log, options.folder)))
        return
    work = Path(tempfile.mkdtemp(dir=options.folder, prefix="bench-log-index-"))
    try:
        log = work / "big.log"
        write(log, options.megabytes)
        size = log.stat().st_size / 1e6
        for step in [each for each in options.steps if each != "peer"]:
            found = apart(step, log, work / "table")
            rate = f"{size / float(str(found['seconds'])):.1f} MB/s, " if step == "index" else ""
            rows = found.pop("rows", [])
            print(
                f"{step:9} {rate}" + ", ".join(f"{name} {_shown(value)}" for name, value in found.items()), flush=True
            )
            for query, total, seconds, blocks, grep, lines in rows:  # type: ignore[attr-defined]
                print(f"    {query:45} {total:9,} lines {seconds:7.3f} s, blocks read {blocks}", end="")
                print(f"; grep {lines:,} {grep:.3f} s")
        if "peer" in options.steps:
            write(log, options.peer_megabytes)
            peer = apart("peer", log, work)
            print(f"{'peer':9} {float(str(peer['megabytes'])) / float(str(peer['seconds'])):.1f} MB/s, " + str(peer))
    finally:
        shutil.rmtree(work)


def _shown(value: object) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
