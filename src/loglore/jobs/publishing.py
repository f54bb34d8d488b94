"""What a job made, put into the hub under the name that `publish` gives: a model, or rows as datasets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loglore.errors import InputError
from loglore.hub import datasets, models
from loglore.hub.place import opened
from loglore.jobs.recipes import Job

# Outputs that are models, the most finished first.
MODELS = ("model", "gguf", "merged", "adapter")
# Outputs that are rows: the first one there is gets the name itself, others `NAME-OUTPUT`.
ROWS = ("train", "nlplog", "validation", "test", "mini")


def publish(job: Job, outputs: Mapping[str, Path], report: Mapping[str, Any]) -> dict[str, Any]:
    """Add what a job made to the hub; the same content again gives the versions there are.

    Returns:
        `published`: the version as `NAME@N`; for rows also `datasets`, by output.

    Raises:
        InputError: it made nothing that the hub takes.
    """
    facts = {"job": job.name, "kind": job.kind, **report.get("lineage", {})}
    if job.kind == "import":
        facts["from"] = str(job.values["model"])  # as it was named: org/name, a checkpoint, a path
    for output in MODELS:
        if output in outputs:
            version = models.add(str(job.publish), outputs[output], facts, parents=job.parents, by=job.by)
            return {"published": f"{version.name}@{version.version}"}
    made: dict[str, str] = {}
    with opened(None) as database:
        for output in ROWS:
            if output in outputs and outputs[output].is_file() and outputs[output].stat().st_size:
                name = f"{job.publish}-{output}" if made else str(job.publish)
                about = datasets.About(parents=job.parents, by=job.by, origin=facts)
                found = datasets.add(database, name, outputs[output], about=about, link=True)
                made[output] = found.reference
    if not made:
        raise InputError(
            f"job {job.name}: `publish` needs an output that is a model or rows; outputs: {', '.join(outputs)}"
        )
    return {"published": next(iter(made.values())), "datasets": made}
