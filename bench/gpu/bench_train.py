"""Training on one GPU: full pretraining of a 1B-shaped model and LoRA of an 8B-shaped one, packed, against peers.

    python bench/gpu/bench_train.py                  # the whole table on a GPU
    python bench/gpu/bench_train.py --tiny           # the same code in seconds on a CPU, to see that it runs

Weights are random in the shapes of Llama-3.2-1B and Llama-3.1-8B, tokens are random, so nothing is downloaded. Peers
run in the same process on the same rows: `transformers.Trainer` on padded batches, and TRL's `SFTTrainer` with packing
where it is installed. "Useful" tokens are those of the samples, padding left out. Activations are kept, by all alike;
rows that say "checkpointing" compute them again, which costs half as much time once more in LoRA and a third in full
training, and is what is left where they do not fit.

MFU: FLOP = (6 for full, 4 for LoRA) x matrix parameters (input embeddings left out, output head counted) x tokens +
causal attention (6 or 4 x layers x width x tokens x mean context), over the time, over the dense bf16 peak: that of the
data sheet where the device is known; the one measured here (a product of large matrices) is printed, too.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Trainer, TrainingArguments

from loglore.data.packing import flatten
from loglore.data.render import Rendered
from loglore.models.attention import register
from loglore.runs.folder import RunFolder
from loglore.train import base
from loglore.train.hyperparameters import Hyperparameters, load
from loglore.train.loss import summed_loss, tensors
from loglore.train.plan import Plan
from loglore.train.trainer import PackedTrainer
from loglore.train.world import ALONE

# Dense bf16 TFLOP/s of the data sheets.
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0}


def _shape(width: int, inner: int, layers: int, heads: int, groups: int, vocabulary: int, tied: bool) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }


SHAPES = {
    "1B": _shape(2048, 8192, 16, 32, 8, 128256, tied=True),
    "8B": _shape(4096, 14336, 32, 32, 8, 128256, tied=False),
    "tiny": _shape(64, 128, 2, 4, 2, 512, tied=True),
}


@dataclass(frozen=True)
class Case:
    """What a trainer is given: a shape, how it is trained, tokens a row, rows a step; compute activations twice."""

    shape: str
    training_type: str
    length: int
    rows: int
    checkpointing: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--steps", type=int, default=8, help="timed optimizer steps, after 2 to warm up")
    parser.add_argument("--out", type=Path, help="write the rows as JSON lines here, too")
    parser.add_argument("--minutes", type=float, default=9.0, help="no row is begun after this long")
    asked = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not asked.tiny:
        sys.exit("no CUDA device; --tiny shows on a CPU that the code runs")
    cases = [Case("tiny", "full", 256, 2), Case("tiny", "lora", 256, 2), Case("tiny", "lora", 256, 2, True)]
    if not asked.tiny:
        # What the published figures are about first: device time may end before the table does.
        cases = [
            Case(shape, training, length, tokens // length)
            for length in (4096, 8192)
            for shape, training, tokens in (("8B", "lora", 16384), ("1B", "full", 32768))
        ]
        cases.append(Case("8B", "lora", 8192, 2, True))
    started = time.monotonic()
    peak = describe(device)
    print("\n| model | training | tokens a row | trainer | attention | useful tokens/s | MFU | peak GiB | loss |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = [(case, *trainer) for case in cases for trainer in trainers(device, case)]
    if _version("deepspeed"):
        # Last: what it sets up stays for the rest of the process.
        full = next(case for case in cases if case.training_type == "full")
        rows += [(full, f"LogLore, ZeRO {stage}", register(), partial(run_ours, stage=stage)) for stage in (1, 3)]
    for case, name, attention, runner in rows:
        if time.monotonic() - started > 60 * asked.minutes:
            sys.exit(f"{asked.minutes:g} minutes are over: {case} by {name} and what follows were not run")
        row = measure(case, name, attention, runner, device, peak, asked.steps)
        print("| " + " | ".join(str(value) for value in row.values()) + " |", flush=True)
        if asked.out:
            with asked.out.open("a") as stream:
                stream.write(json.dumps(row) + "\n")


def describe(device: str) -> float:
    """Print device and versions; returns the peak in FLOP/s that MFU is taken of."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    packages = ("torch", "transformers", "peft", "accelerate", "trl", "liger-kernel", "flash-attn", "bitsandbytes")
    print(f"device {name};", "; ".join(f"{package} {_version(package)}" for package in packages))
    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    seconds = _timed(lambda: [a @ b for _ in range(10)], device)
    measured = 20 * size**3 / seconds
    listed = next((value * 1e12 for key, value in PEAKS.items() if key in name), None)
    print(f"bf16 peak: measured {measured / 1e12:.0f} TFLOP/s, data sheet {listed and listed / 1e12}")
    print("packed rows leak between samples:", leak(device))
    return listed or measured


