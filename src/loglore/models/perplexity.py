"""Perplexity on text: how surprised a model is, before and after training; on general text it measures forgetting.

Windows do not overlap and each starts from nothing, so values are a little above a sliding-window evaluation; they
compare models that were measured alike, and nothing else. General text is English that ships with CPython
(`data.general_text`), a part that is never mixed into training data.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loglore.data import general_text
from loglore.runs.progress import track

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WINDOW = 512
GENERAL_TEXT_TOKENS = 4096
ROWS_AT_ONCE = 4


@dataclass(frozen=True)
class Perplexity:
    """perplexity: exp of the mean negative log likelihood (nats) of `tokens` predicted tokens of text `source`."""

    perplexity: float
    tokens: int
    source: str


def general_text_perplexity(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", tokens: int = GENERAL_TEXT_TOKENS
) -> Perplexity:
    """Perplexity on the first `tokens` tokens of the general text."""
    return perplexity(model, tokenizer, general_text.measured(), tokens, general_text.source())


def perplexity(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", text: str, tokens: int, source: str
) -> Perplexity:
    """Perplexity on the first `tokens` tokens of `text`, in windows of 512 tokens.

    Matrix products run in bf16 where the model's weights are (see `models.load`); log likelihoods are summed in fp64.
    """
    import torch

    # Four characters a token are few enough: tokenizing megabytes to use the first kilobytes would take seconds.
    ids = tokenizer(text[: tokens * 8], add_special_tokens=False)["input_ids"][:tokens]
    window = min(WINDOW, len(ids))
    rows = torch.tensor(ids[: len(ids) // window * window], device=model.device).view(-1, window)
    total = 0.0
    with torch.inference_mode(), track("general text", len(rows), "windows") as tick:
        for batch in torch.split(rows, ROWS_AT_ONCE):
            logits = model(input_ids=batch, use_cache=False).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
            total += float(loss.double().sum())
            tick(len(batch))
    counted = rows.shape[0] * (window - 1)
    return Perplexity(math.exp(total / counted), counted, source)
