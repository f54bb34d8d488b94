"""What training did to the model elsewhere: perplexity on general text and on the domain, before and after.

General text is English that ships with CPython; the domain is the validation rows where there are some, else the first
training rows: all tokens in pretraining, answers in fine-tuning and preference training (the chosen ones). The fuller
report on forgetting is two test jobs around a training job.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from loglore.data.packing import IGNORED, PackedRow, flatten
from loglore.data.render import Rendered
from loglore.models.perplexity import general_text_perplexity
from loglore.train.pairs import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DOMAIN_ROWS = 16


def general(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """Perplexity on general text: `perplexity`, `tokens`, `source`."""
    import torch

    model.eval()
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        return asdict(general_text_perplexity(model, tokenizer))


def domain(model: "PreTrainedModel", rows: Sequence[PackedRow], source: str, bf16: bool) -> dict[str, Any]:
    """Perplexity on the counted tokens of the first 16 rows: `perplexity`, `tokens`, `source`."""
    import torch

    from loglore.train.loss import evaluation_loss

    chosen = [rows[number] for number in range(min(DOMAIN_ROWS, len(rows)))]
    counted = sum(int((row.targets != IGNORED).sum()) for row in chosen)
    loss = evaluation_loss(
        model,
        chosen,
        lambda: torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16),
        model.device,
    )
    return {"perplexity": math.exp(min(loss, 700.0)), "tokens": counted, "source": source}


def of_pairs(pairs: Sequence[Pair]) -> list[PackedRow]:
    """The chosen answers of the first pairs as packed rows, one sample each."""
    import numpy as np

    rows = []
    for pair in pairs[:DOMAIN_ROWS]:
        mask = np.array([False] * len(pair.prompt) + [True] * len(pair.chosen))
        rows.append(flatten([Rendered(np.array(pair.prompt + pair.chosen, dtype=np.int32), mask)]))
    return rows