def leak(device: str) -> str:
    """Largest difference of a loss between samples packed into a row and samples alone, for each attention."""
    found = []
    rng = np.random.default_rng(0)
    samples = _samples(rng, [60, 33, 100], 512)
    for attention in _attentions(device):
        model = _model("tiny", attention, device)
        dtype = torch.bfloat16 if attention.startswith("flash") else torch.float32
        model.to(dtype)
        with torch.no_grad():
            whole = float(summed_loss(model, _to(tensors(flatten(samples)), device)))
            alone = sum(float(summed_loss(model, _to(tensors(flatten([one])), device))) for one in samples)
        found.append(f"{attention} {abs(whole - alone) / whole:.1e}")
    return ", ".join(found)


def trainers(device: str, case: Case) -> list[tuple[str, str, Callable[..., Any]]]:
    found: list[tuple[str, str, Callable[..., Any]]] = [
        ("LogLore", attention, run_ours) for attention in _attentions(device)
    ]
    if case.training_type == "lora" and device == "cuda" and _version("bitsandbytes"):
        found += [(f"LogLore, {bits} bit", found[0][1], partial(run_ours, bits=bits)) for bits in (4, 8)]
    found.append(("Trainer, padded", "sdpa", run_trainer))
    if _version("trl"):
        found.append(("TRL, packing", "flash_attention_2" if _version("flash-attn") else "sdpa", run_trl))
    return found


def measure(
    case: Case, name: str, attention: str, runner: Callable[..., Any], device: str, peak: float, steps: int
) -> dict[str, Any]:
    """Run `steps` + 2 optimizer steps; the first two are not timed."""
    rng = np.random.default_rng(1)
    vocabulary = int(SHAPES[case.shape]["vocab_size"])
    lengths = [_lengths(rng, case.length) for _ in range((steps + 2) * case.rows)]
    rows = [_samples(rng, each, vocabulary) for each in lengths]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    training = case.training_type + (", checkpointing" if case.checkpointing else "")
    row = {"model": case.shape, "training": training, "tokens a row": case.length, "trainer": name}
    row["attention"] = attention
    try:
        with tempfile.TemporaryDirectory() as folder:
            seconds, tokens, loss = runner(case, attention, rows, device, Path(folder))
    except torch.cuda.OutOfMemoryError:
        row.update({"useful tokens/s": "out of memory", "MFU": "", "peak GiB": "", "loss": ""})
    except Exception as fault:  # a peer that fails must not cost the rows after it: device time is short
        why = " ".join(f"{type(fault).__name__}: {fault}".split())[:120]
        row.update({"useful tokens/s": f"failed: {why}", "MFU": "", "peak GiB": "", "loss": ""})
    else:
        memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
        share = flops(case, float(np.mean([n for each in lengths for n in each]))) * tokens / seconds / peak
        row.update({"useful tokens/s": f"{tokens / seconds:,.0f}", "MFU": f"{share:.1%}"})
        row.update({"peak GiB": f"{memory:.1f}", "loss": f"{loss:.3f}"})
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    return row


