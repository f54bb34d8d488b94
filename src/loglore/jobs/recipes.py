"""Recipes: YAML files that list jobs by name, each with its kind and spec; later jobs refer to outputs of earlier ones.

    name: quickstart
    jobs:
      base: {kind: import, model: smollm2-135m-instruct}
      sft:  {kind: train, model: "${base.model}", …}

`${job.output}` stands for a path; a relative path is looked up beside the recipe, then in the working directory.
`next` lists commands to show at the end. `publish: NAME` puts the job's model into the local hub. `declared:` (shapes,
token counts and hardware for the plan) is used when model or data are not on this machine.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from loglore.errors import InputError
from loglore.jobs import names
from loglore.jobs.kinds import spec_class
from loglore.models.job import EMBEDDED
from loglore.runs.spec import unknown_key

REFERENCE = re.compile(r"\$\{([\w-]+)\.([\w-]+)\}")
NAME = re.compile(r"[\w-]+")
GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Job:
    """One job of a recipe: its spec still has references.

    parents: versions of the hub that it reads; by: id of the key that wants it. Both go into what it publishes.
    """

    name: str
    kind: str
    values: dict[str, Any]
    publish: str | None
    declared: dict[str, Any]
    parents: tuple[str, ...] = ()
    by: str | None = None

    def references(self) -> list[tuple[str, str]]:
        """(job, output) pairs that this job's spec refers to."""
        return REFERENCE.findall(str(self.values))


@dataclass(frozen=True)
class Recipe:
    """A named list of jobs in the order they run, and commands to show afterwards; `path` is the recipe's file."""

    name: str
    path: Path
    jobs: tuple[Job, ...]
    next_steps: tuple[str, ...] = ()


def load(path: Path) -> Recipe:
    """Read and check a recipe: keys, kinds, and that references point to earlier jobs.

    Raises:
        InputError: naming file, job and key.
    """
    content = read_yaml(path)
    for key in content:
        if key not in ("name", "jobs", "next"):
            raise InputError(f"{path}: {unknown_key(str(key), ['name', 'jobs', 'next'])}")
    if not isinstance(content.get("name"), str) or not isinstance(content.get("jobs"), dict):
        raise InputError(f"{path}: expected `name` (a text) and `jobs` (a mapping of job names)")
    jobs = tuple(job_of(path, str(name), values) for name, values in content["jobs"].items())
    _check_references(path, jobs)
    return Recipe(content["name"], path, jobs, tuple(str(line) for line in content.get("next", [])))


def shaped(recipe: Recipe, nodes: int | None, processes: int | None) -> Recipe:
    """The recipe with so many machines, and processes on each, for its training jobs; None leaves what they say."""
    given = {name: value for name, value in (("nodes", nodes), ("processes", processes)) if value is not None}
    jobs = (replace(job, values=job.values | given) if job.kind == "train" else job for job in recipe.jobs)
    return replace(recipe, jobs=tuple(jobs))


def resolve(job: Job, recipe: Recipe, outputs: Mapping[str, Mapping[str, Path]]) -> dict[str, Any]:
    """The job's spec values with references replaced by paths and relative paths looked up."""
    fields = spec_class(job.kind, f"{recipe.path}: job {job.name}").model_fields
    found = {
        key: _resolved(value, recipe, outputs, _takes_paths(fields[key].annotation) if key in fields else False)
        for key, value in job.values.items()
    }
    for key, value in found.items():
        known_to_the_job = job.kind == "import" and value == EMBEDDED
        if isinstance(value, str) and key in fields and _takes_names(key, fields) and not known_to_the_job:
            found[key] = names.found(key, value)
    return found


