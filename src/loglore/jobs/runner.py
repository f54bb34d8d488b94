"""Run a recipe: job after job, each in a folder of its own, finished ones skipped, an interrupted one continued.

A job is done when its `report.json` carries the fingerprint of today's spec, inputs and package version, and its
outputs are unchanged. One run folder belongs to one runner at a time (a lock file says so).
"""

import contextlib
import ctypes
import fcntl
import gc
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from loglore import __version__
from loglore.errors import InputError, JobError
from loglore.jobs import publishing, recipes
from loglore.jobs.kinds import function, spec_class
from loglore.jobs.recipes import Job, Recipe
from loglore.runs import fingerprint
from loglore.runs.files import read_json, write_json
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec
from loglore.runs.telemetry import peak_memory, sampled

Say = Callable[[str], None]
# Does a job: its kind, its spec and its run folder to its result. `here` does it in this process.
Perform = Callable[[str, Spec, RunFolder], dict[str, Any]]
RESULT = "result.json"


class BusyError(JobError):
    """Another run is working in the folder."""


def here(kind: str, spec: Spec, context: RunFolder) -> dict[str, Any]:
    """Do a job in this process, with what the system does meanwhile beside it."""
    with sampled(context):
        return function(kind)(spec, context)


def run(
    recipe: Recipe, folder: Path, say: Say, only: str | None = None, perform: Perform = here
) -> dict[str, dict[str, Any]]:
    """Run every job of a recipe that is not done.

    Args:
        recipe: what to run.
        folder: run folder of the recipe; job NAME works in `folder/NAME`.
        say: takes one line a job.
        only: run this job alone; the jobs it refers to must be done.
        perform: where jobs are done.

    Returns:
        Reports by job name.

    Raises:
        InputError: bad spec or input. JobError: a job failed, or the folder is in use.
    """
    if only is not None and only not in [job.name for job in recipe.jobs]:
        raise InputError(f"{recipe.path}: no job {only!r}; jobs: {', '.join(job.name for job in recipe.jobs)}")
    reports: dict[str, dict[str, Any]] = {}
    outputs: dict[str, dict[str, Path]] = {}
    with locked(folder / ".lock"):
        for number, job in enumerate(recipe.jobs, 1):
            title = f"[{number}/{len(recipe.jobs)}] {job.name}"
            report = _run_job(job, recipe, folder / job.name, outputs, _titled(say, title), only, perform)
            if report is None:
                continue
            reports[job.name] = report
            outputs[job.name] = _output_paths(folder / job.name, report)
    return reports


def run_spec(kind: str, path: Path, folder: Path, say: Say, perform: Perform = here) -> dict[str, Any]:
    """Run one job from a YAML spec file, in `folder`; returns its report. `perform` and errors as `run`."""
    return run_values(kind, recipes.read_yaml(path), folder, say, path, perform)


def run_values(
    kind: str,
    values: Mapping[str, Any],
    folder: Path,
    say: Say,
    path: Path = Path("command line"),
    perform: Perform = here,
) -> dict[str, Any]:
    """Run one job from its spec's values; `path` names them in errors, and relative paths are looked up beside it."""
    job = recipes.job_of(path, kind, {**values, "kind": kind})
    recipe = Recipe(kind, path, (job,))
    with locked(folder.with_name(f".{folder.name}.lock")):
        report = _run_job(job, recipe, folder, {}, say, None, perform)
    if report is None:
        raise InputError(f"{path}: a spec of one job cannot refer to other jobs")
    return report


def run_queued(job: Job, folder: Path, say: Say, perform: Perform = here) -> dict[str, Any]:
    """Run one job of the queue in its run folder, its references filled in; the caller holds the folder's lock.

    Raises:
        InputError, JobError: as `run`.
    """
    report = _run_job(job, Recipe(job.kind, folder, (job,)), folder, {}, say, None, perform)
    assert report is not None  # it refers to no other job
    return report


