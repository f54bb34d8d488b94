"""Published checkpoints of training jobs as models: `ftjob-…:step-N`.

A run publishes weights alone, of LoRA the adapter alone. Who names a checkpoint as a model gets a folder with the
base's tokenizer, the adapter merged in, written as the job's own result is. It is made at first use, beside the run.
"""

import fcntl
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from loglore.errors import InputError, JobError
from loglore.hub.place import opened
from loglore.store import jobs
from loglore.store.database import Database
from loglore.store.jobs import Job
from loglore.train import checkpoints

NAME = re.compile(r"(ftjob-[0-9a-f]{24}):step-([0-9]{1,9})")
BAD_INPUT = 2


def find(database: Database, reference: str) -> tuple[Job, Path]:
    """The job of a checkpoint, and the folder that it published.

    Raises:
        InputError: no such job, or it has no such checkpoint; says which it has.
    """
    match = NAME.fullmatch(reference)
    if match is None:
        raise InputError(f"checkpoint {reference!r}: expected ftjob-…:step-N")
    job = jobs.find(database, match[1])
    published = Path(job.folder) / "published"
    found = published / f"step-{match[2]}"
    if not found.is_dir():
        steps = ", ".join(str(checkpoints.step_of(each)) for each in checkpoints.complete(published)) or "none"
        raise InputError(f"job {job.id} has no checkpoint of step {match[2]}; it has: {steps}")
    return job, found


def as_model(reference: str) -> Path:
    """The folder of a checkpoint as a model; made where it is not there.

    Raises:
        InputError: no such checkpoint, or its base is gone. JobError: a merged adapter computes something else.
    """
    from loglore.jobs import names, queue

    with opened(None) as database:
        job, published = find(database, reference)
        folder = Path(job.folder).parent / "models" / published.name
        folder.parent.mkdir(exist_ok=True)
        with (folder.parent / f".{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                base = names.found("model", str(queue.resolved(database, job)["model"]))
                _make(Path(base), published, folder)
    return folder


def as_model_apart(reference: str) -> Path:
    """`as_model` in a process of its own: a server stays as small as it is."""
    done = subprocess.run([sys.executable, "-m", __name__, reference], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1].removeprefix("loglore: ")
        raise (InputError if done.returncode == BAD_INPUT else JobError)(said)
    return Path(done.stdout.splitlines()[-1])


def _make(base: Path, published: Path, folder: Path) -> None:
    from loglore.models.load import load_model, load_tokenizer, quiet
    from loglore.train import saving

    tokenizer = load_tokenizer(base)
    with quiet():
        model: Any
        if (published / "adapter_config.json").is_file():
            model, parity = saving.merge(base, published, tokenizer)
            if not parity["passed"]:
                raise JobError(f"{published}: merged, it does not compute what the adapter does: {parity}")
        else:
            model = load_model(published, "float32")
        saving.write(model, tokenizer, folder)


def main(reference: str) -> int:
    """Print the folder; returns the exit status."""
    try:
        print(as_model(reference))
    except (InputError, JobError) as fault:
        print(f"loglore: {fault}", file=sys.stderr)
        return BAD_INPUT if isinstance(fault, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
