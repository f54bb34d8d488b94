"""A file of 5 GB uploaded in parts and interrupted twice: the same hash at the end, and memory that stays flat.

    python bench/bench_upload.py [--gigabytes 5] [--storage FOLDER or s3://…]
    python bench/bench_upload.py --http [--gigabytes 5]

Parts are sent as the API's handler sends them, through `hub.files.add_part`, by a process that is killed (SIGKILL) in
the middle of a part twice; the next one asks which parts are there and goes on. Memory is the peak of that process,
against that of an upload of one part. With `--http` the official client sends them to a real API process: in the middle
of a part first the client is killed, then the server, which is started again; memory is the server's, sampled from
outside. The oracle is hashlib over the same bytes in one go.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import psutil

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


class Server:
    """The API as a process over the home of the environment; `first` and `peak` are its memory in MiB, sampled."""

    def __init__(self, port: int = 0) -> None:
        command = [sys.executable, "-m", "loglore.api", "--port", str(port), "--until-eof"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()
        self.process.stdout.readline()
        self.first = self.peak = psutil.Process(self.process.pid).memory_info().rss / 2**20
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        seen = psutil.Process(self.process.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            while self.process.poll() is None:
                self.peak = max(self.peak, seen.memory_info().rss / 2**20)
                time.sleep(0.02)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Half(io.BytesIO):
    """The bytes of a part; when half of them are sent, something happens."""

    def __init__(self, content: bytes, then: Callable[[], None]) -> None:
        super().__init__(content)
        self._then = then

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > PART // 2:
            self._then()
        return super().read(size)


def send_http(url: str, upload_id: str, parts: int, die_at: int, block: bytes) -> list[str]:
    """Send the missing parts by the official client; be killed in the middle of part `die_at`; ids of all parts."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600)
    known = client.get(f"/uploads/{upload_id}", cast_to=object)
    order = [part["id"] for part in known["parts"]]  # type: ignore[index]
    for number in range(len(order), parts):
        content: io.BytesIO = io.BytesIO(b"".join(chunks(number, block)))
        if number == die_at:
            content = Half(content.getvalue(), lambda: os.kill(os.getpid(), signal.SIGKILL))
        order.append(client.uploads.parts.create(upload_id, data=content).id)
    return order


def over_http(parts: int, block: Path) -> None:
    server = Server()
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=600)
    started = time.perf_counter()
    made = client.uploads.create(bytes=parts * PART, filename="bench", mime_type="text/plain", purpose="user_data")
    command = [sys.executable, __file__, "--send", server.url, made.id, str(parts), str(parts // 3), str(block)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    # The second interruption: the server dies while it receives a later part.
    command[6] = str(parts)  # this one does not kill itself
    sender = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(client.get(f"/uploads/{made.id}", cast_to=object)["parts"]) < 2 * parts // 3:  # type: ignore[index]
        time.sleep(0.05)
    server.process.kill()
    server.process.wait()
    assert sender.wait() != 0
    again = Server(int(server.url.rpartition(":")[2]))
    order = send_http(again.url, made.id, parts, -1, block.read_bytes())
    sent = time.perf_counter()
    done = client.uploads.complete(made.id, part_ids=order)
    seconds, together = time.perf_counter() - started, time.perf_counter() - sent
    again.close()
    whole = hashlib.sha256()
    for number in range(parts):
        for chunk in chunks(number, block.read_bytes()):
            whole.update(chunk)
    assert done.file is not None
    size = parts * PART
    print(f"{size:,} bytes in {parts} parts over HTTP, client and server killed: {seconds:.1f} s, of which")
    print(f"{together:.1f} s to put them together; {size / 1e6 / seconds:.0f} MB/s in all")
    print(f"same hash: {done.file.sha256 == whole.hexdigest()}")  # type: ignore[attr-defined]
    for name, each in (("first server", server), ("second server", again)):
        print(f"memory of the {name}: {each.first:.0f} MiB at first, {each.peak:.0f} MiB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--storage", default="")
    parser.add_argument("--http", action="store_true", help="to a real API process")
    parser.add_argument("--send", nargs="+", help="used by itself: [URL] UPLOAD PARTS DIE_AT BLOCK")
    wanted = parser.parse_args()
    if wanted.send and len(wanted.send) == 5:
        url, upload_id, parts, die_at, block = wanted.send
        send_http(url, upload_id, int(parts), int(die_at), Path(block).read_bytes())
        return
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
        if wanted.http:
            over_http(parts, block)
            return
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
