"""Speed of a run as shares: of the processor's peak (MFU), and of the time in which processors were at work.

MFU as in PaLM (Chowdhery et al. 2022, appendix B) with causal attention: FLOP a token = (6 in full training, 4 with
LoRA, whose frozen weights need no gradient) x (matrix parameters, the output head counted and the input embeddings not)
+ the same factor x layers x width of the queries x mean length of what a token's sample has. Recomputation by
checkpointing is not counted. The peak is the dense bf16 one of the data sheet, or, for a processor that is not in the
list, of a product of 1024 x 1024 matrices measured here.
"""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# Dense bf16 FLOP/s of the data sheets, by a part of the device's name.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12, "B200": 2250e12}
BARS = "▁▂▃▄▅▆▇█"
SHOWN = 24


def flop_per_token(model: "torch.nn.Module", full: bool, lengths: Any) -> float:
    """Training FLOP a token; `lengths`: int [samples], tokens of each sample."""
    config: Any = model.config
    text = config.get_text_config()
    matrices = sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if weight.dim() == 2 and "embed" not in name and "lora_" not in name
    )
    if text.tie_word_embeddings:
        matrices += text.hidden_size * text.vocab_size
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    sizes = np.asarray(lengths, dtype=np.float64)
    # Of a token, not of a sample: long samples hold more tokens.
    mean = float((sizes**2).sum() / sizes.sum())
    factor = 6 if full else 4
    return float(factor) * float(matrices + text.num_hidden_layers * text.num_attention_heads * head * mean)


def peak() -> float:
    """FLOP/s that this process could reach in bf16."""
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        for part, value in PEAKS.items():
            if part in name:
                return value
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.ones(1024, 1024, dtype=torch.bfloat16, device=device) for _ in range(2))
    best = math.inf
    for _ in range(4):
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best


def memory_in_use() -> int:
    """Bytes: the most that the GPU held so far, else what this process has resident."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return int(psutil.Process().memory_info().rss)


def sparkline(values: Sequence[float]) -> str:
    """The last values as bars, the lowest of them the lowest bar.

    >>> sparkline([3.0, 2.0, 1.0])
    '█▅▁'
    """
    shown = [value for value in values[-SHOWN:] if math.isfinite(value)]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    return "".join(BARS[int((value - low) / ((high - low) or 1) * (len(BARS) - 1) + 0.5)] for value in shown)
