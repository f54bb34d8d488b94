"""Rules of the house that a tool can hold: arrows, pins, and nothing of one machine in the files."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCK = re.compile(r"^([A-Za-z0-9._-]+)==([^\s#;]+)")


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return {match[1].lower().replace("_", "-"): match[2] for line in lines if (match := LOCK.match(line))}


def test_arrows_point_down() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_lock_pins_everything_the_package_asks_for_within_its_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = locked("requirements.lock") | locked("requirements-model.lock")
    extras = project["optional-dependencies"]
    # What is not part of `all` (a harness with pins of its own) is for environments of their own.
    (everything,) = map(Requirement, extras["all"])
    groups = [extras[name] for name in (*everything.extras, "dev")]
    for text in [*project["dependencies"], *(text for group in groups for text in group)]:
        wanted = Requirement(text)
        if wanted.name == "loglore":
            continue
        assert wanted.name.lower() in pins, f"{wanted.name} is not in requirements.lock"
        assert wanted.specifier.contains(pins[wanted.name.lower()], prereleases=True), text
    assert pins["torch"] == "2.13.0"


def test_lock_is_what_is_installed_and_closed() -> None:
    pins = locked("requirements.lock")
    for name, version in pins.items():
        assert metadata.version(name).split("+")[0] == version, name
        for text in metadata.requires(name) or []:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                assert wanted.name.lower().replace("_", "-").replace(".", "-") in pins, f"{name} needs {wanted.name}"


@pytest.mark.parametrize(("extra", "package"), [("ray", "ray"), ("deepspeed", "deepspeed")])
def test_locks_of_their_own_only_add(extra: str, package: str) -> None:
    ours, added = locked("requirements.lock"), locked(f"requirements-{extra}.lock")
    assert not ours.keys() & added.keys()
    pins = ours | added
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in map(Requirement, project["optional-dependencies"][extra]):
        assert wanted.specifier.contains(pins[wanted.name]), wanted
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return  # `make test-cluster` and `make test-deepspeed` look at the rest
    for name, version in added.items():
        assert metadata.version(name) == version, name
        for text in metadata.requires(name) or []:
            wanted = Requirement(text)
            extras = ("", "data", "default", "train") if name == "ray" else ("",)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
                assert wanted.name.lower().replace("_", "-").replace(".", "-") in pins, f"{name} needs {wanted.name}"


def test_light_parts_stay_light() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {Requirement(text).name for text in project["dependencies"]}
    assert not names & {"torch", "transformers", "streamlit", "matplotlib", "ray", "openai"}


def test_no_file_names_a_registry_or_a_home_folder() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # Spelled in parts, or this file would find itself.
    forbidden = re.compile("|".join(["files.python" + "hosted", "--index" + "-url", "/ro" + "ot/", "/home" + r"/\w"]))
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in {".png", ".gz"} or not path.is_file():
            continue
        found = forbidden.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{name}: {found and found[0]}"


def test_unsupported_python_is_one_clear_line_and_leaves_nothing(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && { echo Python 3.9.1; exit 0; }\nexit 1\n')
    old.chmod(0o755)
    place = tmp_path / "clone"
    place.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-model.lock"):
        (place / name).write_bytes((ROOT / name).read_bytes())
    # Run by make itself, this would be a sub-make, which says where it works.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "install", f"PYTHON={old}"],
        cwd=place,
        env=outside,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stdout
        == f"LogLore needs Python 3.11 or newer; {old} is Python 3.9.1. Try: make PYTHON=python3.12 install\n"
    )
    assert not (place / ".venv").exists()