def flops(case: Case, mean_length: float) -> float:
    """Training FLOP a token, by the convention above."""
    shape = SHAPES[case.shape]
    width, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    heads, groups = shape["num_attention_heads"], shape["num_key_value_heads"]
    matrices = layers * (2 * width * width + 2 * width * width * groups // heads + 3 * width * inner)
    matrices += width * shape["vocab_size"]
    factor = 6 if case.training_type == "full" else 4
    return factor * (matrices + layers * width * mean_length)


class InMemory:
    """Steps as `train.plan.Steps` has them, of rows that are there already."""

    def __init__(self, rows: list[list[Any]]) -> None:
        self.rows = rows
        samples = [np.diff(row.segments) for step in rows for row in step]
        self.dataset = SimpleNamespace(lengths=np.concatenate(samples))

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, step: int, place: int) -> Any:
        return self.rows[step][place]

    def tokens(self) -> list[int]:
        return [sum(len(row.ids) for row in step) for step in self.rows]


def run_ours(
    case: Case,
    attention: str,
    rows: list[list[Rendered]],
    device: str,
    folder: Path,
    bits: int | None = None,
    stage: int | None = None,
) -> tuple[float, int, float]:
    """`PackedTrainer`, one packed row a forward pass.

    `bits`: of the frozen weights, by bitsandbytes. `stage`: of DeepSpeed's ZeRO, which divides among one GPU here.
    """
    requested = _hyperparameters(case, **({"distributed_backend": "deepspeed", "zero_stage": stage} if stage else {}))
    packed = [flatten(samples) for samples in rows]
    steps = InMemory([packed[start : start + case.rows] for start in range(0, len(packed), case.rows)])
    model = _model(case.shape, attention, device) if bits is None else _quantized(case.shape, attention, folder, bits)
    if case.training_type == "lora":
        model = get_peft_model(model, base.lora_config(requested), autocast_adapter_dtype=False)
    if case.checkpointing:
        model.enable_input_require_grads()
    clock = _Clock(device)
    given = model, Plan(steps, [], 1), requested, RunFolder(folder, {}), lambda *_, **__: clock.step()
    if stage:
        from loglore.train.distributed import DistributedTrainer

        os.environ |= {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29511",
        }
        loop = DistributedTrainer(*given, ALONE)
    else:
        loop = PackedTrainer(*given)
    loop.train()
    losses = [row["loss"] for row in loop.context.metrics() if "loss" in row]
    return clock.seconds(), sum(steps.tokens()[2:]), losses[-1]


