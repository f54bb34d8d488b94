from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_tiny import CHATML, build_tokenizer
from transformers import AutoTokenizer

from loglore.data import render
from loglore.errors import InputError

PLAIN = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'system' %}<<SYS>>{{ m['content'] }}<</SYS>>"
    "{% else %} {{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
HEADERS = (
    "{{ '<|im_start|>' }}{% for m in messages %}"
    "{{ '<h>' + m['role'] + '</h>\n\n' + m['content'] | trim + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<h>assistant</h>\n\n' }}{% endif %}"
)
# Keeps the thoughts of the last answer alone, as reasoning models' templates do: earlier turns are rewritten.
REWRITING = (
    "{% for m in messages %}{% if m['role'] == 'user' %}U:{{ m['content'] }}\n{% else %}A:"
    "{{ m['content'] if loop.last else m['content'][-3:] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def tokenizer_with(folder: Path, template: str):
    build_tokenizer(folder, template)
    return AutoTokenizer.from_pretrained(folder)


def counted_text(rendered: render.Rendered, tokenizer) -> list[str]:
    """Decode each run of counted tokens on its own."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], rendered.mask.astype(int), [0]])))
    return [tokenizer.decode(rendered.ids[start:end]) for start, end in edges.reshape(-1, 2)]


CONVERSATION = [
    {"role": "system", "content": "Answer about logs."},
    {"role": "user", "content": "What failed?\n\nLog content:\n10:00 disk full — ディスク"},
    {"role": "assistant", "content": "The disk was full (10:00)."},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "At 10:00."},
]


@pytest.mark.parametrize("template", [CHATML, PLAIN, HEADERS], ids=["chatml", "inst", "headers"])
def test_counted_spans_are_the_answers_and_their_end_of_turn(tmp_path: Path, template: str) -> None:
    tokenizer = tokenizer_with(tmp_path, template)
    rendered = render.render_chat(CONVERSATION, tokenizer)
    spans = [span.strip() for span in counted_text(rendered, tokenizer)]
    assert spans == ["The disk was full (10:00).<|im_end|>", "At 10:00.<|im_end|>"]
    assert tokenizer.decode(rendered.ids) == tokenizer.apply_chat_template(CONVERSATION, tokenize=False)


@given(answer=st.text(min_size=1).filter(str.strip), question=st.text(min_size=1).filter(str.strip))
@settings(max_examples=60, deadline=None)
def test_any_text_is_counted_whole(tmp_path_factory: pytest.TempPathFactory, answer: str, question: str) -> None:
    if not hasattr(test_any_text_is_counted_whole, "tokenizer"):
        test_any_text_is_counted_whole.tokenizer = tokenizer_with(tmp_path_factory.mktemp("t"), CHATML)
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


@pytest.mark.parametrize(
    ("template", "message"), [(REWRITING, "rewrites earlier turns"), (NO_END, "without the tokenizer's eos token")]
)
def test_templates_without_a_provable_mask_are_refused(tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render.render_chat(CONVERSATION[1:], tokenizer_with(tmp_path, template))


def test_pretraining_text_ends_with_eos_once(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, CHATML)
    for text in ("disk full", "disk full<|im_end|>"):
        rendered = render.render_text(text, tokenizer)
        assert rendered.ids.tolist().count(tokenizer.eos_token_id) == 1
        assert rendered.ids[-1] == tokenizer.eos_token_id
        assert rendered.mask.all()
