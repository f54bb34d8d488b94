"""The Modelfile's Go text, evaluated here, says what the Jinja template says."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.export.ollama import read_frame, write_modelfile
from loglore.models.load import load_tokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helper<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = (
    "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
NUMBERED = "{% for message in messages %}[{{ loop.index }}]{{ message['content'] }}{% endfor %}A:"


def go(template: str, messages: list[dict[str, str]]) -> str:
    """Evaluate the subset of Go text that the Modelfile uses."""
    match = re.fullmatch(
        r"(?:\{\{ if not \.System \}\}(?P<start>.*?)\{\{ end \}\})?"
        r"\{\{ range \.Messages \}\}(?P<cases>.*)\{\{ end \}\}(?P<opening>.*)",
        template,
        re.DOTALL,
    )
    assert match
    cases = dict(re.findall(r'\{\{ if eq \.Role "(\w+)" \}\}(.*?)\{\{ end \}\}', match["cases"], re.DOTALL))
    start = "" if any(message["role"] == "system" for message in messages) else match["start"] or ""
    body = "".join(cases[message["role"]].replace("{{ .Content }}", message["content"]) for message in messages)
    return start + body + match["opening"]


@pytest.fixture(scope="module", params=[CHATML, DEFAULT_SYSTEM, HEADERS], ids=["chatml", "default-system", "headers"])
def tokenizer(request: pytest.FixtureRequest, tiny_model: Path) -> Any:
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = request.param
    return tokenizer


text = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(system=st.none() | text, turns=st.lists(text, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2))
def test_go_text_equals_jinja(tokenizer: Any, system: str | None, turns: list[str]) -> None:
    messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    jinja = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    frame = read_frame(tokenizer, "x")
    assert go(frame.go_template(), messages) == frame.prompt(messages) == jinja


def test_modelfile(tiny_model: Path, tmp_path: Path) -> None:
    lines = write_modelfile(tiny_model, "model.gguf", tmp_path / "Modelfile").read_text().splitlines()
    assert lines[0] == "FROM ./model.gguf"
    assert 'PARAMETER stop "<|im_end|>"' in lines
    assert "PARAMETER num_ctx 1024" in lines


def test_a_template_that_numbers_turns_is_refused(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = NUMBERED
    with pytest.raises(InputError, match="plain sequence"):
        read_frame(tokenizer, "x")


def test_a_model_without_template_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="no chat template"):
        write_modelfile(tmp_path / "m", "model.gguf", tmp_path / "Modelfile")
