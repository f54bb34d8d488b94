"""Grouping accuracy of `loglore.logs.templates` beside plain Drain3, on LogHub-2k, in one run.

    python bench/bench_templates.py FOLDER    # FOLDER holds *_2k.log and *_2k.log_structured.csv

Grouping accuracy (GA): share of lines whose group has exactly the lines of the true event. FGA: F1 over groups.
Plain Drain3 reads the true message column (its header stripped for it) with its published settings and three masks
(address, hex, number); LogLore reads the raw lines, one configuration for all systems. LogHub is for research use;
cite Zhu et al., "Loghub: A Large Collection of System Log Datasets for AI-driven Log Analytics", ISSRE 2023.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from loglore.logs.reader import read_table
from loglore.logs.templates import mine


def accuracy(found: Sequence[object], true: Sequence[str]) -> tuple[float, float]:
    """GA and FGA of a grouping."""
    frame = pl.DataFrame({"found": [str(one) for one in found], "true": list(true)})
    groups = frame.group_by("found").agg(size=pl.len(), events=pl.col("true").n_unique(), true=pl.col("true").first())
    events = frame.group_by("true").agg(event_size=pl.len())
    right = groups.filter(pl.col("events") == 1).join(events, on="true").filter(pl.col("size") == pl.col("event_size"))
    precision, recall = right.height / groups.height, right.height / events.height
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return right["size"].sum() / frame.height, harmonic


def drain3_groups(messages: Sequence[str]) -> list[int]:
    """Plain Drain3 with three masks."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.masking_instructions = [
        MaskingInstruction(r"(?<![A-Za-z0-9])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?![A-Za-z0-9])", "IP"),
        MaskingInstruction(r"(?<![A-Za-z0-9])0x[0-9a-fA-F]+(?![A-Za-z0-9])", "HEX"),
        MaskingInstruction(r"(?<![A-Za-z0-9])[-+]?\d+(?![A-Za-z0-9])", "NUM"),
    ]
    miner = TemplateMiner(config=config)
    return [miner.add_log_message(message)["cluster_id"] for message in messages]


def main() -> None:
    """Print one row a system and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with *_2k.log and *_2k.log_structured.csv")
    folder = parser.parse_args().folder
    rows = []
    print(f"{'system':12} {'GA':>6} {'FGA':>6} {'ms':>6}   {'Drain3 GA':>9} {'FGA':>6} {'ms':>6}")
    for path in sorted(folder.glob("*_2k.log")):
        truth = pl.read_csv(folder / f"{path.name}_structured.csv", infer_schema=False)
        start = time.perf_counter()
        found = mine(read_table([path])).table["template"].to_list()
        middle = time.perf_counter()
        plain = drain3_groups(truth["Content"].fill_null("").to_list())
        end = time.perf_counter()
        ours, theirs = accuracy(found, truth["EventId"].to_list()), accuracy(plain, truth["EventId"].to_list())
        rows.append((*ours, *theirs))
        print(
            f"{path.name.removesuffix('_2k.log'):12} {ours[0]:6.3f} {ours[1]:6.3f} {1000 * (middle - start):6.0f}   "
            f"{theirs[0]:9.3f} {theirs[1]:6.3f} {1000 * (end - middle):6.0f}"
        )
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    print(f"{'mean':12} {means[0]:6.3f} {means[1]:6.3f} {'':6}   {means[2]:9.3f} {means[3]:6.3f}")


if __name__ == "__main__":
    main()
