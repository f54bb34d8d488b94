"""What may be asked of `/v1/evals`: OpenAI's requests as far as they are offered; other kinds are refused by name."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from loglore.api.fine_tuning_objects import Metadata
from loglore.api.plain import Values
from loglore.api.wishes import Strict

TEMPLATE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
MOST_INLINE = 10_000


def check_template(text: str) -> str:
    """Refuse what `filled` would leave as it is.

    Raises:
        ValueError: something in braces that is neither `item.…` nor `sample.output_text`.
    """
    for path in TEMPLATE.findall(text):
        if not path.startswith("item.") and path != "sample.output_text":
            raise ValueError(f"`{{{{{path}}}}}`: expected `{{{{item.FIELD}}}}` or `{{{{sample.output_text}}}}`")
    if "{{" in TEMPLATE.sub("", text):
        raise ValueError("`{{…}}`: expected the path of a field, such as `{{item.log}}`; no expressions")
    return text


Text = Annotated[str, Field(max_length=100_000), AfterValidator(check_template)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


def check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON schema (draft 2020-12).

    Raises:
        ValueError: with the reason.
    """
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as fault:
        raise ValueError(f"no JSON schema: {fault.message[:200]}") from None
    return schema


class StringCheck(Strict):
    """Passes when `input` equals (or not), contains, or contains in any case `reference`."""

    type: Literal["string_check"]
    name: Name
    input: Text
    reference: Text
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Strict):
    """Passes when a score of `input` against `reference` is at least `pass_threshold`."""

    type: Literal["text_similarity"]
    name: Name
    input: Text
    reference: Text
    evaluation_metric: Literal["fuzzy_match", "bleu", "rouge_1", "rouge_2", "rouge_l"]
    pass_threshold: float = Field(ge=0, le=1)


Criterion = Annotated[StringCheck | TextSimilarity, Field(discriminator="type")]


class CustomConfig(Strict):
    """What items look like, as a JSON schema, which every item of a run must fit."""

    type: Literal["custom"]
    item_schema: Annotated[Values, AfterValidator(check_schema)] = Field(
        examples=[{"type": "object", "properties": {"log": {"type": "string"}}}]
    )
    include_sample_schema: bool = False


class CreateEval(Strict):
    """OpenAI's request for an eval; other kinds of criteria and sources are refused by name."""

    name: str = Field("", max_length=200)
    data_source_config: CustomConfig
    testing_criteria: list[Criterion] = Field(min_length=1, max_length=20)
    metadata: Metadata | None = None


class UpdateEval(Strict):
    """A new name, or new metadata."""

    name: str | None = Field(None, max_length=200, examples=["causes"])
    metadata: Metadata | None = None


class Given(Strict):
    """An answer that somebody has already."""

    output_text: str = Field(max_length=1_000_000)


class Row(Strict):
    """One item; `sample`, in runs of the type `jsonl`, is the answer to it."""

    item: Values
    sample: Given | None = None


class FileContent(Strict):
    """Items in the request itself."""

    type: Literal["file_content"]
    content: list[Row] = Field(min_length=1, max_length=MOST_INLINE)


class FileId(Strict):
    """A file of items (`{"item": {…}}` a line, or chat rows), or a dataset of the hub."""

    type: Literal["file_id"]
    id: str = Field(min_length=1, max_length=200)


class ContentPart(Strict):
    """A text part of a message."""

    type: Literal["input_text", "output_text"]
    text: Text


class TemplateMessage(Strict):
    """A turn with `{{item.…}}` in it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | ContentPart | Annotated[list[ContentPart], Field(min_length=1, max_length=100)]
    type: Literal["message"] | None = None


class Template(Strict):
    """Messages that are filled in for every item."""

    type: Literal["template"]
    template: list[TemplateMessage] = Field(min_length=1, max_length=100)


class ItemReference(Strict):
    """Messages that stand in the item: `item.messages`."""

    type: Literal["item_reference"]
    item_reference: str = Field(pattern=r"^item(\.[\w-]+)+$", max_length=200)


class Sampling(Strict):
    """How answers are made; greedy and at most 256 tokens unless said otherwise."""

    max_completion_tokens: int | None = Field(None, ge=1, le=2**20)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, le=2**31 - 1)


class Completions(Strict):
    """Let a model of the hub answer items."""

    type: Literal["completions"]
    source: Annotated[FileContent | FileId, Field(discriminator="type")]
    model: str = Field(min_length=1, max_length=200, examples=["tuned@1"])
    input_messages: Annotated[Template | ItemReference, Field(discriminator="type")] | None = None
    sampling_params: Sampling | None = None


class Jsonl(Strict):
    """Grade items as they are, with the answers that they have: no model is asked."""

    type: Literal["jsonl"]
    source: Annotated[FileContent | FileId, Field(discriminator="type")]


class CreateRun(Strict):
    """OpenAI's request for a run. Beyond it: priority, depends_on and gpus, as of a fine-tuning job."""

    data_source: Annotated[Completions | Jsonl, Field(discriminator="type")]
    name: str = Field("", max_length=200)
    metadata: Metadata | None = None
    priority: int = Field(0, ge=-100, le=100)
    depends_on: list[str] = Field(default_factory=list, max_length=100)
    gpus: int | None = Field(None, ge=0, le=1024)

    @model_validator(mode="after")
    def _fits(self) -> "CreateRun":
        if isinstance(self.data_source, Jsonl):
            given = [name for name in ("priority", "depends_on", "gpus") if getattr(self, name)]
            if given:
                raise ValueError(f"{given[0]}: a run of the type `jsonl` is graded at once and has no job")
            return self
        inline = self.data_source.source.content if isinstance(self.data_source.source, FileContent) else []
        if any(row.sample is not None for row in inline):
            raise ValueError("sample: of a run of the type `completions` the model writes it; `jsonl` takes it")
        return self
