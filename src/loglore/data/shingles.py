r"""Windows of bytes as 64-bit hashes, for near duplicates and leaks: all windows of a text at once.

A polynomial over random byte values modulo 2^64, built by doubling: the hashes of windows of 2k bytes come from those
of k bytes in one multiplication and one addition, so a window of 50 bytes costs 8 NumPy operations a byte, not 50. The
values are the same in every process: they may be kept, and compared between files.
"""

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15  # odd; 2^64 divided by the golden ratio
_BYTES = np.random.default_rng(20261122).integers(0, 2**64, 256, dtype=np.uint64)


def windows(text: bytes, length: int) -> Hashes:
    """Hashes of all windows of `length` bytes, uint64 [len(text) - length + 1]; empty when the text is shorter.

    Equal windows have equal hashes; two different ones collide with a chance of about 2^-64.
    """
    count = len(text) - length + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    power = _BYTES[np.frombuffer(text, dtype=np.uint8)]
    size, covered = 1, 0
    total = np.zeros(count, dtype=np.uint64)
    while True:
        if length & size:
            # The part covered so far stands at the end of the window; this one goes before it.
            start = length - covered - size
            total += power[start : start + count] * np.uint64(pow(_BASE, covered, 2**64))
            covered += size
        if covered == length:
            return _mixed(total)
        power = power[:-size] * np.uint64(pow(_BASE, size, 2**64)) + power[size:]
        size *= 2


def _mixed(values: Hashes) -> Hashes:
    """Spread the entropy over all bits (the finalizer of SplitMix64; Steele, Lea, Flood, OOPSLA 2014)."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