def _run_job(
    job: Job,
    recipe: Recipe,
    place: Path,
    outputs: dict[str, dict[str, Path]],
    say: Say,
    only: str | None,
    perform: Perform = here,
) -> dict[str, Any] | None:
    missing = list(dict.fromkeys(name for name, _ in job.references() if name not in outputs))
    if missing:
        if only == job.name:
            raise InputError(f"job {job.name} needs {', '.join(missing)} to be done first")
        return None
    spec = spec_class(job.kind, str(recipe.path)).parse(
        recipes.resolve(job, recipe, outputs), f"{recipe.path}: job {job.name}"
    )
    mark = _fingerprint(job, spec)
    done = _done(place, mark)
    if done is not None:
        say("done before, skipped")
        return done
    if only is not None and only != job.name:
        return None
    _clear_if_other(place, mark)
    context = RunFolder(place, {"kind": job.kind, "fingerprint": mark, **spec.model_dump(mode="json")})
    say(f"{job.kind} …")
    start = time.monotonic()
    context.event("job started")
    result = result_of(job.kind, spec, context, perform)
    seconds = time.monotonic() - start
    _release_memory()
    report = {**result, "job": {"kind": job.kind, "fingerprint": mark, "seconds": round(seconds, 1)}}
    report["job"]["outputs"] = {
        name: fingerprint.of_path(path) for name, path in _output_paths(context.path, report).items() if name != "run"
    }
    report["job"]["peak_memory"] = peak_memory(context)
    report["job"]["version"] = __version__
    if job.publish:
        report["job"] |= publishing.publish(job, _output_paths(context.path, report), report)
    context.finish(report)
    (context.path / RESULT).unlink(missing_ok=True)
    context.event("job finished", seconds=round(seconds, 1))
    say(f"done in {seconds:.1f} s" + (f", published as {report['job']['published']}" if job.publish else ""))
    return report


def result_of(kind: str, spec: Spec, context: RunFolder, perform: Perform) -> dict[str, Any]:
    """What the job's function returns; kept until the report is written, which fingerprints gigabytes first.

    A job that is killed meanwhile is not done again.
    """
    kept = context.path / RESULT
    if kept.exists():
        return dict(read_json(kept))
    result = perform(kind, spec, context)
    if not result.get("unfinished"):
        write_json(kept, result)
    return result


def _release_memory() -> None:
    """Give a job's memory back to the system: the next one may start processes of its own beside it."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # a libc other than glibc
            ctypes.CDLL(None).malloc_trim(0)


def _titled(say: Say, title: str) -> Say:
    return lambda text: say(f"{title}: {text}")


def _fingerprint(job: Job, spec: Spec) -> str:
    """Of kind, package version, spec values, and the content (not the place) of everything the job reads."""
    values = spec.model_dump(mode="json")
    for name, paths in spec.inputs().items():
        values[name] = [fingerprint.of_path(path) for path in paths]
    return fingerprint.of_value([job.kind, __version__, values])


def _done(folder: Path, mark: str) -> dict[str, Any] | None:
    path = folder / "report.json"
    if not path.exists():
        return None
    report: dict[str, Any] = read_json(path)
    if report["job"]["fingerprint"] != mark or report.get("unfinished"):
        return None
    for name, output in _output_paths(folder, report).items():
        if name != "run" and (not output.exists() or fingerprint.of_path(output) != report["job"]["outputs"][name]):
            return None
    return report


def _clear_if_other(folder: Path, mark: str) -> None:
    """Keep what an interrupted or unfinished run of the same work left; remove what is of other inputs or spoiled.

    A job says itself that it is unfinished when the same command would do more (rows that an endpoint failed).
    """
    kept, report = folder / "spec.json", folder / "report.json"
    over = report.exists() and not read_json(report).get("unfinished")
    if folder.exists() and (over or not kept.exists() or read_json(kept)["fingerprint"] != mark):
        shutil.rmtree(folder)


def _output_paths(folder: Path, report: dict[str, Any]) -> dict[str, Path]:
    return {"run": folder, **{name: folder / path for name, path in report["outputs"].items()}}


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock file; the lock goes with the process, however it ends.

    Raises:
        BusyError: another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{file}: another run is working in this folder; wait for it or stop it") from None
        yield
