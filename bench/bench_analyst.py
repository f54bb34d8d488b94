"""What the analyst finds of 249 injected faults with known causes (examples/incidents.jsonl), and how often it is calm.

    python bench/bench_analyst.py [--lines 15] [--missed]

For each incident the lines around its evidence are cut out, as a chunk would: does the analyst report any problem, one
whose event is the line with the evidence, and does its root cause quote that line? In-sample: the kinds of problems
were written with these logs at hand. Beside it, over all chunks of the quickstart's cut: how many are reported as calm,
and how many of those hold the evidence of an incident.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from loglore.logs import chunks, reader, templates
from loglore.logs.lookup import fold
from loglore.synth.analyst import converse
from loglore.synth.analyst.facts import facts_of

EXAMPLES = Path(__file__).parents[1] / "examples"
SEED = 1309


def incidents() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / "incidents.jsonl").read_text(encoding="utf-8").splitlines()]


def around(part: pl.DataFrame, incident: dict[str, Any], lines: int) -> pl.DataFrame:
    """`lines` lines of the incident with its evidence in the middle."""
    first, last = incident["lines"]
    rows = part.slice(first - 1, last - first + 1)
    place = next(number for number, text in enumerate(rows["text"]) if incident["evidence"] in text)
    return rows.slice(max(0, place - lines // 2), lines)


def quotes(answer: str) -> Iterator[str]:
    return (fold(quote) for quote in answer.split("`")[1::2])


def recall(mined: templates.Mined, patterns: dict[str, str], lines: int, missed: bool) -> None:
    parts = {Path(part["source"][0]).name: part for part in mined.table.partition_by("source")}
    found: Counter[str] = Counter()
    for incident in incidents():
        rows = around(parts[Path(incident["file"]).name], incident, lines)
        facts = facts_of(rows, patterns)
        evidence = incident["evidence"]
        hit = any(evidence in line.text for problem in facts.problems for line in problem.events)
        text = next(fold(text) for text in rows["text"] if evidence in text)
        answer = converse("root_cause", facts, 2)[0][1]
        found.update(incidents=1, any=bool(facts.problems), evidence=hit)
        found["quoted"] += any(quote in text for quote in quotes(answer))
        if missed and not hit:
            print(f"missed {incident['id']}: {evidence!r} ({incident['root_cause']})")
    print(
        f"{found['incidents']} incidents: a problem is reported in {found['any']}, in {found['evidence']} from the "
        f"line with the evidence; the root cause quotes that line in {found['quoted']}"
    )


def calm(mined: templates.Mined, patterns: dict[str, str]) -> None:
    known = defaultdict(list)
    for incident in incidents():
        known[Path(incident["file"]).name].append(incident)
    counts: Counter[str] = Counter()
    for chunk in chunks.cut(mined.table, 8, 15, SEED):
        if not chunk.text.strip():
            continue
        near = [
            one
            for one in known[Path(chunk.source).name]
            if one["lines"][0] <= chunk.last and one["lines"][1] >= chunk.first
        ]
        quiet = not facts_of(chunk.table(mined.table), patterns).problems
        counts.update(chunks=1, calm=quiet, apart=not near)
        counts["overlooked"] += quiet and any(one["evidence"] in chunk.text for one in near)
    print(
        f"{counts['chunks']} chunks: {counts['calm']} calm, {counts['overlooked']} of these with an incident's "
        f"evidence; {counts['apart']} chunks are apart from every incident"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=15, help="lines around the evidence")
    parser.add_argument("--missed", action="store_true", help="print the incidents that are missed")
    options = parser.parse_args()
    mined = templates.mine(reader.read_table([EXAMPLES / "logs"]))
    patterns = {template.key: template.text for template in mined.templates}
    recall(mined, patterns, options.lines, options.missed)
    calm(mined, patterns)


if __name__ == "__main__":
    main()
