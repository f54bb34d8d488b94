"""Which jobs all nodes of a cluster do together, known before Ray is asked."""

from pathlib import Path
from typing import Any

import pytest

from loglore.cluster import everywhere, writing
from loglore.synth.chat import ChatSpec
from loglore.synth.nlplog import NlplogSpec

ENDPOINT = {"url": "http://127.0.0.1:1/v1", "model": "m"}
CHAT = {"test_chunks": 0, "validation_chunks": 0, "test_rows": 0, "validation_rows": 0, "train_rows": 5000}


@pytest.mark.parametrize(
    ("kind", "given", "by_all"),
    [
        ("synth", CHAT, writing.synth),
        ("synth", {**CHAT, "train_rows": 4999}, None),
        ("synth", {**CHAT, "teacher": ENDPOINT}, writing.synth),
        ("synth", {**CHAT, "teacher": ENDPOINT, "batches": True}, None),
        ("nlplog", {"teacher": ENDPOINT}, writing.of_events),
        ("nlplog", {"teacher": ENDPOINT, "logs": ["small.log"]}, None),  # it cannot have so many events
        ("nlplog", {"teacher": ENDPOINT, "batches": True}, None),
        ("nlplog", {}, None),
    ],
)
def test_large_syntheses_are_of_all_nodes(tmp_path: Path, kind: str, given: dict[str, Any], by_all: Any) -> None:
    (tmp_path / "large.log").write_bytes(b"x" * writing.MANY * writing.EVENT_BYTES)
    (tmp_path / "small.log").write_bytes(b"x")
    values = {"logs": ["large.log"], **given}
    values["logs"] = [str(tmp_path / name) for name in values["logs"]]
    spec = {"synth": ChatSpec, "nlplog": NlplogSpec}[kind].parse(values, kind)
    assert everywhere.work_of(kind, spec) is by_all
