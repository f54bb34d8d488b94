"""PEFT LoRA adapter → GGUF, by llama.cpp's own converter: one engine then serves base and tuned, switched per request.

The factors are kept in f16 and alpha in the header; llama.cpp computes `W·x + (alpha / rank)·B·(A·x)` on top of the
base's own (quantized) weights. The converter needs of the base only its configuration.
"""

import os
import tempfile
from pathlib import Path

from loglore.errors import InputError, JobError
from loglore.export.tool import run_module
from loglore.runs import files

CONFIG = "adapter_config.json"


def convert(adapter: Path, base: Path, target: Path, log: Path) -> Path:
    """Write the adapter in folder `adapter` as the GGUF file `target`; it appears only when it is complete.

    Args:
        adapter: PEFT folder with `adapter_config.json` and safetensors.
        base: the model it was trained on: a Hugging Face folder or a GGUF file.
        target: the GGUF file to write.
        log: file that takes the converter's output.

    Raises:
        InputError: no LoRA adapter there, or one that GGUF cannot hold.
        JobError: the converter refused or failed.
    """
    _check(adapter)
    with tempfile.TemporaryDirectory() as scratch, files.replacing(target) as partial:
        parts = [str(os.getpid()), "lora", str(adapter), str(partial), str(_with_config(base, Path(scratch)))]
        run_module("loglore.export.converter", parts, log, lambda line: None)
        if not partial.is_file() or partial.stat().st_size == 0:
            raise JobError(f"the converter ended without writing {target}; see {log}")
    return target


def _check(adapter: Path) -> None:
    if not (adapter / CONFIG).is_file():
        raise InputError(f"{adapter}: no {CONFIG}; expected a PEFT adapter folder or a .gguf file")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(f"{adapter}: no adapter_model.safetensors (pickled adapters are not loaded)")
    config = files.read_json(adapter / CONFIG)
    if config.get("peft_type") != "LORA":
        raise InputError(f"{adapter}: peft_type {config.get('peft_type')!r}; only LORA can be switched per request")
    for key in ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern"):
        if config.get(key):
            raise InputError(f"{adapter}: `{key}` is set, which a GGUF adapter cannot hold; merge it instead")


def _with_config(base: Path, scratch: Path) -> Path:
    """A folder with the base's `config.json`."""
    if base.suffix != ".gguf":
        return base
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = AutoConfig.from_pretrained(str(base.parent), gguf_file=base.name, local_files_only=True)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(f"{base}: a {config.model_type} model; name the folder that it was converted from")
    config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]]
    config.save_pretrained(scratch)
    return scratch