def run_trainer(
    case: Case, attention: str, rows: list[list[Rendered]], device: str, folder: Path
) -> tuple[float, int, float]:
    """`transformers.Trainer` as it comes: batches of two samples, padded to the longer one."""
    samples = [sample for row in rows for sample in row]
    per_step = max(1, round(len(samples) / (len(rows) // case.rows)))
    model = _model(case.shape, attention, device)
    if case.training_type == "lora":
        model = _lora(model)
    if case.checkpointing:
        model.enable_input_require_grads()
    data = [{"input_ids": sample.ids.tolist(), "labels": sample.ids.tolist()} for sample in samples]
    arguments = _arguments(case, folder, len(rows) // case.rows, device)
    arguments.update({"per_device_train_batch_size": 2, "gradient_accumulation_steps": max(1, per_step // 2)})
    clock = _Clock(device)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=data,
        data_collator=_padded,
        callbacks=[clock.callback()],
    )
    result = trainer.train()
    seen = int(
        np.mean([len(sample.ids) for sample in samples]) * 2 * max(1, per_step // 2) * (len(rows) // case.rows - 2)
    )
    return clock.seconds(), seen, float(result.training_loss)


def run_trl(
    case: Case, attention: str, rows: list[list[Rendered]], device: str, folder: Path
) -> tuple[float, int, float]:
    """TRL's `SFTTrainer` with packing (best fit decreasing) on the same samples."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model = _model(case.shape, attention, device)
    if case.training_type == "lora":
        model = _lora(model)
    arguments = _arguments(case, folder, len(rows) // case.rows, device)
    arguments.update({"per_device_train_batch_size": 1, "gradient_accumulation_steps": case.rows})
    config = SFTConfig(**arguments, packing=True, max_length=case.length)
    data = Dataset.from_list([{"input_ids": sample.ids.tolist()} for row in rows for sample in row])
    clock = _Clock(device)
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=data, processing_class=_tokenizer(case), callbacks=[clock.callback()]
    )
    result = trainer.train()
    return clock.seconds(), case.length * case.rows * (len(rows) // case.rows - 2), float(result.training_loss)


class _Clock:
    """Times optimizer steps after the second."""

    def __init__(self, device: str) -> None:
        self.device, self.marks = device, []

    def step(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.marks.append(time.monotonic())

    def seconds(self) -> float:
        return float(self.marks[-1] - self.marks[1])

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Timing(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.step()

        return Timing()


def _attentions(device: str) -> list[str]:
    return [register(), *(["flash_attention_2"] if device == "cuda" and _version("flash-attn") else [])]


def _hyperparameters(case: Case, **more: object) -> Hyperparameters:
    return load(
        {
            **more,
            "batch_size": 1, "gradient_accumulation_steps": case.rows, "epochs": 1, "learning_rate": 1e-5,
            "max_sequence_length": case.length, "training_type": case.training_type, "lora_rank": 16, "lora_alpha": 32,
            "mixed_precision": "bf16", "disable_gradient_checkpointing": not case.checkpointing, "eval_strategy": "no",
            "checkpoint_strategy": "no", "liger_kernel": liger_works(), "lora_dropout": 0.0,
        }
    )  # fmt: skip


def _arguments(case: Case, folder: Path, steps: int, device: str) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "learning_rate": 1e-5,
        "bf16": True,
        "use_cpu": device == "cpu",
        "gradient_checkpointing": case.checkpointing,
        "use_liger_kernel": liger_works(),
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def _model(shape: str, attention: str, device: str) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=16384, use_cache=False)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)
    return model.train()


def _quantized(shape: str, attention: str, folder: Path, bits: int) -> Any:
    """The model of `_model`, saved and loaded as a run loads it with `quantization_bit`."""
    _model(shape, attention, "cuda").save_pretrained(folder / "whole")
    asked = {"quantization_bit": bits, "training_type": "lora", "flash_attention_v2": attention.startswith("flash")}
    return base.bare(folder / "whole", load(asked), "bfloat16").train()


def _lora(model: Any) -> Any:
    """As a user of PEFT would have it, adapters in fp32."""
    return get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))


def _tokenizer(case: Case) -> Any:
    """TRL wants a tokenizer though the rows are token ids already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"t{number}": number for number in range(int(SHAPES[case.shape]["vocab_size"]))}
    plain = Tokenizer(models.WordLevel(words, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="t1", pad_token="t2")


def _lengths(rng: np.random.Generator, capacity: int) -> list[int]:
    """Sample lengths that fill one row, spread like question and answer rows: an eighth of it to half of it."""
    found: list[int] = []
    while capacity - sum(found) > 8:
        found.append(int(min(rng.integers(max(2, capacity // 8), capacity // 2), capacity - sum(found))))
    return found


def _samples(rng: np.random.Generator, lengths: list[int], vocabulary: int) -> list[Rendered]:
    ids = [rng.integers(3, vocabulary, n).astype(np.int32) for n in lengths]
    return [Rendered(each, np.ones(len(each), dtype=np.bool_)) for each in ids]


def _padded(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in batch)
    pads = [width - len(row["input_ids"]) for row in batch]
    return {
        "input_ids": torch.tensor([row["input_ids"] + [0] * pad for row, pad in zip(batch, pads, strict=True)]),
        "attention_mask": torch.tensor([[1] * (width - pad) + [0] * pad for pad in pads]),
        "labels": torch.tensor([row["labels"] + [-100] * pad for row, pad in zip(batch, pads, strict=True)]),
    }


def _to(row: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    return {name: value.to(device) for name, value in row.items()}


def _timed(work: Callable[[], Any], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.monotonic()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - start


@cache
def liger_works() -> bool:
    """Whether Liger's kernels can be compiled and run here: else every row would fail by them."""
    if not torch.cuda.is_available() or _version("liger-kernel") is None:
        return False
    try:
        from liger_kernel.transformers.rms_norm import LigerRMSNorm

        layer = LigerRMSNorm(64).to("cuda", torch.bfloat16)
        layer(torch.randn(4, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)).sum().backward()
        torch.cuda.synchronize()
    except Exception as fault:  # whatever a missing compiler or another Triton says
        print("Liger does not run:", " ".join(str(fault).split())[:200])
        return False
    return True


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
