"""Stochastic rounding of fp32 to bf16: up or down by chance, so that the mean is the fp32 value.

A base model's weights lie on bf16's grid, 1/256 to 1/512 of a weight apart. Rounded to nearest, an update smaller than
half of that is gone: after four steps of full training at a learning rate of 5e-5, 88 % of SmolLM2's weights are again
the base's, and of a loss that fp32 weights bring from 3.11 to 2.48 the bf16 model keeps 2.90. Rounded by chance it
keeps 2.48 (docs/LOG.md). Weights that did not change stay as they are. (Gupta et al., "Deep Learning with Limited
Numerical Precision", 2015.)

The chance is a fixed table of noise, read from another place at every step: the same step rounds in the same bits in
every process and after a resume, and no numbers have to be drawn. Imports torch: import it inside a function.

    bits of the fp32 value   sssssssseeeeeeee mmmmmmmm mmmmmmmm
    + noise                                   0 … 65535          carries into the upper half with its share of 65,536
    upper half               the bf16 value
"""

from collections.abc import Iterable

import torch

PERIOD = 1 << 18  # 1 MB of noise, and as much for the part in work: they stay in the cache
STRIDE = 514_229  # odd: successive steps start at places far apart, all different for `PERIOD` steps


class Noise:
    """The table, on one device."""

    def __init__(self, device: torch.device) -> None:
        drawn = torch.randint(0, 1 << 16, (PERIOD,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
        self.values = drawn.repeat(2).to(device)  # twice: a read may start anywhere


@torch.no_grad()
def round_into(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], noise: Noise, step: int) -> None:
    """Write fp32 tensors, rounded, into bf16 ones.

    Args:
        pairs: bf16 target and fp32 source of the same shape, both contiguous; finite.
        noise: on their device.
        step: any number from 0; others read other noise.
    """
    place = step * STRIDE % PERIOD
    for target, source in pairs:
        written, bits = target.view(torch.int16).view(-1), source.view(torch.int32).view(-1)
        for into, part in zip(torch.split(written, PERIOD), torch.split(bits, PERIOD), strict=True):
            into.copy_((part + noise.values[place : place + len(part)]) >> 16)
            place = (place + len(part)) % PERIOD


def rounded(model: torch.nn.Module) -> torch.nn.Module:
    """Give a model's fp32 weights the dtype bf16, in place."""
    noise: Noise | None = None
    for number, weight in enumerate(model.parameters()):
        if weight.dtype != torch.float32:
            continue
        noise = noise or Noise(weight.device)
        target = torch.empty_like(weight, dtype=torch.bfloat16, memory_format=torch.contiguous_format)
        round_into([(target, weight.detach().contiguous())], noise, number)
        weight.data = target
    return model.to(torch.bfloat16)
