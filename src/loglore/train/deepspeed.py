"""The configuration for DeepSpeed ZeRO 1, 2 and 3, from the hyperparameters; DeepSpeed itself is the Trainer's to run.

Everything is given in numbers (no `auto`), so that what a run used can be read in its folder. Keys as in DeepSpeed's
configuration reference (https://www.deepspeed.ai/docs/config-json/).
"""

from typing import Any

from loglore.train.hyperparameters import Hyperparameters

BUCKET = 200_000_000  # elements that are reduced or gathered at once: 0.4 GB in bf16


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
    return {
        "train_batch_size": batch * accumulation * processes,
        "train_micro_batch_size_per_gpu": batch,
        "gradient_accumulation_steps": accumulation,
        # 0 turns clipping off in DeepSpeed as it does here.
        "gradient_clipping": requested.max_grad_norm,
        "bf16": {"enabled": requested.mixed_precision == "bf16"},
        "fp16": {"enabled": requested.mixed_precision == "fp16"},
        "zero_optimization": zero,
        # The optimizer is torch's fused AdamW or SGD, as with one process.
        "zero_allow_untested_optimizer": True,
    }
