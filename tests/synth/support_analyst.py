"""Facts for tests: a text through the real reader and template miner."""

import tempfile
from pathlib import Path

import polars as pl
from hypothesis import strategies as st

from loglore.logs import reader, templates
from loglore.synth.analyst.facts import Facts, facts_of


def odd_lines(most: int) -> st.SearchStrategy[list[str]]:
    """One to `most` lines of anything, and of what formatting and quoting trip over."""
    text = st.text(alphabet=st.characters(exclude_characters="\n\r", exclude_categories=["Cs", "Cc"]), max_size=60)
    tricky = ["", "   ", "ERROR", "2026-11-22 10:00:00", "error: {0} failed %s", '`a` "b"', "日本語 エラー"]
    return st.lists(st.one_of(text, st.sampled_from(tricky)), min_size=1, max_size=most)


def mined_of(text: str) -> templates.Mined:
    """The mined table of one log given as text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.log"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return templates.mine(reader.read_table([path]))


def facts_and_table(text: str, prefixed: bool = False) -> tuple[Facts, pl.DataFrame]:
    """Facts of a whole text as one chunk, and its table."""
    mined = mined_of(text)
    patterns = {template.key: template.text for template in mined.templates}
    return facts_of(mined.table, patterns, prefixed), mined.table
