"""The `export` job: a model version as merged safetensors, GGUF and Ollama Modelfile, checked by the parity gate.

Every output appears whole or not at all, so a job that was killed goes on after the last complete one.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from loglore.export import gguf, merge, ollama, parity
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec


class ExportSpec(Spec):
    """What to export.

    model: Hugging Face folder or GGUF file of the base.
    adapter: PEFT adapter folder to merge into it.
    to: forms wanted; `ollama` brings the GGUF with it.
    gguf_type: type of the GGUF's matrices.
    name: the model's name in the GGUF header.
    """

    model: Path
    adapter: Path | None = None
    to: list[Literal["safetensors", "gguf", "ollama"]] = Field(min_length=1)
    gguf_type: gguf.GgufType = "q8_0"
    name: str = "loglore"


def run(spec: ExportSpec, context: RunFolder) -> dict[str, Any]:
    """Write `merged/`, `model.gguf` and `Modelfile` as asked into the run folder.

    Returns:
        `outputs` (relative paths) and, with a GGUF, `parity` (see `parity.Parity`) and `gguf_bytes`.

    Raises:
        InputError: the model, adapter or chat template is not what it should be.
        JobError: the converter failed, or the GGUF does not match the model.
    """
    outputs: dict[str, str] = {}
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
    if "ollama" in spec.to:
        outputs["modelfile"] = "Modelfile"
        ollama.write_modelfile(source, "model.gguf", context.path / "Modelfile")
    return result


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
