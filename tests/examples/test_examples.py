"""The example logs are complete, their incidents point at the right lines, and nothing of a real machine is in them."""

from __future__ import annotations

import ast
import ipaddress
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CAPTURE = EXAMPLES / "capture"
LOGS = sorted((EXAMPLES / "logs").glob("*.log"))
INCIDENTS = [json.loads(line) for line in (EXAMPLES / "incidents.jsonl").read_text(encoding="utf-8").splitlines()]
FIELDS = {"id", "service", "file", "lines", "injected", "root_cause", "evidence"}
# No digit, dot, dash or letter may touch the address: "1.2.3.4.5" or a version with a suffix is none.
ADDRESS = re.compile(r"(?<![\w.-])(\d{1,3}(?:\.\d{1,3}){3})(?![\w.-])")


def lines_of(log: Path) -> list[str]:
    """Return the lines of a log, counted by line feeds as the capture does."""
    text = log.read_bytes().decode("utf-8")
    assert text.endswith("\n")
    return text.split("\n")[:-1]


def public_addresses(text: str) -> set[str]:
    """Return the addresses in the text that are neither loopback nor private nor unspecified."""
    found = set()
    for word in ADDRESS.findall(text):
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            continue
        if not (address.is_private or address.is_loopback or address.is_unspecified):
            found.add(word)
    return found


def test_enough_services_and_lines() -> None:
    assert len({row["service"] for row in INCIDENTS}) >= 8
    assert sum(len(lines_of(log)) for log in LOGS) >= 5000
    assert sum(log.stat().st_size for log in LOGS) < 1_200_000
    assert max(log.stat().st_size for log in LOGS) < 400_000


def test_incident_rows() -> None:
    assert len(INCIDENTS) >= 24
    assert len({row["id"] for row in INCIDENTS}) == len(INCIDENTS)
    assert all(set(row) == FIELDS for row in INCIDENTS)
    assert {row["file"] for row in INCIDENTS} <= {f"logs/{log.name}" for log in LOGS}
    services = [row["service"] for row in INCIDENTS]
    assert min(services.count(service) for service in services) >= 2


@pytest.mark.parametrize("row", INCIDENTS, ids=lambda row: row["id"])
def test_incident_lines_hold_the_evidence(row: dict) -> None:
    lines = lines_of(EXAMPLES / row["file"])
    first, last = row["lines"]
    assert 1 <= first <= last <= len(lines)
    assert row["evidence"] in "\n".join(lines[first - 1 : last])


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_nothing_of_a_real_machine(log: Path) -> None:
    text = "\n".join(lines_of(log))
    for folder in (f"/{name}/" for name in ("work", "root", "home")):
        assert folder not in text
    assert "/tmp/." not in text
    assert not public_addresses(text)
    assert not re.search(r"Linux version|OS: Linux|\b\d+\.\d+\.\d+-(?:fc|aws|azure|gcp|cloud|amd64|generic)", text)
    # Short names such as "vm" or "localhost" are ordinary words of a log.
    host = socket.gethostname()
    if len(host) > 3 and host != "localhost":
        assert not re.search(rf"\b{re.escape(host)}\b", text)


@pytest.mark.parametrize("script", sorted(CAPTURE.rglob("*.py")), ids=lambda path: path.name)
def test_capture_scripts_compile(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"), filename=str(script))
    assert ast.get_docstring(tree)


def test_each_log_has_a_row_in_the_readme() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for log in LOGS:
        count = sum(row["file"] == f"logs/{log.name}" for row in INCIDENTS)
        row = next(line for line in readme.splitlines() if f"`{log.name}`" in line)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[-2:] == [str(len(lines_of(log))), str(count)]


def test_missing_packages_are_named_in_one_line() -> None:
    env = {name: value for name, value in os.environ.items() if name != "PATH"} | {"PATH": ""}
    command = [sys.executable, str(CAPTURE / "capture.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("capture: install the missing Debian packages: ")
    assert {"nginx-light", "postgresql", "redis-server"} <= set(line.split())
