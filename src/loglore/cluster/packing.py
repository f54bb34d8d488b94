"""Tokenizing a large corpus on all nodes: Ray Data over shards of it, into the packed dataset that one machine makes.

    rows, read once ── cut into batches ── shards of them ── Ray Data: render ── in order ── arrays (`data.packed`)

Reading is a twentieth of the work, so one process reads and the others tokenize. Batches are cut as `data.samples`
cuts them, and come back in their order: the arrays are the same to the byte. What is under way in the object store is
bounded.
"""

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loglore.cluster import order, shards
from loglore.data import samples
from loglore.data.long_rows import Limit, Policy
from loglore.data.packed import PackedDataset
from loglore.data.render import Rendered, Renderer
from loglore.data.samples import PlacedRows, Stage
from loglore.errors import InputError
from loglore.models import pack as models
from loglore.models.load import load_tokenizer
from loglore.runs.files import replacing_folder
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec
from loglore.train import hyperparameters, plan, work

if TYPE_CHECKING:
    from loglore.train.job import TrainSpec

LARGE = 64 << 20  # bytes of rows: fewer are tokenized before Ray Data has started
BATCHES = 8  # of a shard: a million characters each


def pack(spec: "TrainSpec", context: RunFolder, large: int = LARGE) -> PackedDataset | None:
    """Pack the training rows of a run before its workers start; they find the packed dataset in the run folder.

    Args:
        spec: of the run.
        context: its folder.
        large: do nothing for fewer bytes of rows, which the workers pack themselves.

    Raises:
        InputError: as packing on one machine.
    """
    if spec.stage == "dpo":
        return None
    requested = hyperparameters.load(spec.hyperparameters)
    rows = work.rows_of(spec, requested, context)
    if not rows.is_file() or rows.stat().st_size < large:
        return None
    by_all = _Sharded(spec.model, context.path / order.FOLDER / "shards")
    found = plan.build(
        spec.stage, rows, None, load_tokenizer(spec.model), requested, spec.max_tokens, spec.long_rows,
        context.path / "packed", render=by_all.render,
    )  # fmt: skip
    return found.steps.dataset


class PackSpec(Spec):
    """What `loglore data pack` was asked for.

    Attributes:
        beside: folder in which a relative path is looked up.
        rows, tokenizer, out, max_sequence_length, long_rows, seed: as on the command line.
    """

    beside: Path
    rows: str
    tokenizer: Path
    out: Path
    max_sequence_length: int = 8192
    long_rows: Policy = "shorten_log"
    seed: int | None = None


def run(spec: PackSpec, context: RunFolder) -> dict[str, Any]:
    """Pack rows; Ray is joined already. The result names the folder of the packed dataset.

    Raises:
        InputError: as packing on one machine.
    """
    os.chdir(spec.beside)
    by_all = _Sharded(spec.tokenizer, context.path / order.FOLDER / "shards")
    limits = (spec.max_sequence_length, spec.long_rows, spec.seed)
    found = models.pack(spec.rows, spec.tokenizer, spec.out, *limits, by_all.render)
    return {"outputs": {}, "folder": found.folder.name}


class _Sharded:
    """Takes the place of `samples.render_rows`.

    model: whose tokenizer workers load. folder: of the shards, on shared storage; made anew and removed.
    """

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder = model, folder

    def render(
        self, rows: PlacedRows, stage: Stage, renderer: Renderer, limit: Limit | None = None
    ) -> Iterator[list[Rendered]]:
        """As `samples.render_rows`."""
        import shutil

        import ray

        assert limit is not None
        with replacing_folder(self.folder) as partial:
            names = _write(partial, samples.cut(rows, stage))
        shards.bound()
        asked = [{"number": number, "shard": str(self.folder / name)} for number, name in enumerate(names)]
        told = {"model": str(self.model), "stage": stage, "tokens": limit.capacity, "policy": limit.policy}
        pipeline = ray.data.from_items(asked, override_num_blocks=len(asked)).flat_map(_render, fn_args=(told,))
        try:
            for row in pipeline.iter_rows():
                if row["fault"]:
                    raise InputError(row["fault"])
                for name, count in json.loads(row["counts"]).items():
                    limit.counts[name] += count
                yield _samples(row)
        finally:
            shutil.rmtree(self.folder)


def _write(folder: Path, batches: Iterator[list[tuple[str, Any]]]) -> list[str]:
    """Write shards, a batch a line; returns their names."""
    names: list[str] = []
    while group := list(islice(batches, BATCHES)):
        names.append(f"{len(names):06d}.jsonl")
        with (folder / names[-1]).open("w", encoding="utf-8") as stream:
            for batch in group:
                stream.write(json.dumps(batch, ensure_ascii=False) + "\n")
    return names


def _render(asked: dict[str, Any], told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One shard, on some node: a row for each of its batches."""
    renderer = Renderer(load_tokenizer(Path(told["model"])))
    with Path(asked["shard"]).open(encoding="utf-8") as stream:
        for line in stream:
            limit = Limit(told["tokens"], told["policy"])
            try:
                found = [
                    sample
                    for part in samples.render_rows(json.loads(line), told["stage"], renderer, limit)
                    for sample in part
                ]
            except InputError as fault:
                yield _row([], {}, str(fault))
                return
            yield _row(found, dict(limit.counts), "")


def _row(found: list[Rendered], counts: dict[str, int], fault: str) -> dict[str, Any]:
    nothing = [np.zeros(0, dtype=np.int32)]
    return {
        "lengths": np.array([len(sample.ids) for sample in found], dtype=np.int64).tobytes(),
        "ids": np.concatenate([np.asarray(sample.ids, dtype=np.int32) for sample in found] or nothing).tobytes(),
        "mask": np.concatenate([np.asarray(sample.mask, dtype=bool) for sample in found] or nothing).tobytes(),
        "counts": json.dumps(counts),
        "fault": fault,
    }


def _samples(row: dict[str, Any]) -> list[Rendered]:
    ends = np.cumsum(np.frombuffer(row["lengths"], dtype=np.int64))[:-1]
    ids = np.split(np.frombuffer(row["ids"], dtype=np.int32), ends)
    masks = np.split(np.frombuffer(row["mask"], dtype=bool), ends)
    return [Rendered(one, mask) for one, mask in zip(ids, masks, strict=True)] if len(row["lengths"]) else []
