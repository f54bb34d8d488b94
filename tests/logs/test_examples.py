"""The project's own example logs, real output of real daemons, through the whole room."""

import time
from pathlib import Path

import polars as pl
import pytest

from loglore.logs import grok
from loglore.logs.reader import read_table
from loglore.logs.templates import mine

LOGS = sorted((Path(__file__).parents[2] / "examples" / "logs").glob("*.log"))


@pytest.mark.parametrize("path", LOGS, ids=[path.name for path in LOGS])
def test_every_line_is_read_and_of_a_template_with_a_grok_pattern(path: Path) -> None:
    pieces = path.read_bytes().split(b"\n")
    found = mine(read_table([path]))
    assert found.table["text"].to_list() == [
        piece.decode("utf-8", errors="replace").removesuffix("\r") for piece in pieces[:-1]
    ]
    known = found.table.filter(pl.col("template").is_not_null())
    for identifier, messages, lines in (
        known.group_by("template", maintain_order=True).agg("message", "text").iter_rows()
    ):
        template = found.by_id[identifier]
        assert all(template.values(message) is not None for message in messages), template.text
        pattern = grok.from_template(template.text, lines)
        assert all(grok.match(pattern, line) is not None for line in lines), pattern


@pytest.mark.parametrize("path", LOGS, ids=[path.name for path in LOGS])
def test_events_have_headers_and_repeat_in_templates(path: Path) -> None:
    found = mine(read_table([path]))
    heads = found.table.filter(pl.col("event") == pl.col("line"))
    assert heads["layout"].null_count() <= 0.02 * heads.height
    assert len(found.templates) < found.table.height / 2


def test_the_corpus_is_mined_in_seconds() -> None:
    start = time.process_time()
    found = mine(read_table(LOGS))
    assert time.process_time() - start < 10  # about 0.6 s on two idle cores
    assert found.table.height > 5000
