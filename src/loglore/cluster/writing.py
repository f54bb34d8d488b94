"""A synthesis on all nodes: Ray Data over shards of its plan, into the rows that one machine writes.

Every worker opens the same logs and plans the same rows (a seed decides), and writes its shards of them; the driver
puts them together in the order of the plan, gate's removals and counts with them, and cleans. That is the built-in
analyst's way; for teachers behind endpoints see `asking`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from loglore.cluster import asking, shards
from loglore.endpoint.items import Tally
from loglore.logs import reader
from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.synth import chat, nlplog, writers
from loglore.synth.asking import Call, Outcomes, Questions, here
from loglore.synth.chat import ChatSpec
from loglore.synth.nlplog import NlplogSpec
from loglore.synth.rows import Asked, Row
from loglore.synth.writers import Workshop

MANY = 5_000  # rows, or events; fewer are written before workers have opened the logs
SHARD = 200  # rows, or events, of a shard: seconds of work
# Of a log for each event that it has, compressed or not, at least.
EVENT_BYTES = 10


def is_large(kind: str, spec: Any) -> bool:
    """Whether a job `synth` or `nlplog` is worth more than one process."""
    # A batch is one request to the endpoint, however many rows it has: one process sends it and waits.
    if spec.batches:
        return False
    if kind == "synth":
        return bool(spec.train_rows + spec.validation_rows + spec.test_rows >= MANY)
    # What the analyst writes about an event is written sooner than it is sent.
    logs = sum(path.stat().st_size for path in reader.expand(spec.logs))
    return spec.teacher != "analyst" and logs >= MANY * EVENT_BYTES


def synth(spec: ChatSpec, context: RunFolder, shard: int = SHARD) -> dict[str, Any]:
    """The job `synth` on all nodes; Ray is joined already. Everything else as `synth.chat.run`."""
    return chat.run(spec, context, _Sharded(spec, shard), asking.Sharded("synth", spec, shard))


def of_events(spec: NlplogSpec, context: RunFolder, shard: int = SHARD, many: int = MANY) -> dict[str, Any]:
    """The job `nlplog` with endpoints on all nodes, or by this process when there are fewer than so `many` events."""

    def ask(questions: Questions, call: Call, tick: Tick) -> tuple[Tally, Outcomes]:
        by_all = len(questions.ids) >= many
        return (asking.Sharded("nlplog", spec, shard) if by_all else here)(questions, call, tick)

    return nlplog.run(spec, context, ask)


@dataclass(frozen=True)
class _Sharded:
    """Takes the place of `writers.by_analyst`; shard: rows of each."""

    spec: ChatSpec
    shard: int

    def __call__(self, shop: Workshop, plan: Sequence[Asked], tick: Tick) -> Iterator[Row]:
        """Rows in the order of the plan; what the shop keeps count of is taken over."""
        import ray

        if not plan:
            return
        shards.bound()
        starts = range(0, len(plan), self.shard)
        split = plan[0].split
        asked = [{"split": split, "start": start, "end": min(start + self.shard, len(plan))} for start in starts]
        workers = max(1, min(len(asked), int(ray.available_resources().get("CPU", 1))))
        told = {"spec": self.spec.model_dump(mode="json")}
        pipeline = ray.data.from_items(asked, override_num_blocks=len(asked)).map_batches(
            _Writer, fn_constructor_kwargs=told, batch_size=1, concurrency=workers, num_cpus=1
        )
        for part in pipeline.iter_rows():
            for made in json.loads(part["made"]):
                shop.removed += made["removed"]
                shop.notes.update(made["notes"])
                if made["row"] is not None:
                    shop.verdicts.update(made["verdicts"])
                    yield made["row"]
                tick()


class _Writer:
    """A worker: it opens the logs once, and writes one shard after the other."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._shop, self._plan = chat.opened(ChatSpec.parse(spec, "synth"))

    def __call__(self, asked: dict[str, Any]) -> dict[str, list[str]]:
        """`made`: for each row of the plan the row or None, and what the shop noted about it."""
        (split,), (start,), (end,) = asked["split"], asked["start"], asked["end"]
        return {"made": [json.dumps([self._one(one) for one in self._plan[str(split)][int(start) : int(end)]])]}

    def _one(self, asked: Asked) -> dict[str, Any]:
        shop = self._shop
        shop.removed.clear()
        shop.notes.clear()
        shop.verdicts.clear()
        found = list(writers.by_analyst(shop, [asked], lambda amount=1, note="": None))
        return {
            "row": found[0] if found else None,
            "removed": list(shop.removed),
            "notes": dict(shop.notes),
            "verdicts": dict(shop.verdicts),
        }
