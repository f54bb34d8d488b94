"""Chat messages and pretraining text to token ids and a loss mask, by the model's own template, many rows at a time.

The mask covers what the model will have to write: each answer and its end-of-turn token, not the template's newline
behind it. Where that is in the text is proven for every row, by one of two methods, chosen once for a template:

- *generation markers*: the template says it, `{% generation %}`; every assistant turn must have one marked span.
- *prefix property*: "rendered up to here, plus generation prompt" and "rendered with the answer" are prefixes of the
  whole; the answer is the difference. A template that rewrites earlier turns (one that strips their thoughts) does not
  have it for rows of several answers, and such a row is refused; its rows of one answer are fine.

Either way every message must stand in the text: a template that drops a system message or tool calls is refused too.

From characters to tokens: a token counts when it lies in the span as a whole. One that straddles the border of prompt
and answer (`]Yes` as one token) does not: it would teach a piece of the prompt.

One call of the tokenizer takes many rows on all cores, and two look-ups a turn replace the list of all offsets, whose
conversion to Python costs as much as a third of the tokenization.

Worked example with ChatML and one token a word:

    text  <|im_start|> user hi <|im_end|> <|im_start|> assistant hello <|im_end|>
    mask       0        0   0      0            0          0       1       1
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from loglore.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Plain words: no template trims or rewrites them, and no tokenizer has a special token for them.
PROBE = (
    {"role": "user", "content": "probe question one"},
    {"role": "assistant", "content": "probe answer one"},
)

Turns = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]
Span = tuple[int, int]


@dataclass(frozen=True)
class Rendered:
    """One training sample: `ids` int32 [length], `mask` bool [length], True where a token counts for the loss."""

    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Conversation:
    """Turns as `{"role", "content"}`, in OpenAI's shape also `tool_calls` and the role `tool`; schemas of tools."""

    turns: Turns
    tools: Tools | None = None


@dataclass(frozen=True)
class Marked:
    """A rendered conversation: its text, and the characters [start, end) of each answer with its end of turn."""

    text: str
    spans: tuple[Span, ...]


