"""Prompts to answers in this process, by fixed batches that survive `kill -9`.

Batches are planned from the prompts alone (sorted by length, cut into equal parts), and `outputs.jsonl` gets a batch's
rows when the batch is done. A killed run answers the unfinished batches again, each with the same neighbours: in bf16
the rounding of a row can depend on the batch it is in, so only this makes a resumed run end in identical answers.
Larger batches are faster and lose more work to a kill.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from loglore.errors import InputError
from loglore.runs import files, fingerprint
from loglore.runs.folder import RunFolder


@dataclass(frozen=True)
class Output:
    """One row's answer.

    row: place in the list of prompts; text: the answer, stripped; tokens: generated, without the end of turn;
    finish: `stop` (ended its turn) or `length` (cut off at the limit); seconds: from the start of its batch to its end.
    """

    row: int
    text: str
    prompt_tokens: int
    tokens: int
    finish: Literal["stop", "length"]
    seconds: float


def plan(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Rows of every batch: longest prompts first (memory runs out at once or never), batches of nearly equal size.

    >>> plan([5, 9, 7, 1, 3], batch_size=2)
    [[1, 2], [0, 4], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
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


def check_lengths(lengths: Sequence[int], max_new_tokens: int, context: int, where: str) -> None:
    """Refuse prompts that do not fit the model's context together with the answer.

    Raises:
        InputError: names the first such row (1-based) and how many there are.
    """
    long = [row for row, length in enumerate(lengths) if length + max_new_tokens > context]
    if long:
        raise InputError(
            f"{where}: row {long[0] + 1} has {lengths[long[0]]} prompt tokens; with {max_new_tokens} new tokens that"
            f" exceeds the model's context of {context} (rows too long: {len(long)} of {len(lengths)})"
        )


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    context: RunFolder,
    *,
    max_new_tokens: int,
    batch_size: int,
    identity: Mapping[str, Any],
) -> list[Output]:
    """Greedy answers to all prompts, in their order; goes on with what `outputs.jsonl` in the run folder holds.

    Args:
        model: causal language model, adapters merged.
        tokenizer: its tokenizer.
        prompts: token ids of each prompt.
        context: the run folder.
        max_new_tokens: most tokens of one answer.
        batch_size: most rows answered together.
        identity: what else the answers depend on (which model); answers recorded under another one are thrown away.
    """
    from loglore.evaluate.decode import answer_batch

    batches = plan([len(prompt) for prompt in prompts], batch_size)
    header = {"plan": fingerprint.of_value([dict(identity), [list(p) for p in prompts], batches, max_new_tokens])}
    path = context.path / "outputs.jsonl"
    done = _continue(path, header, batches)
    stop = stop_tokens(model, tokenizer)
    with context.progress("generate", len(prompts), "answers", len(done)) as tick:
        for batch in batches:
            if batch[0] in done:
                continue
            answers = answer_batch(model, [prompts[row] for row in batch], max_new_tokens, stop)
            for row, answer in zip(batch, answers, strict=True):
                text = tokenizer.decode(answer.tokens, skip_special_tokens=True).strip()
                sizes = (len(prompts[row]), len(answer.tokens))
                done[row] = Output(row, text, *sizes, answer.finish, round(answer.seconds, 3))
                files.append_jsonl(path, dataclasses.asdict(done[row]))
            tick(len(batch), f"{sum(len(a.tokens) for a in answers) / max(a.seconds for a in answers):,.0f} tokens/s")
    return [done[row] for row in range(len(prompts))]


def throughput(outputs: Sequence[Output], batch_size: int) -> dict[str, float]:
    """Seconds spent on all batches, and generated tokens per second (prompts' time included)."""
    batches = plan([output.prompt_tokens for output in outputs], batch_size)
    seconds = sum(max(outputs[row].seconds for row in batch) for batch in batches)
    tokens = sum(output.tokens for output in outputs)
    return {"generation_s": round(seconds, 3), "tokens": tokens, "tokens_per_second": round(tokens / seconds, 1)}


def _continue(path: Path, header: Mapping[str, Any], batches: list[list[int]]) -> dict[int, Output]:
    """Finished batches of an earlier run of the same plan; the file is left holding exactly these."""
    recorded = files.read_jsonl_log(path)
    rows: dict[int, dict[str, Any]] = {}
    if recorded[:1] == [header]:
        rows = {row["row"]: row for row in recorded[1:]}
    kept = [rows[row] for batch in batches if all(row in rows for row in batch) for row in batch]
    files.write_jsonl(path, [header, *kept])
    return {row["row"]: Output(**row) for row in kept}
