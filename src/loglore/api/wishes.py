"""What may be asked of `/v1/chat/completions` and `/v1/completions`: OpenAI's fields, and llama.cpp's samplers.

Types are strict and unknown fields are refused: a misspelt option would otherwise be ignored. Fields of OpenAI that are
not offered here (audio, `echo`, `best_of`, …) are refused the same way.
"""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loglore.api.errors import ApiError
from loglore.runs.spec import unknown_key

MOST_CHOICES = 64
MOST_STOPS = 16
LARGEST_SEED = 2**32 - 1

Text = Annotated[str, Field(min_length=1)]
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
# OpenAI's clients send null for what was not given.
Number = Annotated[float, Field(allow_inf_nan=False)]


class Strict(BaseModel):
    """No conversions, nothing unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class TextPart(Strict):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class Called(Strict):
    """The function that an assistant called, with its arguments as JSON text."""

    name: Text
    arguments: str


class ToolCall(Strict):
    """A call that an assistant made."""

    id: str | None = None
    type: Literal["function"]
    function: Called


class Function(Strict):
    """A function that may be called; `parameters` is a JSON schema."""

    name: Text
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """What a model may call."""

    type: Literal["function"]
    function: Function


class Message(Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> "Message":
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("content: expected a text or a list of text parts")
        return self


class StreamOptions(Strict):
    """include_usage: a last chunk with the token counts."""

    include_usage: bool = False


class JsonSchema(Strict):
    """A named JSON schema; `strict` is always on here."""

    name: Text
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class TextFormat(Strict):
    """Free text."""

    type: Literal["text"]


class ObjectFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Strict):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class Wish(Strict):
    """What both kinds of completion share.

    n: choices, made one after the other. store: false keeps this one out of the session's history. user, metadata: kept
    in it. The rest is the engine's: samplers as OpenAI and llama.cpp name them.
    """

    model: Text
    max_tokens: int | None = Field(None, ge=1)
    temperature: Number | None = Field(None, ge=0, le=2)
    top_p: Number | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=16)
    stop: Text | Annotated[list[Text], Field(max_length=MOST_STOPS)] | None = None
    seed: int | None = Field(None, ge=-1, le=LARGEST_SEED)
    presence_penalty: Number | None = Field(None, ge=-2, le=2)
    frequency_penalty: Number | None = Field(None, ge=-2, le=2)
    logit_bias: dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Bias] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    top_k: int | None = Field(None, ge=0, le=10**6)
    min_p: Number | None = Field(None, ge=0, le=1)
    repeat_penalty: Number | None = Field(None, gt=0, le=10)
    repeat_last_n: int | None = Field(None, ge=-1, le=10**6)
    ignore_eos: bool | None = None
    cache_prompt: bool | None = None
    return_progress: bool | None = None

    @model_validator(mode="after")
    def _streams(self) -> "Wish":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only with `stream`: true")
        return self


class ChatWish(Wish):
    """A conversation to go on with."""

    messages: list[Message] = Field(
        min_length=1, examples=[[{"role": "user", "content": "What does `disk full` mean?"}]]
    )
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: TextFormat | ObjectFormat | SchemaFormat | None = Field(None, discriminator="type")
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | None = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _fits(self) -> "ChatWish":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: only with `logprobs`: true")
        return self


class TextWish(Wish):
    """A text to go on with, or several."""

    prompt: Text | TokenIds | Annotated[list[Text | TokenIds], Field(min_length=1, max_length=MOST_CHOICES)] = Field(
        examples=["The disk is"]
    )
    logprobs: int | None = Field(None, ge=0, le=5)

    @model_validator(mode="after")
    def _fits(self) -> "TextWish":
        if len(self.prompts()) * (self.n or 1) > MOST_CHOICES:
            raise ValueError(f"prompt: prompts times `n` may be {MOST_CHOICES} at most")
        return self

    def prompts(self) -> list[str | list[int]]:
        """The prompts one by one."""
        given: Any = self.prompt
        return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)


# Ours alone: the engine would refuse or ignore them.
OWN_FIELDS = ("n", "user", "metadata", "store")


def read(content: bytes, kind: type[ChatWish] | type[TextWish]) -> ChatWish | TextWish:
    """A request's body, checked.

    Raises:
        ApiError: 400 that names the field and what was expected.
    """
    try:
        values = orjson.loads(content)
        # What is read must also be written to the engine; only the depth of nesting differs.
        orjson.dumps(values)
    except orjson.JSONDecodeError as fault:
        # Strict JSON: no NaN, no broken UTF-8, no lone surrogates.
        raise ApiError(400, f"the body is not JSON: {fault}") from None
    except orjson.JSONEncodeError:
        raise ApiError(400, "the body: nested too deeply") from None
    if not isinstance(values, dict):
        raise ApiError(400, "the body: expected a JSON object")
    try:
        return kind.model_validate(values)
    except ValidationError as fault:
        raise _described(fault, kind) from None


def _described(fault: ValidationError, kind: type[BaseModel]) -> ApiError:
    error = fault.errors(include_url=False, include_context=False)[0]
    path = [str(part) for part in error["loc"]]
    # Of a choice of types pydantic names the branch as well; a client knows only its own fields.
    param = path[0] if path else None
    if error["type"] == "extra_forbidden":
        text = unknown_key(path[-1], list(kind.model_fields)) if len(path) == 1 else error["msg"]
        return ApiError(400, f"{'.'.join(path)}: {text}", "unknown_parameter", ".".join(path))
    if error["type"] == "missing":
        return ApiError(400, f"{'.'.join(path)}: missing", "missing_required_parameter", param)
    text = str(error["msg"]).removeprefix("Value error, ")
    if not path:
        param = text.partition(":")[0]
        return ApiError(400, text, "invalid_value", param)
    return ApiError(400, f"{'.'.join(path)}: {text}", "invalid_value", param)
