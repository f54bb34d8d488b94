"""Fine-tuning on a CPU against TRL and LLaMA-Factory as a user would call them: useful tokens/s, loss, memory.

    python bench/bench_train.py --model FOLDER [--rows 48] [--training full|lora] [--rounds 2] [--checkpointing]
                                [--llamafactory VENV]

LLaMA-Factory's pins exclude ours: it is called in an environment of its own (`python -m venv VENV; VENV/bin/pip
install torch==2.13.0 llamafactory`), by `llamafactory-cli train`, its template `chatml` with SmolLM2's system message.

All train the same rows (questions and answers on log events, loss on answers only), the same samples a step, learning
rate, schedule and optimizer, each in a process of its own, in turn. Every round has a seed of its own (order of the
rows, first weights of an adapter): the order alone moves the loss of few steps, so losses are compared as means.
Peers get rows as prompt and completion and its own defaults (bf16 autocast over fp32 weights, padding; its default of
gradient checkpointing is kept with `--checkpointing` and turned off on both sides without it). "Useful" tokens are
those of the samples, padding left out. The loss of all models is measured alike at the end: transformers' own, one
row at a time, answers only, fp32.

The share of the peak: (6 for full, 4 for LoRA) FLOP a matrix parameter (output head counted, input embeddings not)
and useful token + causal attention (6 or 4 x layers x width x mean length), over the time, over the peak of a bf16
product of 2048 x 2048 matrices measured in the same process before.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BATCH = 4
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
RATE = {"full": 5e-5, "lora": 1e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder (loglore import)")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--training", choices=["full", "lora"], default="full")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--llamafactory", type=Path, help="environment that LLaMA-Factory is installed in")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(SIDES[asked.side](asked)))
        return
    print(f"{asked.rows} rows, {asked.training}, batch {BATCH}, checkpointing {asked.checkpointing}")
    print("| side | useful tokens/s | share of bf16 peak | last losses (mean of 3) | loss of the model | peak GB |")
    print("|---|---|---|---|---|---|")
    sides = [side for side in SIDES if side != "llamafactory" or asked.llamafactory]
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(asked.rounds):
            for side in sides:
                row = run_side(asked, side, number, Path(scratch) / f"{side}-{number}")
                found[side].append(row)
                shown = [
                    side, f"{row['tokens_per_second']:.0f}", f"{row['share']:.1%}", f"{row['last']:.4f}",
                    f"{row['loss']:.4f}", f"{row['peak_gb']:.2f}",
                ]  # fmt: skip
                print("| " + " | ".join(shown) + " |", flush=True)
    for peer in sides[1:]:
        pairs = list(zip(found["ours"], found[peer], strict=True))
        ratio = statistics.median(own["tokens_per_second"] / other["tokens_per_second"] for own, other in pairs)
        apart = [own["loss"] - other["loss"] for own, other in pairs]
        spread = f" (standard deviation {statistics.stdev(apart):.4f})" if len(apart) > 1 else ""
        print(f"ours to {peer}, median of rounds: {ratio:.2f}; loss of the model {statistics.mean(apart):+.4f}{spread}")


def run_side(asked: argparse.Namespace, side: str, seed: int, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--model", str(asked.model)]
    command += ["--seed", str(seed), "--rows", str(asked.rows), "--training", asked.training]
    command += ["--checkpointing"] if asked.checkpointing else []
    command += ["--llamafactory", str(asked.llamafactory)] if asked.llamafactory else []
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr[-2000:])
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def rows_of(count: int) -> list[dict[str, str]]:
    """Every n-th row of the example corpus: all kinds of questions and systems."""
    lines = (ROOT / "examples" / "nlplog.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines[:: len(lines) // count][:count]]


def ours(asked: argparse.Namespace) -> dict[str, Any]:
    from loglore.runs import files
    from loglore.runs.folder import RunFolder
    from loglore.runs.tuning import tune

    tune()
    from loglore.train.job import TrainSpec, run

    peak = matrix_peak()
    data, keys = asked.folder / "rows.jsonl", asked.folder / "h.json"
    files.write_jsonl(data, rows_of(asked.rows))
    files.write_json(
        keys,
        {
            "batch_size": BATCH, "gradient_accumulation_steps": 1, "epochs": 1, "learning_rate": RATE[asked.training],
            "lr_scheduler_type": "linear", "lr_warmup_ratio": 0.0, "weight_decay": 0.0, "max_sequence_length": 1024,
            "training_type": asked.training, "lora_dropout": 0.0, "eval_strategy": "no", "checkpoint_strategy": "no",
            "disable_gradient_checkpointing": not asked.checkpointing, "seed": asked.seed,
        },
    )  # fmt: skip
    spec = TrainSpec(stage="sft", model=asked.model, train=data, hyperparameters=keys, general_text=False)
    report = run(spec, RunFolder(asked.folder / "run", {}))
    losses = [row["loss"] for row in files.read_jsonl_log(asked.folder / "run" / "metrics.jsonl") if "loss" in row]
    found = {"tokens_per_second": report["tokens"] / report["seconds"], "last": sum(losses[-3:]) / 3}
    return measured(asked, asked.folder / "run" / "model", found, peak, report["tokens"])


def trl(asked: argparse.Namespace) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    peak = matrix_peak()
    rows = [
        {
            "prompt": [{"role": "user", "content": row["instruction"]}],
            "completion": [{"role": "assistant", "content": row["output"]}],
        }
        for row in rows_of(asked.rows)
    ]
    config = SFTConfig(
        output_dir=str(asked.folder / "trl"), per_device_train_batch_size=BATCH, learning_rate=RATE[asked.training],
        lr_scheduler_type="linear", num_train_epochs=1, max_length=1024, save_strategy="no", report_to="none",
        logging_steps=1, gradient_checkpointing=asked.checkpointing, use_cpu=True, disable_tqdm=True,
        seed=asked.seed,
    )  # fmt: skip
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    SFTTrainer._send_telemetry = lambda self: None
    trainer = SFTTrainer(
        model=str(asked.model), args=config, train_dataset=Dataset.from_list(rows),
        peft_config=adapter if asked.training == "lora" else None,
    )  # fmt: skip
    start = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - start
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    model = trainer.model.merge_and_unload() if asked.training == "lora" else trainer.model
    model.to(torch.bfloat16).save_pretrained(asked.folder / "model")
    AutoTokenizer.from_pretrained(asked.model).save_pretrained(asked.folder / "model")
    found = {"tokens_per_second": tokens / seconds, "last": sum(losses[-3:]) / 3}
    return measured(asked, asked.folder / "model", found, peak, tokens)


def llamafactory(asked: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoTokenizer

    peak = matrix_peak()
    rows, out = rows_of(asked.rows), asked.folder / "out"
    (asked.folder / "rows.json").write_text(json.dumps([{**row, "input": ""} for row in rows]))
    (asked.folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    settings = {
        "model_name_or_path": str(asked.model), "stage": "sft", "do_train": True, "template": "chatml",
        "default_system": SYSTEM,
        "dataset": "rows", "dataset_dir": str(asked.folder), "cutoff_len": 1024, "output_dir": str(out),
        "finetuning_type": asked.training, "per_device_train_batch_size": BATCH, "gradient_accumulation_steps": 1,
        "learning_rate": RATE[asked.training], "lr_scheduler_type": "linear", "num_train_epochs": 1, "bf16": True,
        "use_cpu": True, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "overwrite_cache": True,
        "disable_gradient_checkpointing": not asked.checkpointing, "seed": asked.seed,
        **({"lora_rank": 16, "lora_alpha": 32, "lora_target": "all"} if asked.training == "lora" else {}),
    }  # fmt: skip
    (asked.folder / "train.yaml").write_text(json.dumps(settings))
    command = [str(asked.llamafactory / "bin" / "llamafactory-cli"), "train", str(asked.folder / "train.yaml")]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "PYTHONPATH": ""})
    state = json.loads((out / "trainer_state.json").read_text())
    losses = [row["loss"] for row in state["log_history"] if "loss" in row]
    seconds = json.loads((out / "train_results.json").read_text())["train_runtime"]
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    turns = [[("user", row["instruction"]), ("assistant", row["output"])] for row in rows]
    chats = [[{"role": role, "content": text} for role, text in chat] for chat in turns]
    tokens = sum(len(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)) for chat in chats)
    found = {"tokens_per_second": tokens / seconds, "last": sum(losses[-3:]) / 3}
    found["peak_gb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    folder = out
    if asked.training == "lora":
        from loglore.models.load import attach_adapter, load_model, save_model

        folder = asked.folder / "model"
        save_model(attach_adapter(load_model(asked.model), out), tokenizer, folder)
    return measured(asked, folder, found, peak, tokens)


def measured(
    asked: argparse.Namespace, folder: Path, found: dict[str, float], peak: float, tokens: int
) -> dict[str, Any]:
    """Add the share of the peak, and the loss of the trained model on a third of the rows."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Before the model is loaded again: the peak of training and saving.
    found.setdefault("peak_gb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    config = model.config
    matrices = sum(w.numel() for name, w in model.named_parameters() if w.dim() == 2 and "embed_tokens" not in name)
    matrices += config.hidden_size * config.vocab_size if config.tie_word_embeddings else 0
    factor = 6 if asked.training == "full" else 4
    length = tokens / asked.rows
    flop = factor * (matrices + config.num_hidden_layers * config.hidden_size * length)
    total = count = 0.0
    for row in rows_of(asked.rows)[::3]:
        question = [{"role": "user", "content": row["instruction"]}]
        prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
        answer = tokenizer(row["output"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([before + answer])).logits[0, len(before) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(answer), reduction="sum")
        total, count = total + float(loss), count + len(answer)
    return {**found, "share": flop * found["tokens_per_second"] / peak, "loss": total / count}


def matrix_peak() -> float:
    """FLOP/s of a bf16 product of 2048 x 2048 matrices on all threads, the best of ten."""
    import torch

    a, b = (torch.randn(2048, 2048).bfloat16() for _ in range(2))
    best = math.inf
    for _ in range(10):
        start = time.monotonic()
        a @ b
        best = min(best, time.monotonic() - start)
    return 2 * 2048**3 / best


SIDES = {"ours": ours, "trl": trl, "llamafactory": llamafactory}

if __name__ == "__main__":
    main()
