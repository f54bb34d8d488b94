"""Any decoder that transformers loads: the first packed loss is the textbook one, and training lowers it."""

import json
from pathlib import Path

import pytest
import torch
from support_tiny import TEXTS, build_tokenizer
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from loglore.models.load import load_model, load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.job import TrainSpec, run

SHAPE = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 2,
}  # fmt: skip
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {}),
    # A window shorter than the texts: what lies outside it must not be seen.
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": 8}),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_family_trains_on_packed_rows(tmp_path: Path, kind: str) -> None:
    training_type = "full" if kind in ("llama", "gemma3") else "lora"
    network, config, extra = MODELS[kind]
    folder = tmp_path / "model"
    build_tokenizer(folder)
    torch.manual_seed(0)
    network(config(**SHAPE, **extra)).save_pretrained(folder)
    rows, asked = tmp_path / "rows.jsonl", tmp_path / "h.json"
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS[:12])]
    files.write_jsonl(rows, [{"text": text} for text in texts])
    asked.write_text(
        json.dumps(
            {
                "batch_size": 64, "gradient_accumulation_steps": 1, "epochs": 3, "learning_rate": 1e-2,
                "max_sequence_length": 256, "mixed_precision": "none", "training_type": training_type,
                "lora_dropout": 0.0, "lr_warmup_ratio": 0.0, "checkpoint_strategy": "no", "eval_strategy": "no",
            }
        )
    )  # fmt: skip
    spec = TrainSpec(stage="cpt", model=folder, train=rows, hyperparameters=asked, general_text=False)
    report = run(spec, RunFolder(tmp_path / "run", {}))
    assert report["loss"]["first"] == pytest.approx(one_by_one(folder, texts), abs=1e-4)
    assert report["loss"]["last"] < report["loss"]["first"] - 0.05
    load_model(tmp_path / "run" / "model")


def one_by_one(folder: Path, texts: list[str]) -> float:
    """Mean loss a token, each text alone, by transformers' plain attention."""
    model, tokenizer = load_model(folder, attention="eager"), load_tokenizer(folder)
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total / count
