"""A tiny random Llama with a tokenizer of its own, made once a test run: end-to-end tests in seconds, no downloads."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from support_tiny import build_llama

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
    folder = tmp_path_factory.mktemp("tiny-llama")
    build_llama(folder, hidden=64, heads=4, positions=1024)
    return folder


@pytest.fixture
def repository() -> Path:
    """The root of the checkout, for tests of recipes and examples."""
    return Path(__file__).parent.parent
