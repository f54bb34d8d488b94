"""A tiny random Llama with a tokenizer of its own, made once a test run: end-to-end tests in seconds, no downloads."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from support_tiny import build_tokenizer

# No deadlines: on a shared machine a slow example says nothing about the code. In CI the same examples every time: what
# random ones find belongs to the day they are looked for, not to the next change that lands.
settings.register_profile("patient", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("patient")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tiny models gain nothing from threads, and threads of many processes on few cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder: Llama, 2 layers, width 64, 512 tokens, random weights in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    build_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def repository() -> Path:
    """The root of the checkout, for tests of recipes and examples."""
    return Path(__file__).parent.parent
