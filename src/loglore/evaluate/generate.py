"""Prompts to answers in this process, by fixed batches that survive `kill -9`.

Prompts of one group (the turns of a conversation) stay together, so that what they share is read once.

Batches are planned from the prompts alone (sorted by length, cut into equal parts), and `outputs.jsonl` gets a batch's
rows when the batch is done. A killed run answers the unfinished batches again, each with the same neighbours: in bf16
the rounding of a row can depend on the batch it is in, so only this makes a resumed run end in identical answers.
Larger batches are faster and lose more work to a kill.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from loglore.errors import InputError
from loglore.runs import files, fingerprint
from loglore.runs.folder import RunFolder

STOP_WINDOW = 64  # tokens that are searched for a stop text after each new one


@dataclass(frozen=True)
class Decoding:
    """How answers are made: `temperature` 0 is greedy; `top_p`: share of probability sampled from; `stop`: texts."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def signature(self) -> str:
        """Everything about it that changes answers, in one line."""
        how = f"sampled|temperature:{self.temperature:g}|top_p:{self.top_p:g}|seed:{self.seed}"
        stop = f"|stop:{json.dumps(list(self.stop), ensure_ascii=False)}" if self.stop else ""
        return f"{how if self.temperature else 'greedy'}|max_new_tokens:{self.max_new_tokens}{stop}|answers stripped"

    def cut(self, text: str) -> tuple[str, bool]:
        """The text up to the first stop text, and whether there was one."""
        end = min((place for stop in self.stop if (place := text.find(stop)) >= 0), default=-1)
        return (text, False) if end < 0 else (text[:end], True)


@dataclass(frozen=True)
class Output:
    """One row's answer.

    row: place in the list of prompts; text: the answer, stripped; tokens: generated, without the end of turn;
    finish: `stop` (ended its turn) or `length` (cut off at the limit); seconds: from the start of its batch to its end
    (from an endpoint: from sending to the whole answer).
    """

    row: int
    text: str
    prompt_tokens: int
    tokens: int
    finish: Literal["stop", "length"]
    seconds: float


