"""The gate: planted errors in the analyst's rows that are caught, clean rows that pass.

    python bench/bench_gate.py [LOG …] [--chunks 9] [--digests 0.3]     logs default to examples/logs
    python bench/bench_gate.py [LOG …] --teacher MODEL.gguf [--rows 24]  a real model as teacher, by our own endpoint

Rows are the analyst's over chunks and digests of the logs, so what is clean is clean by construction, not by the gate.
One error is planted a copy, of one kind, wherever a row has something to change:

    line     a cited line number becomes that of a line of another kind of message
    count    the number of lines with a quotation, named in the same sentence, becomes another one
    address  an address becomes one that the log does not have
    quote    a word inside a quotation is exchanged for one of another line
"""

import argparse
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from loglore.logs import chunks, reader, templates
from loglore.logs.lookup import fold
from loglore.synth import analyst, gate, prompts, writers
from loglore.synth.material import Digests, Material, Source
from loglore.synth.rows import Asked

Answers = list[tuple[str, str]]
Plant = Callable[[str, Material, random.Random], str | None]
LINE = re.compile(r"\bL([0-9]+)\b(?!\|)")
COUNT = re.compile(r"\b([0-9]+)( (?:of [0-9]+ )?lines?\b| 行(?!目))")
ADDRESS = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w.])")
QUOTE = re.compile(r"`([^`\n]{8,})`")


def around(answer: str, one: "re.Match[str]") -> str:
    """The sentence that something stands in."""
    start = max(answer.rfind(end, 0, one.start()) for end in (". ", "。", "\n", '", "'))
    ends = [place for end in (". ", "。", ".\n", "\n", '", "') if (place := answer.find(end, one.end())) >= 0]
    return answer[max(start, 0) : min(ends, default=len(answer))]


def of_a_quotation(answer: str, one: "re.Match[str]") -> bool:
    """Whether a count is that of a quotation: in a sentence with one, and not the length of the log."""
    return around(answer, one).count("`") == 2 and not re.search(r"(?:these|of|All) $", answer[: one.start()])


def line(answer: str, material: Material, draw: random.Random) -> str | None:
    """Only where a sentence ties the line to a quotation; a bare number is no claim about what the line says."""
    found = [one for one in LINE.finditer(answer) if "`" in around(answer, one)]
    if not found:
        return None
    one = draw.choice(found)
    table = material.shown.table
    here = table.filter(table["line"] == int(one[1]))
    quotes = [fold(quote) for quote in re.findall(r"`([^`]+)`", around(answer, one))]
    if not here.height:
        return None
    rows = table.filter((table["key"] != here["key"][0]) & table["key"].is_not_null()).select("line", "text")
    others = [number for number, text in rows.iter_rows() if not any(quote in fold(text) for quote in quotes)]
    return answer[: one.start(1)] + str(draw.choice(others)) + answer[one.end(1) :] if others else None


def count(answer: str, material: Material, draw: random.Random) -> str | None:
    found = [one for one in COUNT.finditer(answer) if of_a_quotation(answer, one)]
    if not found:
        return None
    one = draw.choice(found)
    wrong = int(one[1]) + draw.choice([2, 3, 5, 9])
    return f"{answer[: one.start(1)]}{wrong} {'lines' if one[2] == ' line' else one[2].strip()}{answer[one.end() :]}"


def address(answer: str, material: Material, draw: random.Random) -> str | None:
    found = list(ADDRESS.finditer(answer))
    if not found:
        return None
    one = draw.choice(found)
    wrong = f"172.31.{draw.randrange(256)}.{draw.randrange(1, 255)}"
    return answer[: one.start()] + wrong + answer[one.end() :]


def quote(answer: str, material: Material, draw: random.Random) -> str | None:
    found = [one for one in QUOTE.finditer(answer) if len(one[1].split()) > 1]
    if not found:
        return None
    one = draw.choice(found)
    words = one[1].split()
    every = {word for text in material.shown.table["text"].to_list() for word in text.split() if word.isalpha()}
    new = sorted(every - set(words)) or ["halted"]
    words[draw.randrange(len(words))] = draw.choice(new)
    wrong = " ".join(words)
    log = " ".join(" ".join(material.shown.table["text"].to_list()).split()).lower()
    return None if wrong.lower() in log else answer[: one.start(1)] + wrong + answer[one.end(1) :]


PLANTS: dict[str, Plant] = {"line": line, "count": count, "address": address, "quote": quote}


