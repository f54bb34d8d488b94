"""The `export` job: a model version as merged safetensors, GGUF and Ollama Modelfile, checked by the parity gate.

Every output appears whole or not at all, so a job that was killed goes on after the last complete one.
"""

import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from loglore.errors import InputError
from loglore.export import card, gguf, lora, merge, ollama, parity
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec


class ExportSpec(Spec):
    """What to export.

    model: Hugging Face folder or GGUF file of the base.
    adapter: PEFT adapter folder to merge into it.
    to: forms wanted; `ollama` brings the GGUF with it; `adapter` is the adapter as GGUF beside its base as GGUF.
    gguf_type: type of the GGUF's matrices.
    name: the model's name in the GGUF header.
    """

    model: Path
    adapter: Path | None = None
    to: list[Literal["safetensors", "gguf", "ollama", "adapter"]] = Field(min_length=1)
    gguf_type: gguf.GgufType = "q8_0"
    name: str = "loglore"


def run(spec: ExportSpec, context: RunFolder) -> dict[str, Any]:
    """Write `merged/`, `model.gguf`, `Modelfile`, `base.gguf` and `adapter.gguf` as asked, and a card, `README.md`.

    Returns:
        `outputs` (relative paths), with a GGUF `parity` (see `parity.Parity`) and `gguf_bytes`, and with an adapter
        `adapter_parity`: base and adapter in llama.cpp against the merged model.

    Raises:
        InputError: the model, adapter or chat template is not what it should be.
        JobError: the converter failed, or the GGUF does not match the model.
    """
    if "adapter" in spec.to and spec.adapter is None:
        raise InputError("`to`: `adapter` needs the key `adapter`, the PEFT folder to convert")
    outputs: dict[str, str] = {}
    checks: dict[str, dict[str, Any]] = {}
    result: dict[str, Any] = {"outputs": outputs}
    source = spec.model
    if spec.adapter is not None or spec.model.suffix == ".gguf" or "safetensors" in spec.to:
        source = context.path / "merged"
        outputs["merged"] = "merged"
        if not source.exists():
            context.event("merge", model=str(spec.model), adapter=str(spec.adapter) if spec.adapter else None)
            merge.merge(spec.model, spec.adapter, source)
    if "gguf" in spec.to or "ollama" in spec.to:
        target = context.path / "model.gguf"
        outputs["gguf"] = target.name
        result |= _gguf(spec, source, target, context)
        checks[target.name] = result["parity"]
    if "ollama" in spec.to:
        outputs["modelfile"] = "Modelfile"
        ollama.write_modelfile(source, "model.gguf", context.path / "Modelfile")
    if "adapter" in spec.to:
        outputs["base"], outputs["adapter"] = "base.gguf", "adapter.gguf"
        result["adapter_parity"] = checks["adapter.gguf"] = _adapter(spec, source, context)
    card.write(context.path / "README.md", spec.name, spec.gguf_type, outputs, checks)
    outputs["card"] = "README.md"
    return result


def _adapter(spec: ExportSpec, merged: Path, context: RunFolder) -> dict[str, Any]:
    assert spec.adapter is not None
    base, adapter = context.path / "base.gguf", context.path / "adapter.gguf"
    record = context.path / "adapter-parity.json"
    with context.progress("Adapter as GGUF", 3, "steps") as tick:
        if not base.exists():
            _base_gguf(spec, base, context)
        tick(note="base converted")
        if not adapter.exists():
            lora.convert(spec.adapter, spec.model, adapter, context.path / "adapter.log")
        tick(note="adapter converted")
        if not record.exists():
            found = parity.check(merged, base, context.path / "adapter-parity.log", adapter)
            parity.require(found, adapter)
            files.write_json(record, found.as_json())
        tick(note="compared with the merged model")
    return dict(files.read_json(record))


def _base_gguf(spec: ExportSpec, target: Path, context: RunFolder) -> None:
    if spec.model.suffix == ".gguf":
        with files.replacing(target) as partial:
            shutil.copyfile(spec.model, partial)
    else:
        gguf.convert(spec.model, target, spec.gguf_type, f"{spec.name}-base", context.path / "base.log")


def _gguf(spec: ExportSpec, source: Path, target: Path, context: RunFolder) -> dict[str, Any]:
    record = context.path / "parity.json"
    with context.progress(f"GGUF {spec.gguf_type}", 2, "steps") as tick:
        if not target.exists():
            gguf.convert(source, target, spec.gguf_type, spec.name, context.path / "converter.log")
        tick(note="converted")
        if not record.exists():
            found = parity.check(source, target, context.path / "parity.log")
            parity.require(found, target)
            files.write_json(record, found.as_json())
        tick(note="compared with the model")
    return {"parity": files.read_json(record), "gguf_bytes": target.stat().st_size}
