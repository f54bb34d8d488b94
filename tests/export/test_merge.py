"""Merging against numpy: W + (alpha / rank) · B·A, rounded once to the base's dtype."""

from pathlib import Path

import numpy as np
import pytest

from loglore.errors import InputError
from loglore.export.merge import merge


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with random B (a fresh one has B = 0 and would change nothing)."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def tensors(folder: Path, name: str = "model.safetensors") -> dict[str, np.ndarray]:
    from safetensors.torch import load_file

    return {key: value.float().numpy() for key, value in load_file(folder / name).items()}


def test_merged_weights_equal_the_formula(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    merged = tensors(merge(tiny_model, adapter, tmp_path / "merged"))
    lora = tensors(adapter, "adapter_model.safetensors")
    changed = 0
    for name, weight in tensors(tiny_model).items():
        expected = weight
        key = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{key}.lora_A.weight" in lora:
            changed += 1
            expected = weight + 8 / 4 * lora[f"{key}.lora_B.weight"] @ lora[f"{key}.lora_A.weight"]
        np.testing.assert_allclose(merged[name], expected, atol=1e-6)
    assert changed == 4


def test_merged_folder_answers_as_base_with_adapter(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merged = AutoModelForCausalLM.from_pretrained(merge(tiny_model, adapter, tmp_path / "merged"))
    apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(adapter))
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        torch.testing.assert_close(merged(ids).logits, apart(ids).logits, atol=1e-5, rtol=1e-5)


def test_dtype_of_the_base_is_kept_and_rounded_once(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(base)
    for each in tiny_model.glob("*token*"):
        (base / each.name).write_bytes(each.read_bytes())
    merged = load_file(merge(base, adapter, tmp_path / "merged") / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    lora = load_file(adapter / "adapter_model.safetensors")
    part = [lora[f"base_model.model.{name}.lora_{side}.weight"] for side in "BA"]
    exact = load_file(base / "model.safetensors")[f"{name}.weight"].float() + 2 * part[0] @ part[1]
    assert merged[f"{name}.weight"].dtype == torch.bfloat16
    # One rounding: at most half a unit in the last place, 2^-8 of the value (two roundings would reach 2^-7).
    assert ((merged[f"{name}.weight"].float() - exact).abs() <= exact.abs() * 2**-7.99 + 1e-9).all()


def test_missing_adapter_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        merge(tiny_model, tmp_path / "no-adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
