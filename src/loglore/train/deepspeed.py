"""DeepSpeed ZeRO 1, 2 and 3: its configuration, from the hyperparameters, and its masters when a model is gathered.

DeepSpeed itself is the Trainer's to run. Everything is given in numbers (no `auto`), so that what a run used can be
read in its folder. Keys as in DeepSpeed's configuration reference (https://www.deepspeed.ai/docs/config-json/). With
bf16 it has fp32 masters as our own optimizer has, but rounds them to nearest into the model that computes, and would
save that model: updates below half of a step of bf16's grid would be lost.
"""

from importlib.util import find_spec
from typing import Any

from loglore.errors import InputError
from loglore.train.hyperparameters import Hyperparameters

BUCKET = 200_000_000  # elements that are reduced or gathered at once: 0.4 GB in bf16


def check(requested: Hyperparameters, processes: int) -> None:
    """Whether DeepSpeed is here where it is needed, before anything starts.

    Raises:
        InputError: it is not installed.
    """
    if requested.distributed_backend == "deepspeed" and processes > 1 and find_spec("deepspeed") is None:
        raise InputError(
            "`distributed_backend`: deepspeed is not installed; install the extra `deepspeed`, or use fsdp, which "
            "divides what ZeRO 3 divides"
        )


def configuration(
    requested: Hyperparameters, batch: int, accumulation: int, processes: int, hidden_size: int
) -> dict[str, Any]:
    """DeepSpeed's configuration.

    Args:
        requested: `zero_stage`, precision and clipping are taken from it.
        batch: rows of a forward pass: one packed row, or that many preference pairs.
        accumulation: forward passes a step on one process.
        processes: in all.
        hidden_size: of the model; ZeRO 3 fetches about ten layers' matrices of it ahead.
    """
    zero: dict[str, Any] = {
        "stage": requested.zero_stage,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": BUCKET,
    }
    if requested.zero_stage < 3:
        zero |= {"reduce_scatter": True, "allgather_partitions": True, "allgather_bucket_size": BUCKET}
    else:
        zero |= {
            "stage3_prefetch_bucket_size": int(0.9 * hidden_size * hidden_size),
            "stage3_param_persistence_threshold": 10 * hidden_size,
            # Or the saved model would be empty: each process has a part of it alone.
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    bf16 = requested.mixed_precision == "bf16"
    # Without it gradients would be added up and summed over the processes in bf16.
    wide = {"data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"} if bf16 else {}
    return {
        "train_batch_size": batch * accumulation * processes,
        "train_micro_batch_size_per_gpu": batch,
        "gradient_accumulation_steps": accumulation,
        # 0 turns clipping off in DeepSpeed as it does here.
        "gradient_clipping": requested.max_grad_norm,
        "bf16": {"enabled": bf16},
        "fp16": {"enabled": requested.mixed_precision == "fp16"},
        "zero_optimization": zero,
        # The optimizer is torch's fused AdamW or SGD, as with one process.
        "zero_allow_untested_optimizer": True,
        **wide,
    }


def put_masters(model: Any, state: dict[str, Any]) -> None:
    """Replace trained weights in a gathered state by their masters; bf16 ones are rounded by chance.

    Every process must call it.

    Args:
        model: whose weights DeepSpeed has taken over.
        state: weights by name, on the process that saves them; empty elsewhere.
    """
    import torch
    from deepspeed.utils import safe_get_full_fp32_param

    from loglore.train.rounding import Noise, round_into, start

    names: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    noise: Noise | None = None
    for number, weight in enumerate(model.parameters()):
        if not weight.requires_grad:
            continue
        master = safe_get_full_fp32_param(weight)
        if not state:
            continue
        if weight.dtype == torch.bfloat16:
            noise = noise or Noise(master.device)
            target = torch.empty_like(master, dtype=torch.bfloat16)
            round_into(target, master.contiguous(), noise, start(number))
            master = target
        state.update(dict.fromkeys(names[id(weight)], master.cpu()))
