"""The export's card: what the files are, how to use them, and what the parity gate measured."""

from pathlib import Path
from typing import Any

from loglore.runs import files

USES = {
    "merged": "safetensors with tokenizer and chat template, for transformers, vLLM and further training",
    "gguf": "for llama.cpp and `loglore serve`",
    "modelfile": "for Ollama: `ollama create NAME -f Modelfile` beside the GGUF",
    "base": "the base alone, for an engine that switches adapters",
    "adapter": "the LoRA adapter alone: `loglore serve base.gguf --adapter NAME=adapter.gguf` serves base and tuned",
}


def write(target: Path, name: str, gguf_type: str, outputs: dict[str, str], checks: dict[str, dict[str, Any]]) -> Path:
    """Write the card as Markdown.

    Args:
        target: the file to write.
        name: the model's name.
        gguf_type: type of the GGUF's matrices.
        outputs: relative path by kind (the keys of `USES`).
        checks: figures of the parity gate (`parity.Parity.as_json`) by the file they are about.
    """
    lines = [f"# {name}", "", "Exported by LogLore.", "", "| file | what for |", "|---|---|"]
    lines += [f"| `{path}` | {USES[kind]} |" for kind, path in outputs.items() if kind in USES]
    for file, found in checks.items():
        lines += ["", f"## Parity of `{file}` ({gguf_type}) with the Hugging Face model", ""]
        lines += _figures(found)
    files.write_text(target, "\n".join(lines) + "\n")
    return target


def _figures(found: dict[str, Any]) -> list[str]:
    same_ids = found["texts"] - found["texts_with_other_ids"]
    same_prompts = found["prompts"] - found["prompts_with_other_ids"]
    return [
        "llama.cpp against transformers in float32, on log texts; the gate "
        + ("is passed." if found["passed"] else "is not passed."),
        "",
        "| measured | value |",
        "|---|---|",
        f"| log texts with the same token ids | {same_ids} of {found['texts']} |",
        f"| chat prompts with the same token ids | {same_prompts} of {found['prompts']} |",
        f"| perplexity, HF and GGUF | {found['perplexity_hf']:.4f} and {found['perplexity_gguf']:.4f} "
        f"(ratio {found['perplexity_ratio']:.4f}) |",
        f"| next token agrees | {found['agreement']:.2%} of {found['positions']:,} positions |",
        f"| … where HF leads by half a nat | {found['decided_agreement']:.2%} of {found['decided']:,} positions |",
        f"| mean difference of log-probabilities | {found['mean_difference_nats']:.4f} nats |",
    ]
