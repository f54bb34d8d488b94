#!/usr/bin/env python3
"""Capture the example logs: run real services on a private loopback, use them, break them and keep their logs.

Everything happens in private namespaces (host name, network, mounts, processes, IPC). When the capture ends, for
whatever reason, the kernel takes down its processes, mounts and network with it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lab
import world

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent
SERVICES = (
    "postgresql",
    "sshd",
    "mariadb",
    "redis",
    "nginx",
    "shopapp",
    "haproxy",
    "mosquitto",
    "named",
    "squid",
    "postfix",
    "supervisor",
    "dnsmasq",
)
TIME_LIMIT_S = 900

# program -> Debian package
REQUIRED = {
    "curl": "curl",
    "dig": "bind9-dnsutils",
    "dnsmasq": "dnsmasq-base",
    "haproxy": "haproxy",
    "initdb": "postgresql",
    "ip": "iproute2",
    "mariadb": "mariadb-client",
    "mariadbd": "mariadb-server",
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "named": "bind9",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "postfix": "postfix",
    "psql": "postgresql-client",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "rsyslogd": "rsyslog",
    "squid": "squid",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "sshpass": "sshpass",
    "supervisord": "supervisor",
    "unshare": "util-linux",
}


def missing_packages() -> list[str]:
    """Return the Debian packages whose programs are not on the PATH."""
    path = os.environ.get("PATH", "")
    # Debian keeps the PostgreSQL server programs off the PATH.
    search = f"{path}:{lab.postgres_bin()}" if path else ""
    return sorted({package for program, package in REQUIRED.items() if not shutil.which(program, path=search)})


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=EXAMPLES, help="folder for logs/ and incidents.jsonl")
    parser.add_argument("--only", nargs="+", choices=SERVICES, default=list(SERVICES), help="capture these services")
    parser.add_argument("--jobs", type=int, default=3, help="services captured at the same time (default 3)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def last_words(name: str) -> str:
    """Return the ends of a service's logs, to explain a failed capture."""
    logs = sorted((lab.ROOT / "log").glob(f"{name}*.log"))
    return "\n".join(log.read_text(encoding="utf-8", errors="replace")[-9000:] for log in logs)


def capture_service(name: str) -> str | None:
    """Capture one service; return what went wrong, or None."""
    start = time.monotonic()
    try:
        for recorder in importlib.import_module(f"svc_{name}").capture():
            recorder.save()
    except (lab.CaptureError, OSError, subprocess.SubprocessError, ValueError):
        return f"{name}:\n{traceback.format_exc()}{last_words(name)}"
    print(f"{name}: captured in {time.monotonic() - start:.0f} s", flush=True)
    return None


def inside(args: argparse.Namespace) -> int:
    """Build the made-up machine in the namespaces, capture the services and return the exit status."""
    # All modules are loaded before the private mounts can hide the folder they lie in.
    for name in args.only:
        importlib.import_module(f"svc_{name}")
    world.build(args.inside, HERE)
    worker = os.fork()
    if worker:
        return world.reap_until(worker)
    with ThreadPoolExecutor(max_workers=args.jobs) as pool:
        problems = [problem for problem in pool.map(capture_service, args.only) if problem]
    lab.stop_all()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def verify(staging: Path) -> list[dict[str, object]]:
    """Check each incident against its log and return all incidents; raise CaptureError for one that does not fit."""
    incidents = []
    for rows in sorted(staging.glob("*.jsonl")):
        log = (staging / f"{rows.stem}.log").read_bytes().decode("utf-8").split("\n")
        for row in map(json.loads, rows.read_text(encoding="utf-8").splitlines()):
            first, last = row["lines"]
            if row["evidence"] not in "\n".join(log[first - 1 : last]):
                raise lab.CaptureError(f"{row['id']}: its evidence is not in lines {first}-{last}")
            incidents.append(row)
    return incidents


def publish(staging: Path, out: Path, incidents: list[dict[str, object]]) -> None:
    """Move the captured logs and their incidents into place; those of services not captured now stay."""
    (out / "logs").mkdir(parents=True, exist_ok=True)
    fresh = sorted(staging.glob("*.log"))
    names = {f"logs/{log.name}" for log in fresh}
    table = out / "incidents.jsonl"
    old = map(json.loads, table.read_text(encoding="utf-8").splitlines()) if table.exists() else ()
    rows = [row for row in old if row["file"] not in names] + incidents
    for log in fresh:
        log.chmod(0o644)
        shutil.move(log, out / "logs" / log.name)
    rows.sort(key=lambda row: (row["file"], row["lines"]))
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    table.write_text(text, encoding="utf-8")


def outside(args: argparse.Namespace) -> int:
    """Run the capture in fresh namespaces and put its result in place."""
    args.out.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".capture-", dir=args.out))
    command = ["unshare", "--uts", "--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [sys.executable, str(Path(__file__).resolve()), "--inside", str(staging), "--jobs", str(args.jobs)]
    try:
        status = subprocess.run([*command, "--only", *args.only], timeout=TIME_LIMIT_S, check=False).returncode
        # A service that failed left nothing in the folder; the others are kept all the same.
        incidents = verify(staging)
        publish(staging, args.out, incidents)
        print(f"{len(incidents)} incidents in {args.out}")
        return status
    finally:
        shutil.rmtree(staging)


def main() -> int:
    """Entry point."""
    missing = missing_packages()
    if missing:
        print(f"capture: install the missing Debian packages: {' '.join(missing)}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("capture: must run as root (it makes namespaces and mounts)", file=sys.stderr)
        return 2
    args = parse_args()
    return inside(args) if args.inside else outside(args)


if __name__ == "__main__":
    sys.exit(main())
