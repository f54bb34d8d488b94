"""Unit files and the compose file start what there is, and leave jobs the time to save."""

import configparser
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from loglore.cli import app
from loglore.jobs.worker import Patience
from loglore.studio.start import SAVE_TIMEOUT_S

DEPLOY = Path(__file__).parents[1] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
SETTINGS = Path(__file__).parents[1] / "src" / "loglore" / "settings.py"


def check_command(words: list[str]) -> None:
    if words[0].endswith("loglore"):
        verbs = {each.name or (each.callback and each.callback.__name__) for each in app.registered_commands}
        assert words[1] in verbs
    else:
        assert words[0].endswith("python") and words[1] == "-m"
        assert importlib.util.find_spec(words[2]) is not None


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units(path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    service = unit["Service"]
    check_command(service["ExecStart"].split())
    assert service["User"] != "root"
    if "api" not in path.name:
        assert service["KillMode"] == "mixed"
        assert float(service["TimeoutStopSec"]) > SAVE_TIMEOUT_S > Patience().save_s
    if systemd := shutil.which("systemd-analyze"):
        done = subprocess.run([systemd, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
        # The program is not installed where the unit says on this machine.
        faults = [line for line in done.stderr.splitlines() if path.name in line and "is not executable" not in line]
        assert faults == []


def test_compose_file() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"database", "api", "worker"}
    known = set(re.findall(r"LOGLORE_[A-Z_]+", SETTINGS.read_text()))
    for name in ("api", "worker"):
        check_command(services[name]["command"])
        assert set(services[name]["environment"]) <= known
        assert services[name]["volumes"] == ["home:/var/lib/loglore"]
    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) > Patience().save_s
    for port in services["api"]["ports"]:
        assert port.startswith("127.0.0.1:")
