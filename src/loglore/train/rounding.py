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

import torch

PERIOD = 1 << 18  # 1 MB of noise, and as much for the part in work: they stay in a CPU's cache
GPU_PERIODS = 64  # in one go there, where a call costs more than what leaves the cache
STRIDE = 514_229  # odd: successive steps start at places far apart, all different for `PERIOD` steps


class Noise:
    """The table, on one device."""

    def __init__(self, device: torch.device, periods: int | None = None) -> None:
        drawn = torch.randint(0, 1 << 16, (PERIOD,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
        periods = periods or (1 if device.type == "cpu" else GPU_PERIODS)
        self.at_once = periods * PERIOD
        self.values = drawn.to(device).repeat(periods + 1)  # once more: a read may start anywhere in a period


def start(step: int) -> int:
    """Where the noise of a step begins."""
    return step * STRIDE


@torch.no_grad()
def round_into(target: torch.Tensor, source: torch.Tensor, noise: Noise, place: int) -> None:
    """Write an fp32 tensor, rounded, into another one.

    Args:
        target: bf16; or fp32, which then holds values that bf16 has. Shape of `source`, contiguous.
        source: fp32, contiguous; finite.
        noise: on their device.
        place: in the noise, of the first element, any number from 0: `start` of a step and the elements before.
    """
    wide = target.dtype == torch.float32
    written = target.view(torch.int32 if wide else torch.int16).view(-1)
    bits = source.view(torch.int32).view(-1)
    first = place % PERIOD  # of every part: they are whole periods long
    for into, part in zip(torch.split(written, noise.at_once), torch.split(bits, noise.at_once), strict=True):
        upper = (part + noise.values[first : first + len(part)]) >> 16
        into.copy_(upper << 16 if wide else upper)


def rounded(model: torch.nn.Module) -> torch.nn.Module:
    """Give a model's fp32 weights the dtype bf16, in place."""
    noise: Noise | None = None
    for number, weight in enumerate(model.parameters()):
        if weight.dtype != torch.float32:
            continue
        noise = noise or Noise(weight.device)
        target = torch.empty_like(weight, dtype=torch.bfloat16, memory_format=torch.contiguous_format)
        round_into(target, weight.detach().contiguous(), noise, start(number))
        weight.data = target
    return model.to(torch.bfloat16)