def rows(
    logs: list[Path], per_source: int, share: float, language: str
) -> Iterator[tuple[prompts.Task, Material, Answers]]:
    """The analyst's answers as they come, before any gate."""
    mined = templates.mine(reader.read_table(logs))
    source = Source(
        {part["source"][0]: part for part in mined.table.partition_by("source", maintain_order=True)},
        {template.key: template.text for template in mined.templates},
    )
    cut = [chunk for chunk in chunks.cut(mined.table, 8, 15, 11) if chunk.text.strip()]
    digests = Digests(source, cut, 900, writers.tokens, 400, 11)
    shop = writers.Workshop(prompts.tasks(), source, {"train": digests}, numbered=True, turns=4)
    taken: Counter[str] = Counter()
    draw = random.Random(11)
    for chunk in cut:
        taken[chunk.source] += 1
        if taken[chunk.source] > per_source:
            continue
        for name in analyst.WRITES:
            asked = Asked("train", chunk, name, language, digest=draw.random() < share)
            for material in shop.candidates(asked):
                if analyst.can_tell(name, material.facts):
                    task = shop.tasks[name]
                    wordings = task.student.get(language, ())
                    yield task, material, analyst.converse(name, material.facts, 4, wordings, language)
                    break


def teach(gguf: Path, logs: list[Path], count: int, penalty: float) -> None:
    """Have a served model answer `count` rows; prints what the gate let pass before and after the repair turn."""
    import tempfile

    from loglore.runs.folder import RunFolder
    from loglore.serve.engine import running
    from loglore.synth import chat

    with tempfile.TemporaryDirectory() as scratch, running(gguf, model_id="teacher", context=4096) as session:
        os.environ["LOGLORE_HOME"] = scratch
        # Without a penalty a model of this size repeats itself until it is cut off (docs/LOG.md).
        extra = {"repeat_penalty": penalty} if penalty else {}
        target = {"url": session.url, "model": "teacher", "concurrency": 1, "context_tokens": 4096, "extra": extra}
        spec = {
            "logs": [str(log) for log in logs], "largest": 10, "max_chunk_characters": 1200, "seed": 3,
            "test_chunks": 0,
            "validation_chunks": 0, "test_rows": 0, "validation_rows": 0, "train_rows": count, "turns": 2,
            "tasks": list(analyst.WRITES), "max_answer_tokens": 500, "teacher": target,
        }  # fmt: skip
        result = chat.run(chat.ChatSpec.parse(spec, "bench"), RunFolder(Path(scratch) / "run", {}))
    told = result["teaching"]
    first = told["accepted"] - told["repaired"]
    at_once, in_all = first / count, told["accepted"] / count
    print(f"{count} rows by {gguf.name}: {at_once:.1%} accepted at once, {in_all:.1%} after the repair turn")
    print(f"removed: {result['removed']}; failed: {told['failed']}; {told['completion_tokens']} tokens written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="*", type=Path, default=[Path(__file__).parents[1] / "examples" / "logs"])
    parser.add_argument("--chunks", type=int, default=9, help="chunks of a log")
    parser.add_argument("--digests", type=float, default=0.3, help="share of rows with a digest")
    parser.add_argument("--language", choices=["en", "ja"], default="en", help="of the rows")
    parser.add_argument("--show", type=int, default=0, help="print so many errors that were missed, of each kind")
    parser.add_argument("--teacher", type=Path, help="GGUF of a model to write the rows")
    parser.add_argument("--repeat-penalty", type=float, default=0.0, help="llama.cpp's, for --teacher")
    parser.add_argument("--rows", type=int, default=24, help="rows for --teacher")
    options = parser.parse_args()
    if options.teacher:
        teach(options.teacher, options.logs, options.rows, options.repeat_penalty)
        return
    planted: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    clean = passed = digests = 0
    draw = random.Random(3)
    language = options.language
    for task, material, answers in rows(options.logs, options.chunks, options.digests, language):
        clean += 1
        digests += material.digest
        passed += not gate.check_pairs(task, answers, material.shown, language).faults
        for kind, plant in PLANTS.items():
            place = draw.randrange(len(answers))
            wrong = plant(answers[place][1], material, draw)
            if wrong is None:
                continue
            copy = [*answers[:place], (answers[place][0], wrong), *answers[place + 1 :]]
            found = bool(gate.check_pairs(task, copy, material.shown, language).faults)
            planted[kind] += 1
            caught[kind] += found
            if not found and planted[kind] - caught[kind] <= options.show:
                print(f"missed {kind} ({task.name}, {material.id}): {wrong!r}\n")
    print(f"{clean} clean rows ({digests} with a digest): {passed / clean:.2%} passed (wanted >= 98 %)")
    for kind in PLANTS:
        print(f"{kind:<8} {planted[kind]:>5} planted, {caught[kind] / max(planted[kind], 1):.2%} caught")
    print(f"{'all':<8} {planted.total():>5} planted, {caught.total() / planted.total():.2%} caught (wanted >= 95 %)")


if __name__ == "__main__":
    main()
