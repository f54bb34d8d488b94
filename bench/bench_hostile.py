"""Lines made to hurt regular expressions: time of every step at 1 MB and at 10 MB, and the ratio (10 is linear).

    python bench/bench_hostile.py [--small 1] [--large 10] [--only mentions] [--limit 60]

Each line is one piece repeated. Steps: `read` (headers, JSON, logfmt, times, events), `mine` (masking, templates),
`variables`, `grok` (a pattern from the line's template, matched against it, or its refusal), `check` (the line as the
text of an answer, a fiftieth of the sizes: every mention in it is looked up in the log). A step at the small size
over `--limit` seconds is not tried at the large one. Exit code 1 when a ratio is above 13 and the large time above
half a second.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable

from loglore.errors import InputError
from loglore.logs import grok, variables
from loglore.logs.grounding import LogIndex, check
from loglore.logs.reader import table_of
from loglore.logs.templates import mine

PIECES = (
    "a", "(", "1", "=", '"', "'", "[", " ", "1.1.1.1", "1.1.1.1 ", ":", "/", ".", "-", "_", "<",
    "`", "「", "「a」は3回", "あ",
    "a=", 'a="', "a b ", "12:", "a.b@", "0x", "a-1.", "L1, ", "line 1 and ", "\\", '\\"', '{"a":',
    "{", "%", "\x00", "\t", "a:b:",
    "first ", "1 error lines ", "pid 1 ", "2026-11-22 ", "10:00:00 ", "Nov 22 ", "1,", "×1 ",
    "<*> ", "from ", "**", "```\n", "#",
)  # fmt: skip
HEAD = "2026-11-22 10:00:00 INFO a.b: "
SMALL_LOG = LogIndex(table_of([HEAD + "connection refused by 10.0.0.9:5432", HEAD + "done"]))


def read(line: str) -> None:
    table_of([line, HEAD + line])


def templates(line: str) -> None:
    mine(table_of([HEAD + line]))


def typed(line: str) -> None:
    variables.of_lines(mine(table_of([HEAD + line])))


def patterns(line: str) -> None:
    mined = mine(table_of([HEAD + line]))
    for template in mined.templates:
        with contextlib.suppress(InputError):
            grok.match(grok.from_template(template.text, [HEAD + line]), HEAD + line)


def answer(line: str) -> None:
    check(line, SMALL_LOG)


STEPS: dict[str, Callable[[str], None]] = {
    "read": read, "mine": templates, "variables": typed, "grok": patterns, "check": answer,
}  # fmt: skip


def seconds(step: Callable[[str], None], piece: str, megabytes: float) -> float:
    line = piece * int(megabytes * 1e6 / len(piece.encode()))
    start = time.perf_counter()
    step(line)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=float, default=1, help="MB")
    parser.add_argument("--large", type=float, default=10, help="MB")
    parser.add_argument("--only", choices=STEPS, help="this step alone")
    parser.add_argument(
        "--limit", type=float, default=30, help="seconds at the small size above which the large is skipped"
    )
    options = parser.parse_args()
    bad = 0
    print(f"{'step':10} {'piece':16} {options.small:>8g} MB {options.large:>8g} MB   ratio")
    for name, step in STEPS.items():
        if options.only not in (None, name):
            continue
        part = 0.02 if name == "check" else 1.0
        worst = 0.0
        for piece in PIECES:
            small = seconds(step, piece, options.small * part)
            if small > options.limit:
                print(f"{name:10} {piece!r:16} {small:9.2f} s  too slow to go on", flush=True)
                bad += 1
                continue
            large = seconds(step, piece, options.large * part)
            ratio = large / small * options.small / options.large * 10
            worst = max(worst, large)
            slow = ratio > 13 and large > 0.5
            bad += slow
            print(
                f"{name:10} {piece!r:16} {small:9.3f} s {large:9.3f} s {ratio:7.1f}{'  superlinear' if slow else ''}",
                flush=True,
            )
        print(f"{name:10} worst at {options.large:g} MB: {worst:.2f} s", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
