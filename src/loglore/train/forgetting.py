"""What training did to the model elsewhere: perplexity on general text and on the domain, before and after.

General text is English that ships with CPython; the domain is the validation rows where there are some, else the first
training rows: all tokens in pretraining, answers in fine-tuning and preference training (the chosen ones). A run that
evaluates has measured its domain already, before the first and after the last step. The fuller report on forgetting is
two test jobs around a training job.
"""

import math
from collections.abc import Mapping, Sequence
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


def of_losses(metrics: Sequence[Mapping[str, Any]], rows: Sequence[PackedRow], best: bool) -> dict[str, Any]:
    """`before` and `after` as of `domain`, from a run's evaluations of `rows`.

    Args:
        metrics: of the run, in order; some have `eval_loss`.
        rows: that were evaluated, all of them.
        best: the published weights are those of the lowest loss, else those of the last step.
    """
    losses = [row["eval_loss"] for row in metrics if "eval_loss" in row]
    facts = {"tokens": sum(int((row.targets != IGNORED).sum()) for row in rows), "source": "validation rows"}
    ends = {"before": losses[0], "after": min(losses) if best else losses[-1]}
    return {name: {"perplexity": math.exp(min(loss, 700.0)), **facts} for name, loss in ends.items()}


def of_pairs(pairs: Sequence[Pair]) -> list[PackedRow]:
    """The chosen answers of the first pairs as packed rows, one sample each."""
    import numpy as np

    rows = []
    for pair in pairs[:DOMAIN_ROWS]:
        mask = np.array([False] * len(pair.prompt) + [True] * len(pair.chosen))
        rows.append(flatten([Rendered(np.array(pair.prompt + pair.chosen, dtype=np.int32), mask)]))
    return rows
