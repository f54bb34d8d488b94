"""Redis 7: a cache with RDB and AOF persistence, access lists, a replica and memory limits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from random import Random

from lab import (
    ROOT,
    CaptureError,
    Recorder,
    certificate,
    make_dir,
    must,
    rng,
    run,
    send_bytes,
    small_disk,
    spawn,
    stop,
    wait_until,
    write_file,
)

HOME = ROOT / "redis"
DATA = HOME / "data"
PORT, TLS_PORT, REPLICA_PORT = 6379, 6390, 6380

CONFIG = f"""
bind 127.0.0.1 10.20.0.17
port {PORT}
tls-port {TLS_PORT}
tls-cert-file {HOME}/cache01.crt
tls-key-file {HOME}/cache01.key
tls-auth-clients no
logfile {ROOT}/log/redis.log
loglevel verbose
dir {DATA}
enable-debug-command yes
enable-protected-configs yes
rdbcompression no
save 2 5
save 60 1
appendonly yes
auto-aof-rewrite-percentage 0
maxclients 40
proto-max-bulk-len 1mb
client-output-buffer-limit pubsub 200kb 100kb 1
slowlog-log-slower-than 5000
repl-diskless-sync-delay 0
repl-timeout 6
stop-writes-on-bgsave-error yes
user default on nopass ~* &* +@all
user till on >till-roll ~cart:* +get +set
"""


def cli(*words: object, port: int = PORT, flags: tuple[str, ...] = ()) -> str:
    """Send one command and return the answer."""
    return run(["redis-cli", "-p", str(port), *flags, *map(str, words)]).stdout.strip()


class Server:
    """The cache server and its log; the server writes its own log file."""

    def __init__(self) -> None:
        make_dir(HOME, "redis")
        make_dir(DATA, "redis")
        make_dir(ROOT / "log", mode=0o777)
        certificate(HOME, "cache01", owner="redis")
        self.log = Recorder("redis", "redis", ROOT / "log/redis.log")
        self.configure()
        self.start()

    def configure(self, more: str = "") -> None:
        """Write the configuration, with extra lines at its end."""
        write_file(HOME / "redis.conf", CONFIG + more, "redis")

    def launch(self, *words: str) -> subprocess.Popen[bytes]:
        """Start the server without waiting for it."""
        return spawn(["redis-server", HOME / "redis.conf", *words], host="cache01", user="redis")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process = self.launch()
        wait_until(lambda: cli("PING") == "PONG", "Redis")

    def fails_to_start(self, *words: str) -> None:
        """Start the server, which is expected to give up by itself."""
        if self.launch(*words).wait(20) == 0:
            raise CaptureError("Redis ended without an error")


def ordinary_work(rounds: int, random: Random) -> None:
    """Set, read and expire keys, subscribe, save and rewrite."""
    for _ in range(rounds):
        lines = [f"SET cart:{random.randint(1, 500)} {'x' * random.randint(5, 60)} EX {random.randint(1, 90)}"]
        lines += [f"LPUSH queue:mail {random.randint(1, 9)}", "PUBLISH stock changed", "HINCRBY hits home 1"]
        lines += random.sample(
            ["INCR visits", "EVAL 'return 1' 0", "LRANGE queue:mail 0 3", "GET cart:1 2", "NOSUCH"], 2
        )
        run(["redis-cli", "-p", str(PORT)], stdin="\n".join(lines) + "\n")
    cli(random.choice(("BGSAVE", "BGREWRITEAOF")))
    time.sleep(0.4)


def access_faults(server: Server) -> None:
    """Refused clients: wrong passwords, access lists, protocol errors, TLS and too many clients."""
    log = server.log
    with log.fault(
        "protocol-error",
        injected="clients sent an invalid bulk length and an oversized multibulk count",
        root_cause="A broken client library sends malformed RESP requests.",
        evidence="Protocol error (invalid bulk length) from client",
    ):
        send_bytes(PORT, b"*1\r\n$-7\r\nPING\r\n")
        send_bytes(PORT, b"POST / HTTP/1.1\r\nHost: 10.20.0.17\r\n\r\n", "10.20.0.17")
        send_bytes(PORT, b"*9999999999\r\n")
        send_bytes(PORT, b"*2\r\n+GET\r\n")
        send_bytes(PORT, b"GET 'unbalanced\r\n")
    with log.fault(
        "tls-handshake",
        injected="a plain text client and a TLS 1.1 client connected to the TLS port",
        root_cause="The clients do not speak a TLS version that the server accepts.",
        evidence="Error accepting a client connection",
    ):
        send_bytes(TLS_PORT, b"PING\r\n")
        run(["curl", "-sk", "--tls-max", "1.1", f"https://127.0.0.1:{TLS_PORT}/"])
    with log.fault(
        "slow-subscriber",
        injected="a subscriber stopped reading while 100 KB messages were published",
        root_cause="The pub/sub client reads too slowly and passed its output buffer limit.",
        evidence="scheduled to be closed ASAP for overcoming of output buffer limits",
    ):
        stalled = spawn(["redis-cli", "-p", str(PORT), "SUBSCRIBE", "stock"])
        wait_until(lambda: cli("PUBSUB", "NUMSUB", "stock").endswith("1"), "the subscriber")
        stalled.send_signal(signal.SIGSTOP)
        run(["redis-cli", "-p", str(PORT)], stdin=f"PUBLISH stock {'y' * 100_000}\n" * 60)
        stop(stalled, signal.SIGKILL)


def persistence_faults(server: Server) -> None:
    """Failing background saves: full disk, no permission, killed child."""
    log = server.log
    with (
        small_disk(HOME / "disk", "1M", "redis") as disk,
        log.fault(
            "rdb-disk-full",
            injected="a background save into a folder on a 1 MB disk",
            root_cause="The file system that holds dump.rdb is full.",
            evidence="No space left on device",
        ),
    ):
        cli("DEBUG", "POPULATE", 20000, "stock", 120)
        cli("CONFIG", "SET", "appendonly", "no")
        cli("CONFIG", "SET", "dir", disk)
        cli("BGSAVE")
        log.wait_text("Background saving error")
        cli("SET", "cart:1", "refused")
        cli("CONFIG", "SET", "dir", DATA)
        cli("FLUSHALL")
    cli("CONFIG", "SET", "appendonly", "yes")
    with log.fault(
        "rdb-permission",
        injected="the data folder was given to root and a background save started",
        root_cause="The redis user may not write to its data folder any more.",
        evidence="Failed opening the temp RDB file",
    ):
        shutil.chown(DATA, "root")
        cli("BGSAVE")
        log.wait_text("Permission denied")
        cli("BGREWRITEAOF")
        time.sleep(0.6)
        shutil.chown(DATA, "redis")
    with log.fault(
        "killed-save",
        injected="kill -9 of the child process during a background save",
        root_cause="The saving child was killed by SIGKILL, as an out-of-memory killer would do.",
        evidence="Background saving terminated by signal 9",
    ):
        cli("CONFIG", "SET", "rdb-key-save-delay", 200000)
        cli("MSET", "a", 1, "b", 2, "c", 3, "d", 4)
        cli("BGSAVE")
        wait_until(lambda: bool(children(server.process.pid)), "the saving child")
        os.kill(children(server.process.pid)[0], signal.SIGKILL)
        log.wait_text("terminated by signal 9")
        cli("CONFIG", "SET", "rdb-key-save-delay", 0)


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def replication_faults(server: Server) -> None:
    """A replica that follows, is cut off, and asks with a wrong password or a dead master."""
    log = server.log
    replica = spawn(
        [
            "redis-server",
            "--port",
            str(REPLICA_PORT),
            "--dir",
            make_dir(HOME / "replica", "redis"),
            "--replicaof",
            "127.0.0.1",
            str(PORT),
            "--save",
            "",
        ],
        host="cache02",
        user="redis",
    )
    wait_until(lambda: "link_status:up" in cli("INFO", "replication", port=REPLICA_PORT), "the replica")
    with log.fault(
        "replica-timeout",
        injected="the replica process was stopped with SIGSTOP for longer than repl-timeout",
        root_cause="The replica hangs and does not acknowledge the replication stream within repl-timeout.",
        evidence="Disconnecting timedout replica",
        timeout=25,
    ):
        replica.send_signal(signal.SIGSTOP)
        log.wait_text("Disconnecting timedout replica", timeout=25)
        replica.send_signal(signal.SIGCONT)
    stop(replica)
    with log.fault(
        "master-down",
        injected="the cache was made a replica of a port on which nothing listens",
        root_cause="The configured master is down, so every connection to it is refused.",
        evidence="Error condition on socket for SYNC: Connection refused",
    ):
        cli("REPLICAOF", "127.0.0.1", "6399")
        time.sleep(2.2)
        cli("REPLICAOF", "NO", "ONE")


def start_faults(server: Server) -> None:
    """Starts that fail: port in use, broken AOF, broken RDB; and a killed server."""
    log = server.log
    with log.fault(
        "port-in-use",
        injected="a second server was started on the same port",
        root_cause="Another Redis process already listens on port 6379.",
        evidence="bind: Address already in use",
    ):
        server.fails_to_start("--tls-port", "0")
    with log.fault(
        "truncated-aof",
        injected="the server was killed with SIGKILL and its append-only file cut in the middle of a command",
        root_cause="The append-only file ends in the middle of a command after a crash.",
        evidence="Unexpected end of file reading the append only file",
    ):
        cli("SET", "cart:77", "z" * 200)
        stop(server.process, signal.SIGKILL)
        tail = max((DATA / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        os.truncate(tail, tail.stat().st_size - 90)
        server.fails_to_start("--aof-load-truncated", "no")
        server.start()
        stop(server.process)
    with log.fault(
        "corrupt-aof",
        injected="garbage was written into the append-only file",
        root_cause="The append-only file is damaged in its middle.",
        evidence="Bad file format reading the append only file",
    ):
        with tail.open("r+b") as aof:
            aof.seek(8)
            aof.write(b"garbage" * 6)
        server.fails_to_start()
        shutil.rmtree(DATA / "appendonlydir")
    with log.fault(
        "corrupt-rdb",
        injected="dump.rdb was replaced with text",
        root_cause="dump.rdb is not an RDB file: its signature is wrong.",
        evidence="Wrong signature trying to load DB from file",
    ):
        write_file(DATA / "dump.rdb", "this is not a database dump\n" * 3, "redis")
        server.fails_to_start("--appendonly", "no")
        (DATA / "dump.rdb").unlink()
    with log.fault(
        "certificate-mismatch",
        injected="the server was started with a TLS certificate that does not belong to its key",
        root_cause="The TLS certificate and the private key do not match.",
        evidence="Failed to configure TLS",
    ):
        certificate(HOME, "other", owner="redis")
        server.fails_to_start("--tls-cert-file", str(HOME / "other.crt"), "--port", "6395")
    server.start()


def memory_fault(server: Server) -> None:
    """Reach maxmemory, watched through the periodic statistics of the debug log level."""
    cli("CONFIG", "SET", "loglevel", "debug")
    time.sleep(5.5)  # the statistics come every five seconds
    cli("DEBUG", "SLEEP", "0.3")
    with server.log.fault(
        "out-of-memory-limit",
        injected="maxmemory was set below the memory in use, with policy noeviction",
        root_cause="maxmemory is smaller than the data set and the policy forbids eviction, so writes are refused.",
        evidence="WARNING: the new maxmemory value set via CONFIG SET",
    ):
        cli("DEBUG", "POPULATE", 5000, "big", 200)
        cli("CONFIG", "SET", "maxmemory", "1mb")
        cli("SET", "cart:5", "no-room")
        cli("CONFIG", "SET", "maxmemory", "0")
    cli("CONFIG", "SET", "loglevel", "verbose")


def capture() -> list[Recorder]:
    """Run the Redis scenario and return its log."""
    random = rng("redis")
    server = Server()
    ordinary_work(10, random)
    access_faults(server)
    ordinary_work(10, random)
    persistence_faults(server)
    ordinary_work(8, random)
    replication_faults(server)
    start_faults(server)
    ordinary_work(10, random)
    memory_fault(server)
    must(run(["redis-cli", "-p", str(PORT), "CONFIG", "SET", "save", ""]))
    stop(server.process)
    return [server.log]
