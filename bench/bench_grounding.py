"""Grounding on true statements about the example logs and on the same with one thing changed.

    python bench/bench_grounding.py [--cases 1000] [--seed 1] [--misses 20] [--logs FOLDER]

Cases are made from the raw text of the logs (`grounding_cases`, which imports nothing of LogLore); the checker is
called and its verdicts are counted, and nothing else of it is used. True statements: line references with quotes,
first and last places, entities, counts and bounds of texts, entities, levels and lines, two counts at once, times,
ranges, order, change between halves. False ones: an entity swapped for one that is not in the log, a count one off, a
bound too high, a line number moved, a quote invented, halves or order swapped, a time moved. Beside them stand true
statements whose numbers and quotations do not belong together (`grounding_truths`), and causal ones: no claim about a
cause may be supported.

A false statement is flagged when a claim in it is contradicted. Goal: at least 95 % of the false ones, at most 2 % of
the true ones. Coverage: true statements with a supported claim and none contradicted; abstention: statements without
a claim that was decided; precision: right ones among the decided. Wordings seen in development and held-out ones
(`grounding_wordings`) are reported apart.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from grounding_cases import Case, Log, cases, causes
from grounding_truths import truths

from loglore.logs.grounding import Claim, LogIndex, check
from loglore.logs.measures import measure
from loglore.logs.reader import read_table

Judged = list[tuple[Case, list[Claim]]]


def table(title: str, groups: dict[str, Judged]) -> None:
    """One row a group: what was flagged, and precision, coverage, abstention of the verdicts."""
    names = ("false flagged", "true flagged", "precision", "coverage", "abstention")
    print(f"\n{title:24} {'cases':>6}", *(f"{name:>13}" for name in names))
    for name, rows in sorted(groups.items()):
        found = measure((case.true, claims) for case, claims in rows)
        true = [{claim.verdict for claim in claims} for case, claims in rows if case.true]
        covered = sum("supported" in said and "contradicted" not in said for said in true) / max(len(true), 1)
        shares = (found.flagged_false, found.flagged_true, found.precision, covered, found.abstention)
        print(f"{name:24} {len(rows):6}", *(f"{share:13.1%}" for share in shares))


def show(case: Case, claims: list[Claim]) -> None:
    """A case that was judged wrongly."""
    print("TRUE FLAGGED" if case.true else f"MISSED ({case.change})", case.log, case.text)
    print("    ", [(one.kind, one.verdict, case.text[one.start : one.end], one.actual) for one in claims])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, default=Path(__file__).parents[1] / "examples" / "logs")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--misses", type=int, default=0, help="print this many wrongly judged development cases")
    options = parser.parse_args()
    logs = [Log(path) for path in sorted(options.logs.glob("*.log"))]
    indexes = {log.path.name: LogIndex(read_table([log.path])) for log in logs}

    def judge(made: list[Case]) -> Judged:
        judged = [(case, check(case.text, indexes[case.log])) for case in made]
        wrong = [
            (case, claims)
            for case, claims in judged
            if case.true == any(one.verdict == "contradicted" for one in claims)
        ]
        for case, claims in [one for one in wrong if not one[0].held_out][: options.misses]:
            show(case, claims)
        return judged

    judged = judge(cases(logs, options.cases, options.seed))
    told = judge(truths(logs, options.cases // 4, options.seed))
    report(judged, told)
    made = causes(logs, options.cases // 5, options.seed)
    named = [[one for one in check(text, indexes[log]) if one.kind == "cause"] for log, text in made]
    print(
        f"\ncausal statements: {len(made)}; with a claim about the cause {sum(map(bool, named))}, supported "
        f"{sum(one.verdict == 'supported' for found in named for one in found)}, "
        f"with evidence lines {sum(any(one.lines for one in found) for found in named)}"
    )


def report(judged: Judged, told: Judged) -> None:
    """The tables of mutated statements and of those that are merely true."""
    names: tuple[tuple[str, Callable[[Case], str]], ...] = (
        ("wordings", lambda case: "held out" if case.held_out else "development"),
        ("kind", lambda case: case.kind),
        ("language", lambda case: f"{case.language}, {'held out' if case.held_out else 'development'}"),
        ("log", lambda case: case.log),
    )
    for title, name in names:
        groups: dict[str, Judged] = defaultdict(list)
        for one in judged:
            groups[name(one[0])].append(one)
        if title == "wordings":
            groups["all"] = judged
            groups["all, and those below"] = judged + told
        table(title, groups)
    groups = {"all": told}
    for one in told:
        groups.setdefault(f"{one[0].kind}, {'held out' if one[0].held_out else 'development'}", []).append(one)
    table("true, nothing to count", groups)


if __name__ == "__main__":
    main()
