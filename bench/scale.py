"""docs/scale.md, computed: `python bench/scale.py > docs/scale.md`. A test compares the page with what this prints."""

import os
from pathlib import Path

from loglore.cluster import scale
from loglore.jobs import recipes
from loglore.train import hyperparameters
from loglore.train.estimate import Declared

RECIPE = Path(__file__).parents[1] / "recipes" / "llama-3.1-8b-cpt.yaml"
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CHUNKS = 1_000_000_000
CORES, REPLICAS = (2, 64, 1024, 32768), (8, 128, 1024, 8192)

PAGE = """# Past the machines here: a calculation

Printed by `python bench/scale.py`; a test compares. **Nothing on this page was run at these sizes by us.** It
computes what one worker's measured rate becomes on many, from stated link speeds, by the model in
`loglore/cluster/scale.py`: `loglore estimate recipes/llama-3.1-8b-cpt.yaml --nodes 2` prints the same for any
recipe that declares its shapes, and for its syntheses ({cores} cores a node, or a replica of the teacher a GPU).

## The tutorial's pretraining on 1 to 512 GPUs

Llama-3.1-8B, 111 M tokens, rows of 8,192 tokens, ZeRO-3. Rate of one GPU: 7,200 tokens/s, as published for 8 H100.
The global batch of the recipe ({batch} rows, {steps} steps) is kept, so that it stays the same training: more GPUs
get fewer rows each.

Stated: {inside:.0f} GB/s between GPUs of a node, {between:.0f} GB/s for each GPU between nodes, {storage:.0f} GB/s
of shared storage in all, {per_node} GPUs a node, {memory:.0f} GiB a GPU, ${price} a GPU-hour, a checkpoint of
{checkpoint:.0f} GB every 90 s (`LOGLORE_CHECKPOINT_SECONDS`). Moving is taken as hidden behind computing while it
is the shorter of both: the best case.

{training}

What it says:

- **The first bottleneck is storage**: up to 64 GPUs the checkpoints that the run writes every 90 s, afterwards the
  model that every node reads at the start. With `LOGLORE_CHECKPOINT_SECONDS=600` 16 GPUs take {rare:.1f} minutes
  instead of {often:.1f}.
- The links between nodes come next: at one port of 400 Gbit/s a GPU, ZeRO-3 moves for {move:.2f} s where it
  computes for {compute:.2f} s. With half of that they decide (16 GPUs: {slow:.1f} minutes instead of {often:.1f}).
- Beyond {batch} GPUs nothing is won: a step has {batch} rows. A larger batch would be another training.
- One GPU does not hold it: {one:.0f} GiB for weights, gradients and optimizer.

## Synthesis about 1 B chunks

One row a chunk, {row:,} bytes each. Measured: the built-in analyst writes {analyst:.0f} rows/s on a core, one
asking process sends and judges {runner:.0f} requests/s. Stated: a replica of a teacher answers {teacher:.0f}
requests/s, ${replica}/h; a core ${core}/h.

{synthesis}

The first bottleneck is who writes: cores for the analyst, replicas for a teacher. Asking is none: {askers} asking
processes do for {most:,} replicas (`--executor ray` starts one a free CPU). Storage takes {limit:,.0f} rows/s.
"""


def main() -> None:
    os.environ.pop("LOGLORE_CHECKPOINT_SECONDS", None)
    job = recipes.load(RECIPE).jobs[0]
    declared = Declared.parse(job.declared, str(RECIPE))
    requested = hyperparameters.load(RECIPE.parent / job.values["hyperparameters"])
    links, rates = scale.Links(), scale.Asking()

    def at(gpus: int, links: scale.Links = links) -> scale.Scaled:
        return scale.scaled("cpt", requested, declared, gpus, links)

    found = [at(gpus) for gpus in GPUS]
    sixteen = at(16)
    slow = at(16, scale.Links(between=links.between / 2))
    os.environ["LOGLORE_CHECKPOINT_SECONDS"] = "600"
    rare = at(16)
    rows = ["| who writes | workers | rows/s | days | dollars | first bottleneck |", "|---|---|---|---|---|---|"]
    for who, counts, teacher in (("analyst, cores", CORES, False), ("teacher, replicas", REPLICAS, True)):
        for workers in counts:
            made = scale.written(CHUNKS, workers, teacher)
            numbers = f"{made.rows_per_second:,.0f} | {made.days:,.1f} | {made.dollars:,.0f}"
            rows.append(f"| {who} | {workers:,} | {numbers} | {made.bottleneck} |")
    parameters = declared.model.parameters
    page = PAGE.format(
        batch=found[-1].working, steps=found[0].steps, inside=links.inside / 1e9, between=links.between / 1e9,
        storage=links.storage / 1e9, per_node=links.gpus_per_node, memory=links.gpu_memory / 2**30,
        price=declared.hardware.dollars_per_gpu_hour, checkpoint=(scale.WEIGHT + scale.STATE) * parameters / 1e9,
        training="\n".join(scale.table(found)), rare=rare.seconds / 60, often=sixteen.seconds / 60,
        move=sixteen.move_s, compute=sixteen.compute_s, slow=slow.seconds / 60, one=found[0].memory / 2**30,
        row=rates.row, analyst=rates.analyst, runner=rates.runner, teacher=rates.teacher, replica=rates.replica_hour,
        core=rates.core_hour, cores=rates.cores_per_node, synthesis="\n".join(rows), most=REPLICAS[-1],
        askers=-(-int(REPLICAS[-1] * rates.teacher) // int(rates.runner)), limit=links.storage / rates.row,
    )  # fmt: skip
    print(page, end="")


if __name__ == "__main__":
    main()
