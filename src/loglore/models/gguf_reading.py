"""One reading of a GGUF file's header for all that transformers wants from it.

For Llama and most other architectures transformers 5.23 builds the `gguf` package's reader three times to load one
model and its tokenizer, each time a Python object for every entry of the vocabulary, and the table of tensor names once
a module. SmolLM2 (49,152 tokens, 272 tensors) is loaded in 17.5 s that way and in 5.6 s with both kept (docs/LOG.md).
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def one_reading() -> Iterator[None]:
    """Let `gguf.GGUFReader` and `gguf.get_tensor_name_map` give what they gave before for the same arguments.

    Inside the block only; files must not change meanwhile. Blocks may be nested: the outermost one keeps.
    """
    import gguf
    import numpy as np

    if hasattr(gguf.GGUFReader, "cache_info"):
        yield
        return
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map

    class PlainReader(reader):  # type: ignore[misc, valid-type]
        """The same over a plain view of the mapped file: slices of `numpy.memmap` itself cost three times as much."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value.view(type=np.ndarray) if name == "data" else value)

    gguf.GGUFReader, gguf.get_tensor_name_map = functools.cache(PlainReader), functools.cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names