def placed(
    kind: str, values: Mapping[str, Any], beside: Path, named: Callable[[str, str], str | None]
) -> dict[str, Any]:
    """The values of a spec with absolute paths: a relative one is looked up in `beside`, then the working directory.

    References and patterns of file names stay as they are.

    Args:
        kind: of the job.
        values: of its spec.
        beside: folder for relative paths.
        named: what stands for a value (by its key) that is no path: a version of the hub; None when it is nothing.

    Raises:
        InputError: an unknown kind or key, or a file that does not exist; names the key.
    """
    fields = spec_class(kind, "job").model_fields
    for key in values:
        if key not in fields:
            raise InputError(unknown_key(key, list(fields)))
    return {
        key: _placed(value, key, beside, named) if _takes_names(key, fields) else value for key, value in values.items()
    }


def _placed(value: Any, key: str, beside: Path, named: Callable[[str, str], str | None]) -> Any:
    if isinstance(value, dict):
        return {name: _placed(part, key, beside, named) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_placed(part, key, beside, named) for part in value]
    if not isinstance(value, (str, Path)) or REFERENCE.search(str(value)):
        return value
    for path in (beside / value, Path(value)) if not names.is_pinned(str(value)) else ():
        if path.exists() or GLOB.search(str(value)):
            return str(path.absolute())
    found = named(key, str(value))
    if found is None:
        raise InputError(f"`{key}`: {value}: no such file or folder")
    return found


def filled(value: Any, outputs: Mapping[str, Mapping[str, Path]], where: str) -> Any:
    """A spec's value with references replaced by paths.

    Raises:
        InputError: a job has no such output; `where` begins the message.
    """
    if isinstance(value, dict):
        return {key: filled(part, outputs, where) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part, outputs, where) for part in value]
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return value
    job, output = match.groups()
    found = outputs[job]
    if output not in found:
        raise InputError(f"{where}: ${{{job}.{output}}}: job {job} has the outputs {', '.join(sorted(found))}")
    return str(found[output])


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: missing, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise InputError(f"{path}: not YAML: {' '.join(str(fault).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of keys, found {type(content).__name__}")
    return content


def job_of(path: Path, name: str, values: Any) -> Job:
    """Check one job's keys and split its spec from what the runner reads (`kind`, `publish`, `declared`)."""
    where = f"{path}: job {name}"
    if not NAME.fullmatch(name):
        raise InputError(f"{where}: names have letters, digits, - and _ only")
    if not isinstance(values, dict) or "kind" not in values:
        raise InputError(f"{where}: expected a mapping with the key `kind`")
    rest = dict(values)
    kind = str(rest.pop("kind"))
    publish = rest.pop("publish", None)
    declared = rest.pop("declared", None) or {}
    known = list(spec_class(kind, where).model_fields)
    for key in rest:
        if key not in known:
            raise InputError(f"{where}: {unknown_key(key, [*known, 'publish', 'declared'])}")
    return Job(name, kind, rest, publish, declared)


def _check_references(path: Path, jobs: tuple[Job, ...]) -> None:
    seen: set[str] = set()
    for job in jobs:
        for target, output in job.references():
            if target not in seen:
                raise InputError(
                    f"{path}: job {job.name}: ${{{target}.{output}}} refers to no earlier job; "
                    f"earlier: {', '.join(sorted(seen)) or 'none'}"
                )
        seen.add(job.name)


def _takes_names(key: str, fields: Mapping[str, Any]) -> bool:
    return key == "model" or _takes_paths(fields[key].annotation)


def _takes_paths(annotation: Any) -> bool:
    return "Path" in str(annotation)


def _resolved(value: Any, recipe: Recipe, outputs: Mapping[str, Mapping[str, Path]], paths: bool) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(part, recipe, outputs, paths) for key, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part, recipe, outputs, paths) for part in value]
    if not isinstance(value, str):
        return value
    if REFERENCE.fullmatch(value):
        return filled(value, outputs, str(recipe.path))
    if not paths or Path(value).is_absolute():
        return value
    beside = recipe.path.parent / value
    return str(beside) if beside.exists() or (GLOB.search(value) and any(recipe.path.parent.glob(value))) else value