class Renderer:
    """A tokenizer and its chat template, looked at once; renders many rows with one call of the tokenizer.

    Args:
        tokenizer: a fast one (of the `tokenizers` library); it is left as it is.

    Raises:
        InputError: a slow tokenizer.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = fast_tokenizer(tokenizer)
        self._backend = _bare_copy(tokenizer)
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._names = tuple(sorted({*special, *tokenizer.all_special_tokens}, key=len, reverse=True))
        self._special = re.compile("|".join(map(re.escape, self._names)) if self._names else r"(?!)")

    # Pretraining text

    def texts(self, texts: Sequence[str]) -> list[Rendered]:
        """Render pretraining texts: BOS where the tokenizer wants one, the text, EOS, each of them once; all counts.

        A text's own BOS at its start and EOS at its end are these. The name of a special token anywhere else is text
        (`<s>` in an HTML log), not a token.

        Raises:
            InputError: the tokenizer has no EOS.
        """
        before, after = self._frame
        self._backend.encode_special_tokens = True
        bare = [self._without_frame(text) for text in texts]
        found = []
        for encoding in self._backend.encode_batch_fast(bare, add_special_tokens=False):
            ids = np.array(before + encoding.ids + after, dtype=np.int32)
            found.append(Rendered(ids, np.ones(len(ids), dtype=bool)))
        return found

    @functools.cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """Special ids that the tokenizer puts before and after a text, EOS added where it puts none."""
        end = self.tokenizer.eos_token_id
        if end is None:
            raise InputError("the tokenizer has no EOS token; pretraining texts could not be told apart")
        whole = list(self.tokenizer("a")["input_ids"])
        bare = list(self.tokenizer("a", add_special_tokens=False)["input_ids"])
        start = next(at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        before, after = whole[:start], whole[start + len(bare) :]
        return before, after if end in after else [*after, end]

    def _without_frame(self, text: str) -> str:
        if self._frame[0]:
            text = text.removeprefix(str(self.tokenizer.bos_token))
        return text.removesuffix(str(self.tokenizer.eos_token))

    # Conversations

    @functools.cached_property
    def method(self) -> str:
        """How answers are found: `generation markers` or `prefix property`.

        Raises:
            InputError: no chat template, or one with which neither works even on a plain question and answer.
        """
        name = "generation markers" if self._has_markers(None) else "prefix property"
        self.mark(PROBE)
        return name

    def mark(self, messages: Turns, tools: Tools | None = None) -> Marked:
        """The text of a conversation and where its answers are, proven.

        Args:
            messages: `{"role", "content"}`, in OpenAI's shape also `tool_calls` and the role `tool`.
            tools: JSON schemas of functions that the model may call.

        Raises:
            InputError: the template refuses the row, leaves a part of it out, or gives no provable mask.
        """
        turns = [_with_objects(message) for message in messages]
        if self._has_markers(tools):
            text, spans = self._marked_spans(turns, tools)
        else:
            text, spans = self._prefix_spans(turns, tools)
        _check_nothing_lost(turns, tools, text, spans)
        return Marked(text, tuple(spans))

    def encode(self, rows: Sequence[Marked]) -> list[Rendered]:
        """Token ids and masks of marked conversations."""
        self._backend.encode_special_tokens = False
        found = []
        encodings = self._backend.encode_batch([row.text for row in rows], add_special_tokens=False)
        for row, encoding in zip(rows, encodings, strict=True):
            mask = np.zeros(len(encoding), dtype=bool)
            for span in row.spans:
                first, end = _tokens(encoding, span)
                mask[first:end] = True
            found.append(Rendered(np.array(encoding.ids, dtype=np.int32), mask))
        return found

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text on its own, without BOS and EOS."""
        self._backend.encode_special_tokens = False
        return [len(encoding) for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _has_markers(self, tools: Tools | None) -> bool:
        return bool(GENERATION.search(self._template(tools)))

    def _template(self, tools: Tools | None) -> str:
        if not self.tokenizer.chat_template:
            raise InputError("the tokenizer has no chat template")
        return str(self.tokenizer.get_chat_template(tools=tools))

    def _marked_spans(self, turns: Turns, tools: Tools | None) -> tuple[str, list[Span]]:
        texts, marked = self._render([turns], tools, prompt=False, tracked=True)
        answers = _assistant_turns(turns)
        if len(marked[0]) != len(answers):
            raise InputError(
                f"the chat template marks {len(marked[0])} spans as generated; the row has {len(answers)} answers"
            )
        spans = []
        for turn, (start, end) in zip(answers, marked[0], strict=True):
            closed = self._closed(texts[0], start, len(texts[0][:end].rstrip()))
            if closed is None:  # or the mark ends just before the end of turn
                behind = self._special.match(texts[0], end)
                closed = behind.end() if behind else None
            if closed is None:
                raise InputError(f"the chat template marks turn {turn + 1} without an end-of-turn token")
            spans.append((start, closed))
        return texts[0], spans

    def _prefix_spans(self, turns: Turns, tools: Tools | None) -> tuple[str, list[Span]]:
        answers = _assistant_turns(turns)
        before, _ = self._render([turns[:turn] for turn in answers], tools, prompt=True)
        after, _ = self._render([turns[: turn + 1] for turn in answers], tools, prompt=False)
        complete = bool(answers) and answers[-1] == len(turns) - 1
        whole = after[-1] if complete else self._render([turns], tools, prompt=False)[0][0]
        spans = []
        for turn, prompt, answered in zip(answers, before, after, strict=True):
            if not answered.startswith(prompt):
                raise InputError(
                    f"the chat template begins answer {turn + 1} otherwise than its generation prompt does: "
                    "no loss mask can be derived"
                )
            end = self._closed(answered, len(prompt), len(answered.removesuffix(self._ending)))
            if end is None:
                raise InputError("the chat template ends an answer without an end-of-turn token (a special token)")
            if not whole.startswith(answered[:end]):
                raise InputError(
                    f"the chat template rewrites earlier turns (turn {turn + 1}): no loss mask can be derived; rows of "
                    "one answer would do, or a template with {% generation %} markers"
                )
            spans.append((len(prompt), end))
        return whole, spans

    @functools.cached_property
    def _ending(self) -> str:
        """What the template puts behind the end-of-turn token of the last answer (a newline, EOS once more)."""
        text = self._render([PROBE], None, prompt=False)[0][0]
        answer = PROBE[-1]["content"]
        tail = text[text.rfind(answer) + len(answer) :] if answer in text else ""
        end_of_turn = self._special.search(tail)
        return tail[end_of_turn.end() :] if end_of_turn else ""

    def _closed(self, text: str, start: int, end: int) -> int | None:
        """`end` if a special token ends there, the text after `start` before it not being empty; else None."""
        return end if text.endswith(self._names, start + 1, end) else None

    def _render(
        self, conversations: Sequence[Turns], tools: Tools | None, prompt: bool, tracked: bool = False
    ) -> tuple[list[str], list[list[Span]]]:
        from jinja2.exceptions import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            return render_jinja_template(  # type: ignore[no-any-return]
                conversations=[list(turns) for turns in conversations],
                tools=list(tools) if tools else None,
                chat_template=self._template(tools),
                return_assistant_tokens_mask=tracked,
                add_generation_prompt=prompt,
                **self.tokenizer.special_tokens_map,
            )
        except (TemplateError, TypeError) as fault:
            raise InputError(f"the chat template refuses the row: {fault}") from None


def render_chat(messages: Turns, tokenizer: "PreTrainedTokenizerBase") -> Rendered:
    """Render one conversation; for many, keep a `Renderer`.

    Raises:
        InputError: as `Renderer.method` and `Renderer.mark`.
    """
    renderer = Renderer(tokenizer)
    return renderer.encode([renderer.mark(messages)])[0]


def render_prompt(messages: Turns, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The text up to and with the generation prompt: what a model completes with its answer."""
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))


def render_text(text: str, tokenizer: "PreTrainedTokenizerBase") -> Rendered:
    """Render one pretraining text as `Renderer.texts` does."""
    return Renderer(tokenizer).texts([text])[0]


def fast_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedTokenizerBase":
    """The tokenizer itself, or `InputError` when it is none of the `tokenizers` library."""
    if not tokenizer.is_fast:
        raise InputError(f"{type(tokenizer).__name__} is a slow tokenizer; expected one with a tokenizer.json")
    return tokenizer


def _bare_copy(tokenizer: Any) -> "Tokenizer":
    """The tokenizer without truncation, padding and post-processor.

    A byte-level post-processor trims blanks off the offsets, and tokens of blanks could not be placed.
    """
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.post_processor = None
    return copy


def _assistant_turns(turns: Turns) -> list[int]:
    return [number for number, message in enumerate(turns) if message["role"] == "assistant"]


def _with_objects(message: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of tool calls as objects, which templates expect; OpenAI's API has them as JSON text."""
    turn = dict(message)
    if turn.get("tool_calls"):
        turn["tool_calls"] = [_call_with_object(call) for call in turn["tool_calls"]]
    return turn


def _call_with_object(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except json.JSONDecodeError as fault:
            raise InputError(f"tool call `{function['name']}`: its arguments are not JSON: {fault}") from None
    return {**call, "function": function}


def _check_nothing_lost(turns: Turns, tools: Tools | None, text: str, spans: Sequence[Span]) -> None:
    """Raise when a message, a tool call or a tool is not in the text, or an answer not in its span."""
    answers = iter(spans)
    for number, message in enumerate(turns, 1):
        place = text
        if message["role"] == "assistant":
            start, end = next(answers)
            place = text[start:end]
        content = message.get("content")
        if isinstance(content, str) and content.strip() not in place:
            raise InputError(
                f"the chat template leaves out or changes the text of turn {number} ({message['role']}): "
                f"{content.strip()!r:.60}"
            )
        for call in message.get("tool_calls") or ():
            if call["function"]["name"] not in place:
                raise InputError(f"the chat template has no place for the tool calls of turn {number}")
    for tool in tools or ():
        if tool.get("function", tool)["name"] not in text:
            raise InputError("the chat template has no place for the row's `tools`")


def _tokens(encoding: "Encoding", span: Span) -> tuple[int, int]:
    """Tokens [first, end) that lie in a span of characters, which ends with a special token."""
    start, end = span
    # Some characters have no token (a normalizer removed them), but the special token at the end has one.
    first = next(token for at in range(start, end) if (token := encoding.char_to_token(at)) is not None)
    while cast("Span", encoding.token_to_chars(first))[0] < start:
        first += 1
    return first, cast("int", encoding.char_to_token(end - 1)) + 1
