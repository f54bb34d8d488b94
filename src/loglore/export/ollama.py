"""A Modelfile with which Ollama serves the exported GGUF as it was trained: template, stop tokens, context length.

Ollama's templates are Go text, the model's is Jinja. Rather than translate one language into the other, the Jinja
template is rendered over marked messages and read off: what it puts before and after a message of each role, what
stands first when there is no system message, and what opens the answer. The reading is then checked against the Jinja
template on other conversations; a template that does more than set messages one after the other (tools, turn numbers)
fails that check and is refused. Not run under Ollama where this was built: a test evaluates the Go text instead.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loglore.errors import InputError
from loglore.runs import files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[dict[str, str]]
ROLES = ("system", "user", "assistant")
CHECKS = (
    (("user", "a"),),
    (("system", "b"), ("user", "c\nd")),
    (("user", "e"), ("assistant", "f"), ("user", "g")),
    (("system", "h"), ("user", "i"), ("assistant", "j"), ("user", "k"), ("assistant", "l"), ("user", "m")),
)


@dataclass(frozen=True)
class Frame:
    """What a chat template puts around messages: text by role, text that opens an answer, text without a system one."""

    before: dict[str, str]
    after: dict[str, str]
    opening: str
    no_system: str

    def prompt(self, messages: Messages) -> str:
        """The prompt for `messages`, ready for the model's answer."""
        start = "" if any(message["role"] == "system" for message in messages) else self.no_system
        parts = [self.before[m["role"]] + m["content"] + self.after[m["role"]] for m in messages]
        return start + "".join(parts) + self.opening

    def go_template(self) -> str:
        """The same as Go text in Ollama's variables."""
        cases = [
            f'{{{{ if eq .Role "{role}" }}}}{self.before[role]}{{{{ .Content }}}}{self.after[role]}{{{{ end }}}}'
            for role in ROLES
        ]
        start = f"{{{{ if not .System }}}}{self.no_system}{{{{ end }}}}" if self.no_system else ""
        return f"{start}{{{{ range .Messages }}}}{''.join(cases)}{{{{ end }}}}{self.opening}"


def write_modelfile(folder: Path, gguf: str, target: Path) -> Path:
    """Write the Modelfile for the model in `folder`; `gguf` is the GGUF's path relative to the Modelfile.

    Raises:
        InputError: the model has no chat template, or one that is not a plain sequence of messages.
    """
    from loglore.models.load import load_tokenizer

    tokenizer = load_tokenizer(folder)
    frame = read_frame(tokenizer, str(folder))
    config = files.read_json(folder / "config.json")
    lines = [f"FROM ./{gguf}", f'TEMPLATE """{frame.go_template()}"""']
    lines += [f"PARAMETER stop {json.dumps(stop)}" for stop in _stops(tokenizer, folder)]
    lines.append(f"PARAMETER num_ctx {config['max_position_embeddings']}")
    files.write_text(target, "\n".join(lines) + "\n")
    return target


def read_frame(tokenizer: "PreTrainedTokenizerBase", where: str) -> Frame:
    """Read a tokenizer's chat template off; `where` starts the error message.

    Raises:
        InputError: it has none, or does more than set messages one after the other.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise InputError(f"{where}: no chat template; Ollama needs one")
    refused = InputError(f"{where}: its chat template is not a plain sequence of messages; write the Modelfile by hand")
    try:
        frame = _read(tokenizer)
        for check in CHECKS:
            messages = [{"role": role, "content": content} for role, content in check]
            if frame.prompt(messages) != _rendered(tokenizer, messages, opening=True):
                raise refused
    except TemplateError:
        raise refused from None
    if any(mark in text for text in (frame.go_template(),) for mark in ('"""', "{{{{")):
        raise refused
    return frame


def _read(tokenizer: "PreTrainedTokenizerBase") -> Frame:
    before, after = {}, {}
    so_far: list[dict[str, str]] = []
    done = ""
    for role in ROLES:
        mark = f"@{role}@"
        so_far.append({"role": role, "content": mark})
        text = _rendered(tokenizer, so_far, opening=False)
        before[role], _, after[role] = text.removeprefix(done).partition(mark)
        done = text
    user = [{"role": "user", "content": "@user@"}]
    opening = _rendered(tokenizer, user, opening=True).removeprefix(_rendered(tokenizer, user, opening=False))
    no_system = _rendered(tokenizer, user, opening=False).partition(before["user"] + "@user@")[0]
    return Frame(before, after, opening, no_system)


def _rendered(tokenizer: "PreTrainedTokenizerBase", messages: Messages, opening: bool) -> str:
    """The template's text, without the token that llama.cpp itself sets first for models trained with one."""
    text = str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=opening))
    sets_first = tokenizer.bos_token and tokenizer.encode("a")[0] == tokenizer.bos_token_id
    return text.removeprefix(str(tokenizer.bos_token)) if sets_first else text


def _stops(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> list[str]:
    """Texts of the tokens that end an answer: the tokenizer's and those of `generation_config.json`."""
    ids = [tokenizer.eos_token_id]
    if (folder / "generation_config.json").is_file():
        more = files.read_json(folder / "generation_config.json").get("eos_token_id") or []
        ids += more if isinstance(more, list) else [more]
    return [str(text) for text in tokenizer.convert_ids_to_tokens(sorted({i for i in ids if i is not None}))]