def plan(lengths: Sequence[int], batch_size: int, groups: Sequence[int] | None = None) -> list[list[int]]:
    """Rows of every batch: longest prompts first (memory runs out at once or never), batches of nearly equal size.

    A group of rows stays together, at the place of its longest; without `groups` every row is its own.

    >>> plan([5, 9, 7, 1, 3], batch_size=2)
    [[1, 2], [0, 4], [3]]
    >>> plan([5, 9, 7, 1, 3], batch_size=2, groups=[8, 9, 8, 9, 7])
    [[1, 3], [2, 0], [4]]
    """
    groups = range(len(lengths)) if groups is None else groups
    longest: dict[int, int] = {}
    for group, length in zip(groups, lengths, strict=True):
        longest[group] = max(length, longest.get(group, 0))
    order = sorted(range(len(lengths)), key=lambda row: (-longest[groups[row]], groups[row], -lengths[row], row))
    batches = -(-len(order) // batch_size)
    small, larger = divmod(len(order), max(batches, 1))
    cuts = [number * small + min(number, larger) for number in range(batches + 1)]
    return [order[first:last] for first, last in pairwise(cuts)]


def stop_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends an answer: the model's and tokenizer's end tokens, and what the chat template sets."""
    named = model.generation_config.eos_token_id
    found = {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id}
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "ANSWER"}]
    closing = tokenizer.apply_chat_template(messages, tokenize=False).rpartition("ANSWER")[2]
    first = tokenizer(closing.strip(), add_special_tokens=False)["input_ids"][:1]
    found |= set(first) & set(tokenizer.all_special_ids)
    return found - {None}


def check_lengths(lengths: Sequence[int], max_new_tokens: int, context: int, names: Sequence[str]) -> None:
    """Refuse prompts that do not fit the model's context together with the answer.

    Raises:
        InputError: names the first such row (of `names`) and how many there are.
    """
    long = [row for row, length in enumerate(lengths) if length + max_new_tokens > context]
    if long:
        raise InputError(
            f"{names[long[0]]} has {lengths[long[0]]} prompt tokens; with {max_new_tokens} new tokens that"
            f" exceeds the model's context of {context} (rows too long: {len(long)} of {len(lengths)})"
        )


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    context: RunFolder,
    *,
    decoding: Decoding,
    batch_size: int,
    identity: Mapping[str, Any],
    groups: Sequence[int] | None = None,
) -> list[Output]:
    """Answers to all prompts, in their order; goes on with what `outputs.jsonl` in the run folder holds.

    Args:
        model: causal language model, adapters merged.
        tokenizer: its tokenizer.
        prompts: token ids of each prompt.
        context: the run folder.
        decoding: how answers are made; sampling draws from a generator of its own for every row.
        batch_size: most rows answered together.
        groups: what prompts belong together, by number; None for each by itself.
        identity: what else the answers depend on (which model); answers recorded under another one are thrown away.
    """
    from loglore.evaluate.decode import Sampling, answer_batch

    batches = plan([len(prompt) for prompt in prompts], batch_size, groups)
    asked = [dict(identity), [list(p) for p in prompts], batches, dataclasses.asdict(decoding)]
    header = {"plan": fingerprint.of_value(asked)}
    path = context.path / "outputs.jsonl"
    done = _continue(path, header, batches)
    stop = stop_tokens(model, tokenizer)
    ended = _stop_check(tokenizer, decoding) if decoding.stop else None
    with context.progress("generate", len(prompts), "answers", len(done)) as tick:
        for batch in batches:
            if batch[0] in done:
                continue
            sampling = Sampling(decoding.temperature, decoding.top_p, [(decoding.seed, row) for row in batch])
            chosen = [prompts[row] for row in batch]
            answers = answer_batch(
                model, chosen, decoding.max_new_tokens, stop, sampling if decoding.temperature else None, ended
            )
            for row, answer in zip(batch, answers, strict=True):
                text, cut = decoding.cut(tokenizer.decode(answer.tokens, skip_special_tokens=True))
                finish: Literal["stop", "length"] = "stop" if cut else answer.finish
                sizes = (len(prompts[row]), len(answer.tokens))
                done[row] = Output(row, text.strip(), *sizes, finish, round(answer.seconds, 3))
                files.append_jsonl(path, dataclasses.asdict(done[row]))
            tick(len(batch), f"{sum(len(a.tokens) for a in answers) / max(a.seconds for a in answers):,.0f} tokens/s")
    return [done[row] for row in range(len(prompts))]


def throughput(outputs: Sequence[Output], batch_size: int, groups: Sequence[int] | None = None) -> dict[str, Any]:
    """Seconds spent on all batches, and generated tokens per second (prompts' time included)."""
    batches = plan([output.prompt_tokens for output in outputs], batch_size, groups)
    seconds = sum(max(outputs[row].seconds for row in batch) for batch in batches)
    tokens = sum(output.tokens for output in outputs)
    return {"generation_s": round(seconds, 3), "tokens": tokens, "tokens_per_second": round(tokens / seconds, 1)}


def _stop_check(tokenizer: Any, decoding: Decoding) -> Callable[[list[int]], bool]:
    # Only the end can be new; a stop text longer than that is cut off afterwards all the same.
    return lambda tokens: decoding.cut(tokenizer.decode(tokens[-STOP_WINDOW:]))[1]


def _continue(path: Path, header: Mapping[str, Any], batches: list[list[int]]) -> dict[int, Output]:
    """Finished batches of an earlier run of the same plan; the file is left holding exactly these."""
    recorded = files.read_jsonl_log(path)
    rows: dict[int, dict[str, Any]] = {}
    if recorded[:1] == [header]:
        rows = {row["row"]: row for row in recorded[1:]}
    kept = [rows[row] for batch in batches if all(row in rows for row in batch) for row in batch]
    files.write_jsonl(path, [header, *kept])
    return {row["row"]: Output(**row) for row in kept}
