"""Fuzz the readers of rows: damaged files give rows or an `InputError`, and JSON what the reference gives.

    python bench/fuzz_readers.py [--seconds 180] [--seed 0]

Files are written by the writers, then damaged: bytes flipped, cut out, doubled, moved, exchanged with those of another
file of the same kind. JSON is compared with the standard library: what that refuses must not be read as whole rows
without a fault, and what it reads must come out equal. Prints inputs by kind and outcome; stops with status 1 at the
first finding, which is left in `fuzz-finding.bin`.
"""

import argparse
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from loglore.data import files, json_rows, writing
from loglore.data.json_rows import BadRow
from loglore.errors import InputError

TEXTS = [
    "plain",
    'say "x": {[,]}',
    "back\\slash\\",
    "line\nend\r\n",
    "é世\U0001f600",
    "",
    "null",
    "a,b;c",
    "\ufeff",
    "1e5",
]
KINDS = [
    ".jsonl",
    ".json",
    ".csv",
    ".parquet",
    ".txt",
    ".jsonl.gz",
    ".json.zst",
    ".jsonl.zip",
    ".csv.gz",
    ".parquet.zip",
]
TOKENS = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e999",
    b"NaN",
    b'""',
]


def rows(dice: random.Random, flat: bool) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for _ in range(dice.randint(1, 6)):
        row: dict[str, Any] = {"instruction": dice.choice(TEXTS), "output": dice.choice(TEXTS) + "x"}
        if not flat:
            row["meta"] = {"n": dice.choice([0, -1, 2**62]), "lines": [1, dice.randint(1, 9)]}
            row["turns"] = [{"from": "a", "value": dice.choice(TEXTS)} for _ in range(dice.randint(1, 3))]
        made.append(row)
    return made


def sample(dice: random.Random, kind: str, folder: Path) -> bytes:
    path = folder / f"sample{kind}"
    if kind.startswith(".txt"):
        writing.write_rows(path, [{"text": f"block {number}"} for number in range(dice.randint(1, 5))])
    else:
        writing.write_rows(path, rows(dice, flat=kind.startswith(".csv")))
    content = path.read_bytes()
    if kind == ".json" and dice.random() < 0.5:
        content = json.dumps(
            json.loads(content), indent=dice.choice([None, 1]), ensure_ascii=dice.random() < 0.5
        ).encode()
    return content


def damaged(dice: random.Random, content: bytes, other: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(dice.choice([0, 1, 1, 1, 2, 3, 8])):
        place = dice.randrange(len(data) + 1)
        length = dice.choice([1, 1, 2, 8, 64])
        match dice.randrange(7):
            case 0 if data:
                data[place % len(data)] ^= 1 << dice.randrange(8)
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = data[place : place + length]
            case 3:
                data[place:place] = dice.choice(TOKENS)
            case 4:
                del data[place:]
            case 5:
                start = dice.randrange(len(other) + 1)
                data[place : place + length] = other[start : start + length]
            case _:
                moved = data[place : place + length]
                del data[place : place + length]
                start = dice.randrange(len(data) + 1)
                data[start:start] = moved
    return bytes(data)


def read(path: Path) -> tuple[list[Any] | None, int]:
    """Rows and how many were faulty; None when the file was refused."""
    faults: list[Any] = []
    try:
        return [row for _, row in files.placed_rows(path, faults.append)], len(faults)
    except InputError:
        return None, len(faults)


class _RefusedError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise _RefusedError
    return dict(pairs)


def _never(text: str) -> Any:
    raise _RefusedError(text)


def reference(content: bytes) -> list[Any] | None:
    """Rows of JSON as the standard library reads it; None where it or we refuse (a key twice, NaN, lone surrogates)."""
    try:
        text = content.decode("utf-8-sig")
        if text.lstrip(" \t\r\n")[:1] == "[":
            found = json.loads(text, object_pairs_hook=_unique, parse_constant=_never)
        else:
            lines = [line for line in text.split("\n") if line.strip(" \t\r\n")]
            found = [json.loads(line, object_pairs_hook=_unique, parse_constant=_never) for line in lines]
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, _RefusedError, RecursionError):
        return None
    return found if all(isinstance(row, dict) for row in found) else None


def finding(kind: str, content: bytes, path: Path, dice: random.Random) -> tuple[str, str]:
    """(outcome, what is wrong or empty)."""
    path.write_bytes(content)
    found, faults = read(path)
    outcome = "refused" if found is None else "faulty rows" if faults else "read"
    if kind in (".json", ".jsonl"):
        wanted = reference(content)
        if found is not None and not faults and (wanted is None or found != wanted):
            return outcome, f"read as {found!r:.200}, the reference has {wanted!r:.200}"
        if wanted is not None and (found is None or faults):
            return outcome, f"refused, the reference has {wanted!r:.200}"
        size, json_rows.BLOCK = json_rows.BLOCK, dice.randint(1, 40)
        try:
            again = [row for _, row in json_rows.rows(io.BytesIO(content), "f")]
            if found is not None and [row for row in again if not isinstance(row, BadRow)] != found:
                return outcome, "small blocks read other rows"
        except InputError:
            if found is not None:
                return outcome, "small blocks were refused"
        finally:
            json_rows.BLOCK = size
    return outcome, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    end = time.monotonic() + asked.seconds
    seed = asked.seed
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        while time.monotonic() < end:
            seed += 1
            dice = random.Random(seed)
            kind = dice.choice(KINDS)
            content, other = sample(dice, kind, folder), sample(dice, kind, folder)
            for _ in range(40):
                damaged_content = damaged(dice, content, other)
                try:
                    outcome, wrong = finding(kind, damaged_content, folder / f"x{kind}", dice)
                except Exception as fault:
                    outcome, wrong = "error", f"{type(fault).__name__}: {fault}"
                counts[kind, outcome] += 1
                if wrong:
                    Path("fuzz-finding.bin").write_bytes(damaged_content)
                    print(f"seed {seed} {kind}: {wrong}\n{damaged_content!r:.600}")
                    return 1
    print(f"{sum(counts.values()):,} inputs in {asked.seconds:.0f} s, seeds {asked.seed + 1} to {seed}, no finding")
    for (kind, outcome), count in sorted(counts.items()):
        print(f"  {kind:14} {outcome:12} {count:9,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
