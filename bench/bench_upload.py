"""A file of 5 GB uploaded in parts and interrupted twice: the same hash at the end, and memory that stays flat.

Parts are sent as the API's handler sends them, through `hub.files.add_part`, by a process that is killed (SIGKILL) in
the middle of a part twice; the next one asks which parts are there and goes on. The oracle is hashlib over the same
bytes in one go. Memory is the peak of the sending process, against that of an upload of one part.

    python bench/bench_upload.py [--gigabytes 5] [--storage FOLDER or s3://…]
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PART = 64 << 20
CHUNK = 1 << 20


def chunks(number: int, block: bytes) -> Iterator[bytes]:
    """The bytes of part `number`: a random block, each MiB of it made its own by a counter."""
    for place in range(PART // CHUNK):
        yield (number * (PART // CHUNK) + place).to_bytes(8, "big") + block[8:]


def send(upload_id: str, parts: int, die_at: int, block: bytes) -> None:
    """Send the parts that are missing; be killed in the middle of part `die_at`."""
    from loglore.hub import files
    from loglore.store.database import open_database

    def dying() -> Iterator[bytes]:
        for place, chunk in enumerate(chunks(die_at, block)):
            if place == PART // CHUNK // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield chunk

    with open_database() as database:
        order = [part.id for part in files.parts(database, upload_id)]
        for number in range(len(order), parts):
            content = dying() if number == die_at else chunks(number, block)
            order.append(files.add_part(database, upload_id, content).id)
        started = time.perf_counter()
        _, made = files.complete(database, upload_id, order)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    done = {"sha256": made.sha256, "peak_mib": int(peak.split()[1]) >> 10, "complete_s": time.perf_counter() - started}
    print(json.dumps(done))


def upload(parts: int, deaths: list[int], block: Path) -> dict[str, object]:
    """One upload by as many processes as it takes; what the last one said, and how long all took."""
    from loglore.hub import files
    from loglore.store.database import open_database

    with open_database() as database:
        upload_id = files.begin(database, "bench", "user_data", parts * PART, "application/octet-stream").id
    started = time.perf_counter()
    for die_at in [*deaths, -1]:
        command = [sys.executable, __file__, "--send", upload_id, str(parts), str(die_at), str(block)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == (0 if die_at < 0 else -signal.SIGKILL), done.stderr
    return {**json.loads(done.stdout), "seconds": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--storage", default="")
    parser.add_argument("--send", nargs=4, metavar=("UPLOAD", "PARTS", "DIE_AT", "BLOCK"))
    wanted = parser.parse_args()
    if wanted.send:
        send(wanted.send[0], int(wanted.send[1]), int(wanted.send[2]), Path(wanted.send[3]).read_bytes())
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["LOGLORE_HOME"] = home
        if wanted.storage:
            os.environ["LOGLORE_STORAGE"] = wanted.storage
        block = Path(home) / "block"
        block.write_bytes(os.urandom(CHUNK))
        parts = max(4, round(wanted.gigabytes * 1e9 / PART))
        small = upload(1, [], block)
        large = upload(parts, [parts // 3, 2 * parts // 3], block)
        started, whole = time.perf_counter(), hashlib.sha256()
        for number in range(parts):
            for chunk in chunks(number, block.read_bytes()):
                whole.update(chunk)
        hashing = time.perf_counter() - started
    size, seconds, together = parts * PART, float(str(large["seconds"])), float(str(large["complete_s"]))
    print(f"{size:,} bytes in {parts} parts, killed twice: {seconds:.1f} s, {size / 1e6 / seconds:.0f} MB/s")
    print(f"of which {together:.1f} s to put the parts together; hashing them in one go takes {hashing:.1f} s")
    print(f"same hash: {large['sha256'] == whole.hexdigest()}")
    print(f"peak memory: {large['peak_mib']} MiB; for one part of 64 MiB: {small['peak_mib']} MiB")


if __name__ == "__main__":
    main()
