"""Unit files and the compose file start what there is, and leave jobs the time to save."""

import configparser
import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer
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


def test_slurm_script() -> None:
    path = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text().replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("srun ")]
    started, command = line.split(" -- ")
    check_command(command.split())
    _check_options("run", command)
    # Ray refuses options that `symmetric-run` gives by itself.
    assert not {"--head", "--port", "--node-ip-address", "--block"} & set(started.split())
    assert "Not run on a real Slurm cluster" in text


def test_kuberay_manifest() -> None:
    text = (DEPLOY / "kuberay.yaml").read_text()
    assert "Not run on a real Kubernetes" in text
    claim, cluster = yaml.safe_load_all(text)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    extras = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(
        f"ray[data,default,train]=={cluster['spec']['rayVersion'].rpartition('.')[0]}.*" == each
        for each in extras["ray"]
    )
    head = cluster["spec"]["headGroupSpec"]
    groups = [head, *cluster["spec"]["workerGroupSpecs"]]
    known = set(re.findall(r"LOGLORE_[A-Z_]+", SETTINGS.read_text()))
    for group in groups:
        pod = group["template"]["spec"]
        volumes = {each["name"] for each in pod["volumes"]}
        assert int(pod["terminationGracePeriodSeconds"]) > Patience().save_s
        for container in pod["containers"]:
            mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            assert set(mounts) <= volumes and mounts["home"] == "/var/lib/loglore"
            names = {each["name"] for each in container["env"]}
            assert {name for name in names if name.startswith("LOGLORE")} <= known
            assert container["resources"]["limits"] == container["resources"]["requests"]
            if "command" in container:
                check_command(container["command"])
                _check_options("worker", " ".join(container["command"]))
    # Every node has the same programs, and Ray's gives the head no jobs.
    assert len({each["image"] for group in groups for each in group["template"]["spec"]["containers"]}) == 1
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert all(isinstance(value, str) for group in groups for value in group["rayStartParams"].values())


def _check_options(verb: str, command: str) -> None:
    (known,) = [each for each in typer.main.get_command(app).commands.values() if each.name == verb]  # type: ignore[attr-defined]
    options = {option for each in known.params for option in each.opts}
    assert set(re.findall(r"--[a-z-]+", command)) <= options


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
