"""Counted spans, decoded, are the answers: template by template, tokenizer by tokenizer."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_tiny import CHATML, TEXTS, build_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from loglore.data import render
from loglore.errors import InputError

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
PHI3 = (  # its text ends with EOS behind the end of turn, but only behind the last one
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
MARKED = (  # rewrites earlier turns, yet says itself what the model wrote
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|im_start|>assistant\n{% generation %}"
    "{{ m['content'] + '<|im_end|>' + '\n' }}{% endgeneration %}{% else %}"
    "{{ '<|im_start|>' + m['role'] + (' last' if loop.index == loop.length - 1 else '') + '\n' }}"
    "{{ m['content'] + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED_OUTSIDE = MARKED.replace("+ '<|im_end|>' + '\n' }}{% endgeneration %}", "}}{% endgeneration %}<|im_end|>\n", 1)
# Keeps the thoughts of the last answer alone, as reasoning models' templates do: earlier turns are rewritten.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{{ m['content'] if loop.last else m['content'].split('</think>')[-1] }}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
TOOLS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{{ m['content'] or '' }}"
    "{% for call in m['tool_calls'] or [] %}"
    "{{ '<tool_call>' }}{{ call['function'] | tojson }}{{ '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

FAMILIES = {
    "chatml": (CHATML, "<|im_end|>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
    "mistral": (MISTRAL, "</s>"),
    "gemma": (GEMMA, "<end_of_turn>"),
    "zephyr": (ZEPHYR, "</s>"),
    "phi3": (PHI3, "<|end|>"),
    "markers": (MARKED, "<|im_end|>"),
    "markers, end outside": (MARKED_OUTSIDE, "<|im_end|>"),
}
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|assistant|>", "<|user|>", "<|system|>"]
SPECIAL += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"]

TURNS = [
    {"role": "user", "content": "What failed?\n\nLog content:\n10:00 disk full — ディスク\n\t  at java.io.File </s>"},
    {"role": "assistant", "content": "The disk was full (10:00).\n\n  1. Free space — 空き容量 🙂"},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "At 10:00."},
]
WITH_SYSTEM = [{"role": "system", "content": "Answer about logs."}, *TURNS]


def bpe(template: str, trim_offsets: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE, with the post-processor of GPT-2, Llama 3 and SmolLM, which trims blanks off the offsets."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=520, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    return fast(tokenizer, template)


def metaspace(template: str) -> PreTrainedTokenizerFast:
    """BPE over words with `▁` for blanks and bytes for unknown characters, as Llama 2 and Mistral have it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    # Newlines are byte tokens there.
    texts = [*(text.replace("\n", " ") for text in TEXTS), "[INST] ok [/INST] ok", *["a]Yes", "b]Yes"] * 99]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, special_tokens=names, show_progress=False))
    # The trainer makes every name special; bytes are plain tokens of the model.
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    tokenizer.add_special_tokens([AddedToken("<|end|>", rstrip=True, special=True)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return fast(tokenizer, template)


def fast(backend: object, template: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = template
    return tokenizer


def counted_text(rendered: render.Rendered, tokenizer) -> list[str]:
    """Decode each run of counted tokens on its own."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], rendered.mask.astype(int), [0]])))
    return [tokenizer.decode(rendered.ids[start:end]) for start, end in edges.reshape(-1, 2)]


@pytest.mark.parametrize("build", [bpe, metaspace])
@pytest.mark.parametrize("family", FAMILIES)
def test_counted_spans_are_the_answers_and_their_end_of_turn(family: str, build) -> None:
    template, end_of_turn = FAMILIES[family]
    tokenizer = build(template)
    turns = TURNS if family in ("mistral", "gemma") else WITH_SYSTEM
    rendered = render.render_chat(turns, tokenizer)
    answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
    blank = " " if family == "mistral" else ""
    assert counted_text(rendered, tokenizer) == [f"{blank}{answer}{end_of_turn}" for answer in answers]
    # The mask is all that is ours: the ids are those of the template's text.
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert rendered.ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.model
def test_the_embedded_models_own_template() -> None:
    from loglore.models.job import embedded_gguf
    from loglore.models.load import load_tokenizer

    tokenizer = load_tokenizer(embedded_gguf())
    rendered = render.render_chat(WITH_SYSTEM, tokenizer)
    assert counted_text(rendered, tokenizer) == [f"{TURNS[1]['content']}<|im_end|>", "At 10:00.<|im_end|>"]
    # Without a system message the template writes one of its own.
    rendered = render.render_chat(TURNS, tokenizer)
    assert counted_text(rendered, tokenizer) == [f"{TURNS[1]['content']}<|im_end|>", "At 10:00.<|im_end|>"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(answer=TEXT, question=TEXT)
@settings(max_examples=60, deadline=None)
def test_any_text_is_counted_whole(tmp_path_factory: pytest.TempPathFactory, answer: str, question: str) -> None:
    if not hasattr(test_any_text_is_counted_whole, "tokenizer"):
        folder = tmp_path_factory.mktemp("t")
        build_tokenizer(folder, CHATML)
        test_any_text_is_counted_whole.tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer = test_any_text_is_counted_whole.tokenizer
    rendered = render.render_chat(
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], tokenizer
    )
    reference = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    # What the model will see as a prompt is what stands before the answer in training.
    assert rendered.ids[: len(reference)].tolist() == reference
    assert not rendered.mask[: len(reference)].any()
    assert tokenizer.decode(rendered.ids[rendered.mask]) == answer + "<|im_end|>"


def test_many_rows_at_once_are_each_row_alone() -> None:
    renderer = render.Renderer(bpe(CHATML))
    rows = [TURNS, WITH_SYSTEM, TURNS[:2], [TURNS[2], TURNS[3]]]
    together = renderer.encode([renderer.mark(row) for row in rows])
    for row, rendered in zip(rows, together, strict=True):
        alone = render.render_chat(row, renderer.tokenizer)
        assert (alone.ids == rendered.ids).all() and (alone.mask == rendered.mask).all()


def test_blanks_of_an_answer_count_though_offsets_are_trimmed() -> None:
    tokenizer = bpe(CHATML)
    answer = "   \n\n   spaced   \n  out  "
    rendered = render.render_chat([TURNS[2], {"role": "assistant", "content": answer}], tokenizer)
    assert counted_text(rendered, tokenizer) == [f"{answer}<|im_end|>"]


def test_token_across_the_border_of_prompt_and_answer_does_not_count() -> None:
    tokenizer = metaspace(MISTRAL.replace("' [/INST]'", "']'").replace("' ' + m", "m"))
    rendered = render.render_chat(
        [{"role": "user", "content": "it"}, {"role": "assistant", "content": "Yes, it is"}], tokenizer
    )
    tokens = tokenizer.convert_ids_to_tokens(rendered.ids)
    across = tokens.index("]Yes")
    assert not rendered.mask[: across + 1].any() and rendered.mask[across + 1 :].all()
    assert counted_text(rendered, tokenizer) == [", it is</s>"]


def test_answer_that_holds_an_end_of_turn_is_counted_to_its_end() -> None:
    tokenizer = bpe(CHATML)
    turns = [TURNS[2], {"role": "assistant", "content": "it says <|im_end|> there"}, *TURNS[2:]]
    assert counted_text(render.render_chat(turns, tokenizer), tokenizer)[0] == "it says <|im_end|> there<|im_end|>"


CALL = {"type": "function", "function": {"name": "search_log", "arguments": {"pattern": "disk"}}}
TOOL = {"type": "function", "function": {"name": "search_log", "parameters": {"type": "object", "properties": {}}}}
TOOL_TURNS = [
    {"role": "system", "content": "Use tools."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "10:00 disk full", "name": "search_log"},
    {"role": "assistant", "content": "The disk is full."},
    {"role": "user", "content": "Thanks."},
    {"role": "assistant", "content": "Welcome."},
]


@pytest.mark.parametrize("end", ["<|im_end|>\\n", "<|im_end|>"])
def test_tool_calls_count_and_tool_results_do_not(end: str) -> None:
    renderer = render.Renderer(
        bpe(TOOLS.replace("<|im_end|>\n' }}{% endfor %}{% if add", end + "' }}{% endfor %}{% if add"))
    )
    (rendered,) = renderer.encode([renderer.mark(TOOL_TURNS, [TOOL])])
    call, *answers = counted_text(rendered, renderer.tokenizer)
    assert answers == ["The disk is full.<|im_end|>", "Welcome.<|im_end|>"]
    assert call.startswith("<tool_call>") and call.endswith("</tool_call><|im_end|>")
    assert json.loads(call[len("<tool_call>") : -len("</tool_call><|im_end|>")]) == CALL["function"]


def test_arguments_as_json_text_are_the_same_row() -> None:
    renderer = render.Renderer(bpe(TOOLS))
    text = {**CALL, "function": {**CALL["function"], "arguments": '{"pattern": "disk"}'}}
    turns = [*TOOL_TURNS[:2], {**TOOL_TURNS[2], "tool_calls": [text]}, *TOOL_TURNS[3:]]
    assert renderer.mark(turns, [TOOL]) == renderer.mark(TOOL_TURNS, [TOOL])
    broken = {**CALL, "function": {**CALL["function"], "arguments": "{pattern"}}
    with pytest.raises(InputError, match="tool call `search_log`: its arguments are not JSON"):
        renderer.mark([*TOOL_TURNS[:2], {**TOOL_TURNS[2], "tool_calls": [broken]}, *TOOL_TURNS[3:]], [TOOL])


THOUGHTS = [
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "<think>disk?</think>The disk is full."},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "<think>see above</think>At 10:00."},
]


def test_template_that_strips_thoughts_takes_rows_of_one_answer_and_refuses_others() -> None:
    tokenizer = bpe(THINKING)
    assert counted_text(render.render_chat(THOUGHTS[:2], tokenizer), tokenizer) == [
        "<think>disk?</think>The disk is full.<|im_end|>"
    ]
    with pytest.raises(InputError, match=r"rewrites earlier turns \(turn 2\).*generation %} markers"):
        render.render_chat(THOUGHTS, tokenizer)
    # Nothing to strip, nothing rewritten: proven row by row.
    render.render_chat(TURNS, tokenizer)


CONTINUES = CHATML.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\n<think>\n' }}")
UNCLOSED = MARKED_OUTSIDE.replace("{% endgeneration %}<|im_end|>\n", "{% endgeneration %}.<|im_end|>\n")
ONE_MARK = MARKED.replace("{% generation %}", "{% if loop.last %}{% generation %}").replace(
    "{% endgeneration %}", "{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
)
DROPS_SYSTEM = "{% for m in messages if m['role'] != 'system' %}" + CHATML.partition("%}")[2].replace("message", "m")


@pytest.mark.parametrize(
    ("template", "turns", "tools", "message"),
    [
        (NO_END, TURNS, None, "without an end-of-turn token"),
        (CONTINUES, TURNS, None, "begins answer 2 otherwise than its generation prompt"),
        (UNCLOSED, TURNS, None, "marks turn 2 without an end-of-turn token"),
        (ONE_MARK, TURNS, None, "marks 1 spans as generated; the row has 2 answers"),
        (DROPS_SYSTEM, WITH_SYSTEM, None, r"leaves out or changes the text of turn 1 \(system\): 'Answer about logs.'"),
        (GEMMA, WITH_SYSTEM, None, "refuses the row: System role not supported"),
        (CHATML, TOOL_TURNS, None, "refuses the row: can only concatenate str"),
        (CHATML, [TURNS[0], {**TURNS[1], "tool_calls": [CALL]}], None, "no place for the tool calls of turn 2"),
        (CHATML, TURNS, [TOOL], "no place for the row's `tools`"),
        (None, TURNS, None, "no chat template"),
    ],
)
def test_rows_and_templates_without_a_provable_mask_are_refused(template, turns, tools, message: str) -> None:
    renderer = render.Renderer(bpe(template))
    with pytest.raises(InputError, match=message):
        renderer.mark(turns, tools)


def test_template_is_probed_before_any_row() -> None:
    assert render.Renderer(bpe(CHATML)).method == "prefix property"
    assert render.Renderer(bpe(MARKED)).method == "generation markers"
    with pytest.raises(InputError, match="without an end-of-turn token"):
        _ = render.Renderer(bpe(NO_END)).method
    with pytest.raises(InputError, match="no chat template"):
        _ = render.Renderer(bpe(None)).method


@pytest.mark.parametrize("text", ["disk full", "disk full</s>", "<s>disk full", "an <s> tag in </s> html"])
def test_pretraining_text_has_bos_where_wanted_and_eos_once(text: str) -> None:
    for build, bos in ((bpe, []), (metaspace, [1])):
        tokenizer = build(CHATML)
        rendered = render.render_text(text, tokenizer)
        ids = rendered.ids.tolist()
        assert ids[: len(bos)] == bos and ids.count(1) == len(bos)
        assert ids[-1] == 2 and ids.count(2) == 1
        assert rendered.mask.all()
        bare = text.removesuffix("</s>")
        assert tokenizer.decode(ids[len(bos) : -1]).strip() == (bare.removeprefix("<s>") if bos else bare)


def test_tokenizer_that_adds_eos_itself_gets_no_second_one() -> None:
    from tokenizers import processors

    tokenizer = metaspace(CHATML)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    ids = render.render_text("disk full", tokenizer).ids.tolist()
    assert ids[0] == 1 and ids[-1] == 2 and ids.count(1) == ids.count(2) == 1


def test_tokenizers_that_cannot_serve_are_refused() -> None:
    tokenizer = bpe(CHATML)
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="no EOS token"):
        render.render_text("disk full", tokenizer)

    class Slow:
        is_fast = False

    with pytest.raises(InputError, match="Slow is a slow tokenizer"):
        render.Renderer(Slow())  # type: ignore[arg-type]


def test_the_callers_tokenizer_is_left_as_it_is(tmp_path: Path) -> None:
    tokenizer = bpe(CHATML)
    before = tokenizer.backend_tokenizer.to_str()
    renderer = render.Renderer(tokenizer)
    renderer.texts(["x"])
    renderer.encode([renderer.mark(TURNS)])
    assert tokenizer.backend_tokenizer.to_str() == before
    assert not tokenizer.backend_tokenizer.encode_special_tokens
