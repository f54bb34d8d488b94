"""A real PostgreSQL on loopback for a test run: a cluster of its own in a temporary folder, gone afterwards."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def binary(name: str) -> str | None:
    """A program of PostgreSQL, of the newest version that Debian installed or the path has."""
    found = [str(folder / name) for folder in reversed(BINARIES) if (folder / name).exists()]
    return found[0] if found else shutil.which(name)


@dataclass
class Cluster:
    """A PostgreSQL server: `url` of a database by its name; `stop` and `start` as a failing server would."""

    folder: Path
    port: int

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://loglore@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._control("start", "-o", options, "-l", str(self.folder / "server.log"))

    def stop(self, mode: str = "immediate") -> None:
        self._control("stop", "-m", mode)

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement)

    def _control(self, *arguments: str) -> None:
        run(str(binary("pg_ctl")), "-D", str(self.folder / "data"), "-w", "-t", "60", *arguments)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A running server; its data is below `folder`, an empty one that PostgreSQL's user can reach: none of pytest's."""
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    run(str(binary("initdb")), "-D", str(folder / "data"), "-U", "loglore", "--auth=trust", "--no-sync", "-E", "UTF8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    made = Cluster(folder, port)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def run(*command: str) -> None:
    """PostgreSQL refuses to be run by root: its own user does it then."""
    user = "postgres" if os.getuid() == 0 else None
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout} {done.stderr}")
