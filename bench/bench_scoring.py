"""Scoring: speed on answers of the tutorial's size, and equality with the reference packages.

    python bench/bench_scoring.py                     500 answers of 2,500 characters: six scores, 1,000 resamples
    python bench/bench_scoring.py --equal 10000       largest difference from rouge-score, sacrebleu, rapidfuzz

Peers run in the same process: rouge-score, sacrebleu and rapidfuzz as their documentation calls them, on the first
`--peer-rows` answers (scaled to all). Real text comes from the example data, changed at random (words dropped, swapped,
doubled, lines joined and split); the rest is random words and punctuation that tokenizers disagree about.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sacrebleu
from rapidfuzz import fuzz
from rouge_score import rouge_scorer

from loglore.evaluate import bootstrap, metrics

EXAMPLES = Path(__file__).parent.parent / "examples"
REFERENCE = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
ODD = [
    "10.0.0.1:80",
    "x-y",
    "-\n",
    "\n\n",
    ". ",
    ",5",
    "5.",
    "<skipped>",
    "&amp;",
    "it's",
    "[error]",
    "(111:",
    "**Bold**",
]


def real_text(characters: int, draw: random.Random, answers: list[str]) -> str:
    text = ""
    while len(text) < characters:
        text += draw.choice(answers) + "\n"
    return text[:characters]


def changed(text: str, draw: random.Random, share: float) -> str:
    """The text with a share of its words dropped, doubled, replaced or moved to another line."""
    words = text.split(" ")
    for place in range(len(words)):
        if draw.random() < share:
            words[place] = draw.choice(
                ["", f"{words[place]} {words[place]}", draw.choice(words), f"\n{words[place]}", "x"]
            )
    return " ".join(words)


def random_text(draw: random.Random) -> str:
    words = [f"w{number}" for number in range(draw.choice((3, 12, 60)))] + ODD
    return "".join(draw.choice(words) + draw.choice(" " * 9 + "\n") for _ in range(draw.randint(0, 60)))


def pairs(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Half random, half real answers of the example data and changed copies; ASCII, where the packages can be asked."""
    draw = random.Random(seed)
    answers = real_answers()
    for number in range(count):
        if number % 2:
            yield random_text(draw), random_text(draw)
        else:
            truth = draw.choice(answers)[: draw.randint(1, 900)]
            yield changed(truth, draw, draw.random()), truth


def real_answers() -> list[str]:
    rows = (json.loads(line) for line in (EXAMPLES / "nlplog.jsonl").open(encoding="utf-8"))
    return [row["output"] for row in rows if row["output"].isascii()]


def equal(count: int, seed: int) -> dict[str, float]:
    """Largest difference of any pair from its reference, by score; BLEU also as corpus BLEU of all pairs."""
    outputs, truths = map(list, zip(*pairs(count, seed), strict=True))
    ours = metrics.score_rows(outputs, truths)
    worst = dict.fromkeys((*metrics.NAMES, "corpus bleu"), 0.0)
    for row, (output, truth) in enumerate(zip(outputs, truths, strict=True)):
        expected = {name: value.fmeasure for name, value in REFERENCE.score(truth, output).items()}
        expected["fuzzy_match"] = fuzz.ratio(output, truth) / 100
        expected["bleu"] = sacrebleu.sentence_bleu(output, [truth]).score / 100
        for name, value in expected.items():
            worst[name] = max(worst[name], abs(ours[name][row] - value))
    corpus = sacrebleu.corpus_bleu(outputs, [truths]).score / 100
    worst["corpus bleu"] = abs(metrics.aggregate(ours)["bleu"] - corpus)
    return worst


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def speed(rows: int, characters: int, peer_rows: int, rounds: int) -> None:
    draw = random.Random(1)
    answers = real_answers()
    truths = [real_text(characters, draw, answers) for _ in range(rows)]
    outputs = [changed(truth, draw, 0.5)[:characters] for truth in truths]
    clusters = [row // 2 for row in range(rows)]
    metrics.score_rows(outputs[:2], truths[:2])  # imports and compiled patterns

    def ours() -> None:
        bootstrap.intervals(metrics.score_rows(outputs, truths), clusters, 1000)

    def peers() -> None:
        for output, truth in zip(outputs[:peer_rows], truths[:peer_rows], strict=True):
            REFERENCE.score(truth, output)
            fuzz.ratio(output, truth)
        sacrebleu.corpus_bleu(outputs[:peer_rows], [truths[:peer_rows]])

    mean = sum(map(len, outputs)) / rows
    found = timed(ours, rounds)
    print(f"{rows} answers of {mean:,.0f} characters, six scores and 1,000 resamples: " + each(found))
    scaled = [seconds * rows / peer_rows for seconds in timed(peers, 1)]
    print(f"reference packages, scores alone ({peer_rows} answers, scaled): {each(scaled)}")
    print(f"ratio {scaled[0] / min(found):.0f}")


def each(seconds: list[float]) -> str:
    return ", ".join(f"{one:.2f} s" for one in seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--equal", type=int, metavar="PAIRS")
    for name, default in (("rows", 500), ("characters", 2500), ("peer-rows", 20), ("rounds", 3), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    if asked.equal:
        for name, worst in equal(asked.equal, asked.seed).items():
            print(f"{name:12} largest difference {worst:.1e}")
    else:
        speed(asked.rows, asked.characters, asked.peer_rows, asked.rounds)


if __name__ == "__main__":
    main()
