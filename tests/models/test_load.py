import json
from pathlib import Path

import gguf
import pytest
import torch
from peft import LoraConfig, get_peft_model

from loglore.errors import InputError
from loglore.models.job import EMBEDDED, ImportSpec, embedded_gguf, run
from loglore.models.load import attach_adapter, load_model, load_tokenizer, save_model
from loglore.models.perplexity import general_text_perplexity, perplexity
from loglore.runs.folder import RunFolder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_have_the_dtype_that_was_asked_for(tiny_model: Path, tmp_path: Path, dtype: str) -> None:
    model = load_model(tiny_model, dtype)
    assert {weight.dtype for weight in model.parameters()} == {getattr(torch, dtype)}
    save_model(model, load_tokenizer(tiny_model), tmp_path / "saved")
    again = load_model(tmp_path / "saved", dtype)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert load_tokenizer(tmp_path / "saved").chat_template == load_tokenizer(tiny_model).chat_template


def test_merged_adapter_computes_what_the_adapter_did(tiny_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    tuned = get_peft_model(load_model(tiny_model), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    tuned.eval().save_pretrained(tmp_path / "adapter")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = tuned(ids).logits
        merged = attach_adapter(load_model(tiny_model), tmp_path / "adapter")(ids).logits
        untouched = load_model(tiny_model)(ids).logits
    assert torch.allclose(merged, expected, atol=1e-4)
    assert not torch.allclose(merged, untouched, atol=1e-2)


def test_places_without_a_model_are_named(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="no such GGUF file"):
        load_model(tmp_path / "m.gguf")
    with pytest.raises(InputError, match=r"no adapter_config\.json"):
        attach_adapter(load_model(tiny_model), tmp_path)


def test_perplexity_is_the_mean_loss_of_transformers_own(tiny_model: Path) -> None:
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    text = "The disk was full, and the service stopped. " * 200
    measured = perplexity(model, tokenizer, text, 1100, "test")
    ids = torch.tensor(tokenizer(text)["input_ids"][:1024]).view(2, 512)
    with torch.no_grad():
        expected = torch.exp(model(input_ids=ids, labels=ids).loss)
    assert measured.tokens == 2 * 511
    assert measured.perplexity == pytest.approx(float(expected), rel=1e-5)


def test_general_text_is_english_of_this_python(tiny_model: Path) -> None:
    measured = general_text_perplexity(load_model(tiny_model), load_tokenizer(tiny_model), tokens=1024)
    assert measured.source.startswith("pydoc_data.topics of Python 3.")
    assert 100 < measured.perplexity < 5000  # random weights over 512 tokens: near 512


def test_import_of_a_folder(tiny_model: Path, tmp_path: Path) -> None:
    result = run(ImportSpec(model=str(tiny_model), dtype="float32"), RunFolder(tmp_path, {}))
    imported = load_model(tmp_path / result["outputs"]["model"])
    assert torch.equal(imported.get_input_embeddings().weight, load_model(tiny_model).get_input_embeddings().weight)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, imported; a reader of its GGUF was built once for that."""
    assert embedded_gguf().suffix == ".gguf"
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patch:
        built = counted(patch)
        run(ImportSpec(model=EMBEDDED), RunFolder(folder, {}))
    assert built == [str(embedded_gguf())]
    return folder / "model"


def counted(patch: pytest.MonkeyPatch) -> list[str]:
    """Files that `gguf.GGUFReader` is built over from now on."""
    built: list[str] = []
    original = gguf.GGUFReader.__init__

    def noting(self: gguf.GGUFReader, path: str, *more: object) -> None:
        built.append(str(path))
        original(self, path, *more)

    patch.setattr(gguf.GGUFReader, "__init__", noting)
    return built


@pytest.mark.model
def test_embedded_model_is_imported_from_its_gguf_and_speaks_english(imported: Path) -> None:
    config = json.loads((imported / "config.json").read_text())
    assert config["model_type"] == "llama" and "quantization_config" not in config
    model, tokenizer = load_model(imported, "bfloat16"), load_tokenizer(imported)
    assert general_text_perplexity(model, tokenizer, tokens=1024).perplexity < 30
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], return_tensors="pt", add_generation_prompt=True
    )
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])


@pytest.mark.model
def test_embedded_tokenizer_splits_digits_as_the_model_was_trained(imported: Path) -> None:
    for place in (embedded_gguf(), imported):
        tokenizer = load_tokenizer(place)
        # By the definition of SmolLM's pre-tokenizer: every digit is a token of its own.
        for text in ("Jan  3", "pid 1702", "\t\t44", "port 40022"):
            tokens = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])
            assert [t for t in tokens if any(c.isdigit() for c in t)] == [c for c in text if c.isdigit()]
            assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
