"""Answers to the same held-out rows: in this process against the llama.cpp endpoint, useful tokens a second.

    python bench/bench_generate.py DATASET [--model smollm2-135m-instruct] [--gguf FILE] [--rows 30]

DATASET has chat rows (`runs/quickstart/chats/test.jsonl`). Both sides answer greedily with the same limit; a token
counts once it stands in an answer, prompts' time included, loading excluded. The endpoint is what `loglore serve`
starts: a q8_0 GGUF (its fastest here; docs/LOG.md) with as many slots as requests in flight, asked through the runner
that test jobs use. Sides take turns, so that a slow moment of the machine meets both, and every round has a new server:
llama.cpp keeps prompts that it has seen, and a test job asks each once.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from loglore.endpoint.target import Target
from loglore.evaluate import asking, generate, questions
from loglore.evaluate.questions import Question
from loglore.hub.models import resolve
from loglore.runs.folder import RunFolder


def quantized(model: Path, folder: Path) -> Path:
    """A q8_0 GGUF of a model that may be a GGUF of another kind."""
    from loglore.export.gguf import convert
    from loglore.models.load import load_model, load_tokenizer, save_model

    source = model
    if model.suffix == ".gguf":
        source = folder / "model"
        save_model(load_model(model, "bfloat16"), load_tokenizer(model), source)
    return convert(source, folder / "model.q8_0.gguf", "q8_0", "bench", folder / "convert.log")


class InProcess:
    """Our own loop, model loaded once."""

    def __init__(self, path: Path, asked: list[Question], batch_size: int) -> None:
        from loglore.data.render import render_prompt
        from loglore.models.load import load_model, load_tokenizer

        self.tokenizer: Any = load_tokenizer(path)
        self.model = load_model(path, "bfloat16")
        texts = [render_prompt(question.messages, self.tokenizer) for question in asked]
        self.prompts = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        places = list(dict.fromkeys(question.place for question in asked))
        self.groups = [places.index(question.place) for question in asked]
        self.batch_size = batch_size

    def answer(self, decoding: generate.Decoding) -> tuple[int, float]:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            outputs = generate.generate(
                self.model,
                self.tokenizer,
                self.prompts,
                RunFolder(Path(folder), {}),
                decoding=decoding,
                batch_size=self.batch_size,
                identity={},
                groups=self.groups,
            )
            return sum(output.tokens for output in outputs), time.perf_counter() - start


def by_endpoint(target: Target, asked: list[Question], decoding: generate.Decoding) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = asking.ask([target], asked, decoding, RunFolder(Path(folder), {}))
        seconds = time.perf_counter() - start
    return sum(output.tokens for output in found.outputs if output), seconds


def main() -> None:
    from loglore.serve.engine import running

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--turns", choices=("all", "last"), default="last")
    for name, default in (("rows", 30), ("max-tokens", 220), ("batch-size", 30), ("slots", 8), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    asked = questions.read_questions(given.dataset, given.turns)[: given.rows]
    decoding = generate.Decoding(given.max_tokens)
    model = resolve(given.model)
    with tempfile.TemporaryDirectory() as folder:
        gguf = given.gguf or quantized(model, Path(folder))
        local = InProcess(model, asked, given.batch_size)
        context = max(map(len, local.prompts)) + given.max_tokens + 64
        for number in range(1, given.rounds + 1):
            tokens, seconds = local.answer(decoding)
            with running(gguf, model_id="bench", context=context, parallel=given.slots) as session:
                target = Target(url=session.url, model="bench", concurrency=given.slots)
                others, waited = by_endpoint(target, asked, decoding)
            ours, theirs = tokens / seconds, others / waited
            print(
                f"round {number}: {len(asked)} rows; here {tokens:,} tokens in {seconds:.1f} s, {ours:.1f}/s; "
                f"endpoint {others:,} in {waited:.1f} s, {theirs:.1f}/s; ratio {ours / theirs:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
