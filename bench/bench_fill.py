"""How full packed rows are, on conversations with the tutorial's lengths: 2k to 31k tokens, mode 5k, 37 % above 8,192.

    python bench/bench_fill.py --lengths                              # of the lengths alone, long ones cut to the limit
    python bench/bench_fill.py --tokenizer FOLDER [--rows 2000]       # of real rows, by the whole path

Real rows: a question, consecutive lines of a log in examples/logs (digits replaced) up to the wanted number of tokens,
an answer; through `data.packed.open_or_build` with the default policy, which takes whole lines out of long logs and so
leaves a part of a line's room empty. The bound is Martello and Toth's L2 on the lengths that are packed: no packing has
fewer rows. Fill within steps is what training sees, where only the samples of one optimizer step may share rows.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from loglore.data.packing import Numbers, best_fit_decreasing, plan_samples
from loglore.data.stats import fewest_rows

EXAMPLES = Path(__file__).parent.parent / "examples"
CAPACITIES = (8192, 16384, 32768)
TUTORIAL_ROWS = 8971


def tutorial_lengths(count: int) -> Numbers:
    """Lengths as the tutorial describes its training set."""
    lengths = np.random.default_rng(1309).lognormal(np.log(6800), 0.55, count).clip(2000, 31000)
    return lengths.astype(np.int64)


def report(lengths: Numbers, capacity: int) -> str:
    """Fill of these lengths (each within the capacity), the bound, and fill within steps."""
    total = int(lengths.sum())
    rows = len(best_fit_decreasing(lengths, capacity))
    bound = fewest_rows(lengths, capacity)
    steps = [
        total / sum(len(step) for step in plan_samples(lengths, capacity, size, 1, 1)) / capacity for size in (64, 16)
    ]
    fills = [total / rows / capacity, total / bound / capacity, *steps]
    return f"{capacity:9,} {rows:7,} " + " ".join(f"{fill:8.2%}" for fill in fills)


def chats(lengths: Numbers, count_tokens: Any) -> Iterator[dict[str, Any]]:
    """Rows of about these lengths."""
    from loglore.data.frame import conversation

    rng = random.Random(1309)
    logs = [path.read_text(errors="replace").splitlines() for path in sorted((EXAMPLES / "logs").glob("*.log"))]
    sizes = [count_tokens([f"{line}\n" for line in log]) for log in logs]
    answers = [json.loads(line)["output"] for line in (EXAMPLES / "nlplog.jsonl").read_text().splitlines()]
    for length in lengths.tolist():
        answer = "\n\n".join(rng.sample(answers, 8))
        room = length - sum(count_tokens([answer])) - 60
        log = rng.randrange(len(logs))
        place, lines = rng.randrange(len(logs[log])), []
        while room > 0:
            room -= sizes[log][place]
            lines.append(logs[log][place])
            place = (place + 1) % len(logs[log])
        table = str.maketrans("0123456789", "".join(rng.sample("0123456789", 10)))
        yield {"conversations": conversation([("Find the root cause.", answer)], "\n".join(lines).translate(table))}


def real_rows(tokenizer: Path, count: int) -> None:
    """Write rows, pack them at each capacity, print what came of it."""
    from loglore.data.files import placed_rows
    from loglore.data.packed import PackSettings, Source, open_or_build
    from loglore.data.render import Renderer
    from loglore.data.writing import write_rows
    from loglore.models.load import load_tokenizer
    from loglore.runs.fingerprint import of_file

    loaded = load_tokenizer(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chats.jsonl"
        write_rows(path, chats(tutorial_lengths(count), Renderer(loaded).token_counts))
        source = Source(path.name, of_file(path), lambda: placed_rows(path))
        for capacity in CAPACITIES:
            dataset = open_or_build(Path(folder) / "packed", source, loaded, PackSettings("sft", capacity))
            made = ", ".join(f"{name} {count:,}" for name, count in dataset.report["long_rows"].items())
            print(f"{report(dataset.lengths, capacity)}   {made}", flush=True)
            assert dataset.report["packed_rows"] == len(dataset)


def main() -> None:
    """Print one row a capacity."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, help="model folder with a chat template")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--lengths", action="store_true", help="lengths alone, no text")
    arguments = parser.parse_args()
    heads = f"{'capacity':>9} {'rows':>7} {'fill':>8} {'bound':>8} {'64 a step':>8} {'16':>8}"
    if arguments.lengths:
        lengths = tutorial_lengths(TUTORIAL_ROWS)
        longer = (lengths > CAPACITIES[0]).mean()
        print(
            f"{len(lengths):,} samples, {lengths.sum():,} tokens, {longer:.1%} longer than {CAPACITIES[0]:,}\n{heads}"
        )
        for capacity in CAPACITIES:
            print(report(np.minimum(lengths, capacity), capacity))
    elif arguments.tokenizer:
        print(heads)
        real_rows(arguments.tokenizer, arguments.rows)
    else:
        parser.error("expected --lengths or --tokenizer FOLDER")


if __name__ == "__main__":
    main()
