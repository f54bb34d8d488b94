"""The decoding loop against `model.generate`, the batch plan, stops and limits."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.evaluate import generate
from loglore.models.load import load_model, load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder

PROMPTS = [[5, 9, 200, 31], [7] * 11, [40, 41, 42, 43, 44, 45, 46], [99]]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return load_model(tiny_model, "float32")


def reference(model: Any, prompt: list[int], new: int, stop: set[int]) -> list[int]:
    """One prompt alone through transformers' own loop."""
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=sorted(stop) or None, pad_token_id=0)
    ids = torch.tensor([prompt])
    return model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)[
        0, len(prompt) :
    ].tolist()


def test_a_batch_answers_each_prompt_as_if_alone(model: Any) -> None:
    from loglore.evaluate.decode import answer_batch

    answers = answer_batch(model, PROMPTS, 24, stop=set())
    assert [answer.tokens for answer in answers] == [reference(model, prompt, 24, set()) for prompt in PROMPTS]
    assert {answer.finish for answer in answers} == {"length"}


def test_rows_that_stop_leave_the_others_alone(model: Any) -> None:
    from loglore.evaluate.decode import answer_batch

    free = [reference(model, prompt, 24, set()) for prompt in PROMPTS]
    for stop in ({free[0][3]}, {free[1][0], free[2][7]}, {token for tokens in free for token in tokens[10:]}):
        for prompt, answer in zip(PROMPTS, answer_batch(model, PROMPTS, 24, stop), strict=True):
            expected = reference(model, prompt, 24, stop)
            ended = expected[-1] in stop
            assert answer.tokens == (expected[:-1] if ended else expected)
            assert answer.finish == ("stop" if ended else "length")
            assert answer.seconds > 0


def test_a_model_with_sliding_windows_takes_the_plain_path() -> None:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    from loglore.evaluate.decode import answer_batch

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4, max_position_embeddings=64,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    prompts = [[3, 4, 5, 6, 7, 8, 9], [10, 11]]
    free = [reference(model, prompt, 12, set()) for prompt in prompts]
    assert [answer.tokens for answer in answer_batch(model, prompts, 12, set())] == free
    stopped = answer_batch(model, prompts, 12, {free[0][5]})[0]
    assert (stopped.tokens, stopped.finish) == (free[0][: free[0].index(free[0][5])], "stop")


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 9))
def test_the_plan_covers_every_row_once_longest_first(lengths: list[int], batch_size: int) -> None:
    batches = generate.plan(lengths, batch_size)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    ordered = [lengths[row] for batch in batches for row in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_the_chat_templates_end_of_turn_stops_an_answer(model: Any, tiny_model: Path) -> None:
    tokenizer: Any = load_tokenizer(tiny_model)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert generate.stop_tokens(model, tokenizer) == {end}
    tokenizer.eos_token = "<|endoftext|>"
    assert generate.stop_tokens(model, tokenizer) == {end, tokenizer.convert_tokens_to_ids("<|endoftext|>")}


def test_prompts_too_long_for_the_model_are_refused() -> None:
    with pytest.raises(InputError, match=r"d\.jsonl: row 2 has 90 prompt tokens; with 20 new .* context of 100"):
        generate.check_lengths([80, 90, 95], 20, 100, ["d.jsonl: row 1", "d.jsonl: row 2", "d.jsonl: row 3"])
    generate.check_lengths([80], 20, 100, ["d.jsonl: row 1"])


def test_recorded_answers_of_another_plan_are_thrown_away(model: Any, tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    context = RunFolder(tmp_path, {})

    def answers(prompts: list[list[int]], identity: str) -> list[generate.Output]:
        named = {"model": identity}
        return generate.generate(
            model, tokenizer, prompts, context, decoding=generate.Decoding(4), batch_size=2, identity=named
        )

    first = answers(PROMPTS, "one")
    assert answers(PROMPTS, "one") == first, "recorded, down to the seconds"
    plan = files.read_jsonl_log(tmp_path / "outputs.jsonl")[0]
    answers(PROMPTS, "two")
    assert files.read_jsonl_log(tmp_path / "outputs.jsonl")[0] != plan, "same texts, but written again"
    assert [output.prompt_tokens for output in answers(PROMPTS[:2], "two")] == [4, 11]
    assert generate.throughput(first, 2)["tokens"] == sum(output.tokens for output in first)
