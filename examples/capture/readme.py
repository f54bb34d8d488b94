"""Write examples/README.md from the captured logs, the incidents and the installed package versions."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import lab
from capture import REQUIRED

MINUTES = 4
# log file -> (service, package that is measured, what the log shows)
FILES = {
    "postgresql": ("PostgreSQL", "postgresql-15", "server log: connections, statements, locks, checkpoints, vacuum"),
    "sshd": ("OpenSSH server", "openssh-server", "system log of sshd: logins, sftp, refused clients, a debug period"),
    "mariadb": ("MariaDB", "mariadb-server", "error log: connections, InnoDB, failed starts, crash recovery"),
    "redis": ("Redis", "redis-server", "server log: clients, RDB and AOF persistence, a replica"),
    "nginx-error": ("nginx", "nginx-light", "error log at level info: upstreams, clients, TLS, reloads"),
    "nginx-access": ("nginx", "nginx-light", "access log, combined format"),
    "shopapp": ("Python web shop", "python3.11", "application log with tracebacks of `capture/shop/shopapp.py`"),
    "haproxy": ("HAProxy", "haproxy", "HTTP and TCP log, health checks, reloads of the master process"),
    "mosquitto": ("Mosquitto", "mosquitto", "MQTT broker log with all message types"),
    "named": ("BIND", "bind9", "name server log: queries, updates, transfers, zones"),
    "dnsmasq": ("dnsmasq", "dnsmasq-base", "forwarder log with extra query logging"),
    "squid-cache": ("Squid", "squid", "cache.log: starts, reloads, helpers, HTTP details for a while"),
    "squid-access": ("Squid", "squid", "access log, native format with epoch times"),
    "postfix": ("Postfix", "postfix", "mail log: SMTP sessions, deliveries, bounces, the queue"),
    "supervisor": ("Supervisor", "supervisor", "process manager log: workers that exit, crash and hang"),
}

TEXT = """# Example logs

Real logs of {services} services, {lines} lines in all, with {incidents} injected faults whose true causes are known.
Use them to try LogLore, to learn its formats, or to measure how well an analysis finds root causes.

No line was invented or edited: every file in `logs/` is a byte-for-byte copy of what the service wrote. The scripts in
`capture/` started the services from their Debian 12 packages on a private loopback, did ordinary work against them and
injected the faults. Host names, users, passwords, addresses and companies are made up; the time stamps are those of the
capture. All of it is our own capture, under the Apache License 2.0 like the rest of LogLore.

## Files

| File | Service | Package version | What it shows | Lines | Incidents |
| --- | --- | --- | --- | ---: | ---: |
{rows}

A file may hold lines without a time stamp, such as tracebacks, multi-line statements or what a service wrote to its
standard error before it opened its log.

## Incidents

`incidents.jsonl` has one JSON object for each injected fault:

| Field | Meaning |
| --- | --- |
| `id` | unique name, service first |
| `service` | the service that was disturbed |
| `file` | the log file, relative to this folder |
| `lines` | first and last line (from 1, both included) that the service wrote during the fault |
| `injected` | what the script did |
| `root_cause` | the true root cause |
| `evidence` | a literal piece of text that stands in these lines |

The scripts count the lines of the log before and after each fault, wait until the log is quiet and check that the
evidence is there. Ordinary background messages (a checkpoint, a health check) may stand in the same lines.

## Capture again

    sudo python3 examples/capture/capture.py

This needs root on Debian 12 and takes about {minutes} minutes. It installs nothing; when programs are missing it names
their Debian packages in one line and ends with status 2. All packages:

    apt-get install --no-install-recommends {packages}

Everything runs in namespaces of its own (host name, network, mounts, processes, IPC), so that no port of the machine is
used, nothing is written outside this folder, and processes and mounts vanish with the capture even when it fails. The
result is put in place only after all checks; `--only redis nginx` captures some services and keeps the others,
`--out FOLDER` writes elsewhere. The order of the ordinary work comes from the seed {seed} (one generator for each
service, seeded with `{seed}-SERVICE`); time stamps, process ids and ports differ from run to run,
and so do line numbers.

After a capture, `python3 examples/capture/readme.py` writes this page anew.
"""


def version(package: str) -> str:
    """Return the installed version of a Debian package."""
    command = ["dpkg-query", "-W", "-f", "${Version}", package]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Write the page."""
    examples = Path(__file__).resolve().parent.parent
    counts: Counter[str] = Counter()
    for line in (examples / "incidents.jsonl").read_text(encoding="utf-8").splitlines():
        counts[Path(json.loads(line)["file"]).stem] += 1
    rows, total = [], 0
    for name, (service, package, shows) in FILES.items():
        lines = (examples / "logs" / f"{name}.log").read_bytes().count(b"\n")
        total += lines
        rows.append(f"| `{name}.log` | {service} | {version(package)} | {shows} | {lines} | {counts[name]} |")
    text = TEXT.format(
        services=len({service for service, _, _ in FILES.values()}),
        lines=f"{total:,}",
        incidents=sum(counts.values()),
        rows="\n".join(rows),
        minutes=MINUTES,
        packages=" ".join(sorted(set(REQUIRED.values()))),
        seed=lab.SEED,
    )
    (examples / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
