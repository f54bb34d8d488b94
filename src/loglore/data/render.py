"""Chat messages to token ids and a loss mask, by the template's own text.

The method needs the *prefix property*: rendering the first k messages gives a prefix of rendering all. Then an
assistant turn is the text between "rendered up to here, plus generation prompt" and "rendered with the answer"; the
mask covers the answer and the end-of-turn token, and not what follows it (ChatML's newline). A template without the
property (one that rewrites earlier turns) is refused.

Worked example with ChatML and one token a word:

    text  <|im_start|> user hi <|im_end|> <|im_start|> assistant hello <|im_end|>
    mask       0        0   0      0            0          0       1       1
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from loglore.data.formats import Message
from loglore.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Rendered:
    """One training sample: `ids` int32 [length], `mask` bool [length], True where a token counts for the loss."""

    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.bool_]


def render_chat(messages: list[Message], tokenizer: "PreTrainedTokenizerBase") -> Rendered:
    """Render a conversation; every assistant turn counts for the loss, end-of-turn token included.

    Raises:
        InputError: no chat template, or one without the prefix property, or no end-of-turn token after an answer.
    """
    if not tokenizer.chat_template:
        raise InputError("the tokenizer has no chat template")
    whole = _text(messages, tokenizer)
    spans = [_answer_span(messages, turn, whole, tokenizer) for turn in _assistant_turns(messages)]
    encoding = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    offsets = np.asarray(encoding["offset_mapping"])
    mask = np.zeros(len(offsets), dtype=bool)
    for start, end in spans:
        mask |= (offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > offsets[:, 0])
    return Rendered(np.asarray(encoding["input_ids"], dtype=np.int32), mask)


def render_prompt(messages: list[Message], tokenizer: "PreTrainedTokenizerBase") -> str:
    """The text up to and with the generation prompt: what a model completes with its answer."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def render_text(text: str, tokenizer: "PreTrainedTokenizerBase") -> Rendered:
    """Render pretraining text: BOS where the tokenizer wants one, the text, EOS once; all of it counts for the loss."""
    ids = list(tokenizer(text)["input_ids"])
    if not ids or ids[-1] != tokenizer.eos_token_id:
        ids.append(tokenizer.eos_token_id)
    return Rendered(np.asarray(ids, dtype=np.int32), np.ones(len(ids), dtype=bool))


def _assistant_turns(messages: list[Message]) -> list[int]:
    return [number for number, message in enumerate(messages) if message["role"] == "assistant"]


def _answer_span(
    messages: list[Message], turn: int, whole: str, tokenizer: "PreTrainedTokenizerBase"
) -> tuple[int, int]:
    """Characters [start, end) of an answer and its end-of-turn token in the whole text."""
    before = render_prompt(messages[:turn], tokenizer)
    after = _text(messages[: turn + 1], tokenizer)
    if not (whole.startswith(after) and after.startswith(before)):
        raise InputError(f"the chat template rewrites earlier turns (turn {turn + 1}): no loss mask can be derived")
    end_of_turn = str(tokenizer.eos_token)
    answer = after[len(before) :]
    end = answer.rfind(end_of_turn)
    if end < 0:
        raise InputError(f"the chat template ends an answer without the tokenizer's eos token {end_of_turn!r}")
    return len(before), len(before) + end + len(end_of_turn)


def _text(messages: list[Message], tokenizer: "PreTrainedTokenizerBase") -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False))
