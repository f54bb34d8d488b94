"""The decoding loop against `model.generate`, the batch plan, stops and limits."""

import itertools
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


def repeating(model: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts that hold what the model answers to their beginnings, and one that does not; what they are answered."""
    free = [reference(model, prompt, 30, set()) for prompt in PROMPTS]
    prompts = [[*prompt, *said, *prompt] for prompt, said in zip(PROMPTS, free, strict=True)]
    prompts.append([11, 12])  # nothing to draft at first
    return prompts, [reference(model, prompt, 30, set()) for prompt in prompts]


def test_drafts_save_steps_and_change_no_answer(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from loglore.evaluate import decode

    prompts, expected = repeating(model)
    steps: list[list[int]] = []
    read = decode._Batch._read

    def counted(self: Any, tokens: list[list[int]], sizes: Any) -> Any:
        steps.append([len(row) for row in tokens])
        return read(self, tokens, sizes)

    monkeypatch.setattr(decode._Batch, "_read", counted)
    for stop in ({expected[0][17]}, {expected[4][9]}, set()):
        steps.clear()
        found = decode.answer_batch(model, prompts, 30, stop)
        for answer, plain in zip(found, expected, strict=True):
            end = next((place for place, token in enumerate(plain) if token in stop), None)
            assert (answer.tokens, answer.finish) == (plain[:end], "length" if end is None else "stop")
    assert sum(map(len, steps)) < sum(len(answer.tokens) for answer in found) - len(found), "drafts were kept"
    assert any(len(set(sizes)) > 1 for sizes in steps), "some rows had one and others none"


def test_a_draft_goes_no_further_than_the_answer_may(model: Any) -> None:
    from loglore.evaluate.decode import answer_batch
    from loglore.evaluate.drafts import LONGEST, Draft

    prompts, expected = repeating(model)
    for new in (1, 2, 3, 7):
        assert [answer.tokens for answer in answer_batch(model, prompts, new, set())] == [one[:new] for one in expected]
    draft = Draft([1, 2, 3, 4, 5, 6, 7, 1, 2, 3])
    assert draft.next(LONGEST) == [4, 5, 6] and draft.next(1) == [4] and draft.next(0) == draft.next(-1) == []
    draft.add(9)
    assert draft.next(LONGEST) == []


@pytest.mark.parametrize("room", [1, 5])
def test_buffers_that_grow_change_no_answer(model: Any, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    from loglore.evaluate import decode

    monkeypatch.setattr(decode, "ROOM", room)
    # A token that one row says early: rows leave between the growths.
    stop = {reference(model, PROMPTS[0], 12, set())[3]}
    found = decode.answer_batch(model, PROMPTS, 12, stop)
    assert [answer.tokens for answer in found] == [
        [token for token in reference(model, prompt, 12, stop) if token not in stop] for prompt in PROMPTS
    ]


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


def answers_of(model: Any, prompts: list[list[int]], sampling: Any, **options: Any) -> list[list[int]]:
    from loglore.evaluate.decode import answer_batch

    return [answer.tokens for answer in answer_batch(model, prompts, 12, set(), sampling, **options)]


def test_sampling_at_its_limits_is_greedy(model: Any) -> None:
    from loglore.evaluate.decode import Sampling

    greedy = answers_of(model, PROMPTS, None)
    seeds = [(0, row) for row in range(len(PROMPTS))]
    assert answers_of(model, PROMPTS, Sampling(1e-6, 1.0, seeds)) == greedy
    assert answers_of(model, PROMPTS, Sampling(1.0, 1e-9, seeds)) == greedy
    assert answers_of(model, PROMPTS, Sampling(1.0, 1.0, seeds)) != greedy


def test_what_a_row_draws_depends_on_its_seed_alone(model: Any) -> None:
    from loglore.evaluate.decode import Sampling

    together = answers_of(model, PROMPTS, Sampling(1.0, 0.9, [(7, row) for row in range(len(PROMPTS))]))
    for row, prompt in enumerate(PROMPTS):
        assert answers_of(model, [prompt], Sampling(1.0, 0.9, [(7, row)])) == [together[row]]
    assert answers_of(model, PROMPTS, Sampling(1.0, 0.9, [(8, row) for row in range(len(PROMPTS))])) != together


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    import torch

    from loglore.evaluate.decode import Sampling

    logits = torch.log(torch.tensor([[0.5, 0.25, 0.15, 0.1]])).repeat(4000, 1)
    for temperature, top_p, expected in (
        (1.0, 1.0, [0.5, 0.25, 0.15, 0.1]),
        (1.0, 0.8, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0.0]),
        (0.5, 1.0, [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
    ):
        sampling = Sampling(temperature, top_p, [(1, row) for row in range(4000)])
        drawn = sampling.draw(logits, range(4000))
        shares = torch.bincount(drawn[:, 0], minlength=4) / 4000
        assert shares.tolist() == pytest.approx(expected, abs=0.03)
        if top_p < 1:
            assert shares[3] == 0


def test_prompts_that_begin_alike_are_answered_as_if_alone(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from loglore.evaluate import decode

    start = [(7 * place) % 500 + 3 for place in range(100)]
    prompts = [[*start, 9, 8, 7, *range(20, 60)], [*start, 9, 8, 7, 4, 5], [*start, 11], start, [5, 6], [*start, 9]]
    read: list[int] = []
    forward = model.forward

    def counted(*args: Any, **options: Any) -> Any:
        if options["input_ids"].shape[1] > 1 or "position_ids" not in options:
            read.append(options["input_ids"].shape[1])
        return forward(*args, **options)

    monkeypatch.setattr(model, "forward", counted)
    found = answers_of(model, prompts, None)
    assert read[: len(prompts)] == [143, 2, 1, 1, 2, 101], "the shared start is read once"
    monkeypatch.setattr(model, "forward", forward)
    assert found == [reference(model, prompt, 12, set()) for prompt in prompts]
    assert decode.common_start([1, 2, 3], [1, 2, 3]) == 2, "the last token is always read"


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 5)), min_size=1, max_size=40), st.integers(1, 9))
def test_a_plan_keeps_groups_together(rows: list[tuple[int, int]], batch_size: int) -> None:
    lengths, groups = map(list, zip(*rows, strict=True))
    order = [row for batch in generate.plan(lengths, batch_size, groups) for row in batch]
    assert sorted(order) == list(range(len(rows)))
    met = [groups[row] for row in order]
    assert sum(one != other for one, other in itertools.pairwise(met)) == len(set(groups)) - 1


def test_a_stop_text_ends_the_answer_before_it(model: Any, tiny_model: Path, tmp_path: Path) -> None:
    tokenizer: Any = load_tokenizer(tiny_model)

    def text(name: str, *stop: str, new: int = 24) -> generate.Output:
        context = RunFolder(tmp_path / name, {})
        decoding = generate.Decoding(new, stop=stop)
        return generate.generate(model, tokenizer, PROMPTS[:1], context, decoding=decoding, batch_size=2, identity={})[
            0
        ]

    whole = text("whole")
    mark = whole.text[len(whole.text) // 2 :][:3]
    cut = text("cut", "never there", mark)
    assert cut.text == whole.text[: whole.text.index(mark)].strip()
    assert (cut.finish, whole.finish) == ("stop", "length")
    assert cut.tokens < whole.tokens, "it stops at once"


def test_sampled_answers_continue_the_same_after_a_kill(model: Any, tiny_model: Path, tmp_path: Path) -> None:
    tokenizer: Any = load_tokenizer(tiny_model)
    asked = {"decoding": generate.Decoding(8, temperature=1.0, top_p=0.9, seed=5), "batch_size": 1, "identity": {}}
    whole = generate.generate(model, tokenizer, PROMPTS, RunFolder(tmp_path / "whole", {}), **asked)
    again = RunFolder(tmp_path / "again", {})
    generate.generate(model, tokenizer, PROMPTS, again, **asked)
    path = again.path / "outputs.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    found = generate.generate(model, tokenizer, PROMPTS, again, **asked)
    assert [output.text for output in found] == [output.text for output in whole]
