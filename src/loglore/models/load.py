"""Load and save models: Hugging Face folders and GGUF files.

The dtype is always the caller's: `from_pretrained` would keep a bf16 checkpoint in bf16, and full training in bf16
has no fp32 master weights.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.errors import InputError
from loglore.models.gguf_reading import one_reading
from loglore.models.header import read_header
from loglore.runs.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Trust:
    """What of a foreign model folder may run code: its pickled weights, its Python files."""

    pickles: bool = False
    remote_code: bool = False


CAREFUL = Trust()


def load_model(
    path: Path,
    dtype: str = "float32",
    attention: str = "sdpa",
    trust: Trust = CAREFUL,
    quantization: Any = None,
) -> "PreTrainedModel":
    """Load a causal language model from a Hugging Face folder or a `.gguf` file, in evaluation mode.

    Args:
        path: folder with `config.json` and safetensors, or a GGUF file (dequantized).
        dtype: one of `DTYPES`; the dtype of all weights after loading.
        attention: an attention implementation known to transformers.
        trust: what of a folder may run code here.
        quantization: a configuration of transformers (bitsandbytes), or None.

    Raises:
        InputError: nothing loadable there, or what `trust` does not allow.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    source = _source(path)
    if "gguf_file" in source:
        return _load_gguf(source, attention).to(getattr(torch, dtype)).eval()
    check_folder(path, trust)
    with quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(
                **source,
                dtype=getattr(torch, dtype),
                attn_implementation=attention,
                local_files_only=True,
                use_safetensors=not trust.pickles,
                trust_remote_code=trust.remote_code,
                quantization_config=quantization,
            )
        except SafetensorError as fault:
            raise InputError(f"{path}: damaged weights: {fault}") from None
    return model.eval()


def from_hugging_face(name: str) -> Path:
    """The folder of a model of the Hugging Face hub, `org/name`: in the local cache, else downloaded into it.

    Only what loading needs: safetensors, configuration, tokenizer, chat template; no pickles, no code.

    Raises:
        InputError: no such model, or no network and not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except LocalEntryNotFoundError:
        raise InputError(
            f"model {name}: no such folder, not in the local cache, and the Hugging Face hub cannot be reached"
        ) from None
    except (HfHubHTTPError, HFValidationError) as fault:
        raise InputError(f"model {name}: the Hugging Face hub says: {' '.join(str(fault).split())[:200]}") from None


def check_folder(path: Path, trust: "Trust" = CAREFUL) -> None:
    """Whether a model folder can be loaded, before anything is.

    Raises:
        InputError: no weights, weights only as pickles, or code of its own that is needed.
    """
    from transformers import CONFIG_MAPPING

    _source(path)
    names = {file.name for file in path.iterdir()}
    pickles = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth")) and name != "training_args.bin")
    if not any(name.endswith(".safetensors") for name in names):
        if not pickles:
            raise InputError(f"{path}: no weights; expected *.safetensors beside config.json")
        if not trust.pickles:
            raise InputError(
                f"{path}: its weights are pickles ({pickles[0]}), which can run code when they are loaded; convert "
                "them to safetensors, or say `allow_pickle: true`"
            )
    config = read_json(path / "config.json")
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING and not trust.remote_code:
        raise InputError(
            f"{path}: model type {config.get('model_type')!r} needs the Python code that comes with it; read it, then "
            "say `trust_remote_code: true`"
        )


def vocabulary_fault(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Why model and tokenizer do not belong together, or None; more rows than tokens are usual (padding)."""
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values())
    if largest < rows:
        return None
    return f"the tokenizer has ids up to {largest}, the model embeds {rows}: they are of different models"


def load_tokenizer(path: Path) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a Hugging Face folder or a GGUF file.

    Raises:
        InputError: nothing loadable there, or a GGUF whose way to split text is not known here.
    """
    from transformers import AutoTokenizer

    source = _source(path)
    with quiet(), one_reading() if "gguf_file" in source else contextlib.nullcontext():
        tokenizer = AutoTokenizer.from_pretrained(**source, local_files_only=True)
    if path.suffix == ".gguf":
        _restore_pre_tokenizer(tokenizer, path)
    return tokenizer


def save_model(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Save weights (safetensors), configuration, tokenizer and chat template into `folder`."""
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def attach_adapter(model: "PreTrainedModel", adapter: Path) -> "PreTrainedModel":
    """Merge the LoRA adapter in folder `adapter` into `model`'s weights and return the plain model.

    The product is computed in the model's dtype; load it in float32 when the merged weights are to be saved.
    """
    from peft import PeftModel

    if not (adapter / "adapter_config.json").is_file():
        raise InputError(f"{adapter}: no adapter_config.json; expected a PEFT adapter folder")
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().eval()


def _source(path: Path) -> dict[str, Any]:
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"{path}: no such GGUF file")
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    if not (path / "config.json").is_file():
        raise InputError(f"{path}: no config.json; expected a Hugging Face model folder or a .gguf file")
    return {"pretrained_model_name_or_path": str(path)}


def _restore_pre_tokenizer(tokenizer: "PreTrainedTokenizerBase", path: Path) -> None:
    """Split text as the GGUF's `tokenizer.ggml.pre` says, which transformers does not read (5.23).

    It makes every byte-level BPE split like GPT-2. SmolLM splits digits first; without that, one log line in eight
    gets other tokens than the model was trained on.

    Raises:
        InputError: another pre-tokenizer, whose tokens nobody here has compared.
    """
    from tokenizers import pre_tokenizers

    header = read_header(path)
    name = header.get("tokenizer.ggml.pre", "gpt-2")
    if header.get("tokenizer.ggml.model") != "gpt2" or name in ("gpt-2", "default"):
        return
    if name != "smollm":
        raise InputError(f"{path}: its pre-tokenizer {name!r} cannot be rebuilt from GGUF; use the Hugging Face folder")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _load_gguf(source: dict[str, Any], attention: str) -> "PreTrainedModel":
    """Dequantize to float32 and rebuild from the plain configuration.

    A model loaded from GGUF remembers its quantizer, and `save_pretrained` would refuse.
    """
    from transformers import AutoModelForCausalLM, GgufConfig

    with quiet(), one_reading():
        model = AutoModelForCausalLM.from_pretrained(
            **source,
            quantization_config=GgufConfig(gguf_file=source["gguf_file"], dequantize=True),
            attn_implementation=attention,
            local_files_only=True,
        ).float()
    plain = AutoModelForCausalLM.from_config(model.config, dtype=model.dtype, attn_implementation=attention)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' own progress bars and notices (tied weights "missing" from a checkpoint)."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
