"""The job `train`: base model + samples + hyperparameters -> a model folder, resumable at any point.

Written to the run folder: `packed/` (tokens, mapped; a second start tokenizes nothing), `metrics.jsonl` (every
optimizer step and evaluation), `checkpoints/step-N` (recovery; removed at the end), `published/step-N` (as
`checkpoint_strategy` asks), `adapter/` (LoRA), `model/` (the result).
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from loglore import settings
from loglore.data.long_rows import Policy
from loglore.errors import InputError
from loglore.models.attention import register
from loglore.models.load import attach_adapter, load_model, load_tokenizer, quiet, save_model
from loglore.models.perplexity import general_text_perplexity
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec
from loglore.train import checkpoints, hyperparameters, plan
from loglore.train.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TrainSpec(Spec):
    """What to train on what.

    stage: `cpt` (corpus or nlplog rows) or `sft` (chat rows). model: base, a folder or a GGUF file. train, validation:
    files of rows. hyperparameters: the JSON file of the contract. max_tokens: of training rows read from the start of
    the file. long_rows: what happens to chat rows longer than `max_sequence_length` (`data.long_rows`). general_text:
    measure perplexity on general text before and after. price_per_gpu_hour: in dollars.
    """

    stage: Literal["cpt", "sft"]
    model: Path
    train: Path
    validation: Path | None = None
    hyperparameters: Path
    max_tokens: int | None = Field(None, ge=1)
    long_rows: Policy = "shorten_log"
    general_text: bool = True
    price_per_gpu_hour: float | None = Field(None, ge=0)


def run(spec: TrainSpec, context: RunFolder) -> dict[str, Any]:
    """Train, or go on from the newest recovery checkpoint in the run folder.

    Returns:
        outputs (`model`, and `adapter` for LoRA), steps, samples, tokens, seconds, hyperparameters with their outcomes,
        packing fill, first and last losses, perplexity before and after.
    """
    import torch

    requested = hyperparameters.load(spec.hyperparameters)
    gpu = torch.cuda.is_available()
    outcomes = hyperparameters.outcomes(requested, spec.stage, gpu, processes=1)
    threads = settings.load().threads
    if threads:
        torch.set_num_threads(threads)
    tokenizer = load_tokenizer(spec.model)
    packed = context.path / "packed"
    steps = plan.build(
        spec.stage, spec.train, spec.validation, tokenizer, requested, spec.max_tokens, spec.long_rows, packed
    )
    context.event("planned", steps=len(steps.steps), rows_per_step=steps.rows_per_step, tokens=steps.tokens())
    with quiet():
        model, before, after = _train(spec, requested, steps, tokenizer, context)
    outputs = _save(spec, requested, model, tokenizer, context)
    shutil.rmtree(context.path / "checkpoints", ignore_errors=True)
    rows = context.metrics()
    losses = [row["loss"] for row in rows if "loss" in row]
    evaluations = [row["eval_loss"] for row in rows if "eval_loss" in row]
    seconds = sum(row["seconds"] for row in rows if "seconds" in row)
    return {
        "outputs": outputs,
        "stage": spec.stage,
        "steps": len(steps.steps),
        "samples": steps.samples,
        "tokens": steps.tokens(),
        "counted_tokens": steps.counted_tokens(),
        "fill": steps.fill(requested.max_sequence_length),
        "long_rows": steps.steps.dataset.report["long_rows"],
        "seconds": seconds,
        "tokens_per_second": steps.tokens() / seconds if seconds else None,
        "loss": {"first": losses[0], "last": losses[-1]},
        "eval_loss": {"first": evaluations[0], "last": evaluations[-1]} if evaluations else None,
        "perplexity": {"before": before, "after": after} if spec.general_text else None,
        "cost": _cost(spec, seconds, torch.cuda.device_count()),
        "hyperparameters": [asdict(outcome) for outcome in outcomes],
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "threads": torch.get_num_threads(),
    }


def _train(
    spec: TrainSpec,
    requested: Hyperparameters,
    steps: plan.Plan,
    tokenizer: "PreTrainedTokenizerBase",
    context: RunFolder,
) -> tuple["PreTrainedModel", dict[str, Any] | None, dict[str, Any] | None]:
    """Run the optimizer steps that are still to do; returns the trained model and the two perplexities."""
    from transformers import set_seed

    from loglore.train.trainer import PackedTrainer

    folder = context.path / "checkpoints"
    checkpoints.remove_torn(folder)
    start = _starting_point(requested, folder)
    done = checkpoints.step_of(start) if start else 0
    context.rewind_metrics(done if start else -1)
    set_seed(requested.seed)
    model = _model(spec, requested)
    before = _perplexity(spec, model, tokenizer, context, "before")
    total = steps.tokens()
    finished = sum(steps.steps.tokens()[:done])
    with context.progress(f"train {spec.stage}", total, "tokens", finished) as tick:
        loop = PackedTrainer(model, steps, requested, context, tick)
        if not start and steps.evaluation and requested.eval_strategy != "no":
            loop.evaluate()
        loop.train(resume_from_checkpoint=str(start) if start else None)
    model.eval()
    return model, before, _perplexity(spec, model, tokenizer, context, "after")


def _starting_point(requested: Hyperparameters, folder: Path) -> Path | None:
    """The newest recovery checkpoint of this run, else the one that `resume_from_checkpoint` names."""
    own = checkpoints.complete(folder)
    if own:
        return own[-1]
    if isinstance(requested.resume_from_checkpoint, str):
        named = Path(requested.resume_from_checkpoint)
        if not (named / "trainer_state.json").is_file():
            raise InputError(f"`resume_from_checkpoint`: {named} holds no trainer_state.json; expected a step-N folder")
        return named
    return None


def _model(spec: TrainSpec, requested: Hyperparameters) -> "PreTrainedModel":
    """The base ready for training: in bf16 (the optimizer keeps fp32 masters, see `master`), else in fp32."""
    import torch

    dtype = "bfloat16" if requested.mixed_precision == "bf16" else "float32"
    flash = requested.flash_attention_v2 and torch.cuda.is_available()
    model = load_model(spec.model, dtype, "flash_attention_2" if flash else register())
    model.config.use_cache = False
    if requested.training_type == "full":
        return model
    from peft import LoraConfig, get_peft_model

    if not requested.disable_gradient_checkpointing:
        # The frozen embeddings need no gradient, and checkpointed blocks would then compute none for the adapters.
        model.enable_input_require_grads()
    config = LoraConfig(
        r=requested.lora_rank,
        lora_alpha=requested.lora_alpha,
        lora_dropout=requested.lora_dropout,
        target_modules=requested.target_modules,
        task_type="CAUSAL_LM",
    )
    # Adapters in the base's own dtype: PEFT would make them fp32 and copy every activation to fp32 and back.
    return get_peft_model(model, config, autocast_adapter_dtype=requested.mixed_precision == "fp16")


def _perplexity(
    spec: TrainSpec, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", context: RunFolder, when: str
) -> dict[str, Any] | None:
    """Perplexity on general text, kept in a file: a resumed run cannot measure `before` again."""
    import torch

    if not spec.general_text:
        return None
    kept = context.path / f"perplexity-{when}.json"
    if not kept.exists():
        model.eval()
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            files.write_json(kept, asdict(general_text_perplexity(model, tokenizer)))
    return dict(files.read_json(kept))


def _save(
    spec: TrainSpec,
    requested: Hyperparameters,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    context: RunFolder,
) -> dict[str, str]:
    """Write `model/` in bf16; LoRA also writes `adapter/`, and is merged in fp32 where `merge_adapter` says so."""
    import torch

    best = context.path / "best"
    outputs = {"model": "model"}
    if requested.training_type == "lora":
        outputs["adapter"] = "adapter"
        with files.replacing_folder(context.path / "adapter") as folder:
            if best.exists():
                shutil.copytree(best, folder, dirs_exist_ok=True)
            else:
                model.save_pretrained(folder)
            _sort_adapter_config(folder / "adapter_config.json")
        if not requested.merge_adapter:
            return {"adapter": "adapter"}
        model = attach_adapter(load_model(spec.model, "float32"), context.path / "adapter")
    elif best.exists():
        model = load_model(best, "float32")
    model.config.use_cache = True
    with files.replacing_folder(context.path / "model") as folder:
        save_model(model.to(torch.bfloat16), tokenizer, folder)
    return outputs


def _sort_adapter_config(path: Path) -> None:
    """Sort the target modules: PEFT writes them in the order of a set, another one in every process."""
    config = files.read_json(path)
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    files.write_json(path, config)


def _cost(spec: TrainSpec, seconds: float, gpus: int) -> dict[str, float] | None:
    """GPUs x hours x price; the published costs of the tutorial leave the number of GPUs out."""
    if spec.price_per_gpu_hour is None:
        return None
    hours = seconds / 3600
    return {"gpus": gpus, "hours": hours, "dollars": max(gpus, 1) * hours * spec.price_per_gpu_hour}
