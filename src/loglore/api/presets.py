"""`/v1/studio/hyperparameters`: the 40 keys with types, ranges and defaults, and the published values to start from."""

from typing import Any

from fastapi import APIRouter

from loglore.api.answers import ERRORS
from loglore.train.hyperparameters import LORA_KEYS, PREFERENCE_KEYS, Hyperparameters

# What differs from the defaults; a test holds them against the files in `recipes/hyperparameters`.
_CPU = {
    "batch_size": 2,
    "gradient_accumulation_steps": 1,
    "disable_gradient_checkpointing": True,
    "flash_attention_v2": False,
    "liger_kernel": False,
    "checkpoint_strategy": "no",
    "eval_strategy": "steps",
    "logging_steps": 1,
}
PRESETS: dict[str, dict[str, Any]] = {
    "cpt_llama-3.1-8b_8xh100": {"distributed_backend": "deepspeed", "zero_stage": 3},
    "sft_llama-3.1-8b_4xh100": {
        "epochs": 3,
        "learning_rate": 5e-5,
        "lr_scheduler_type": "linear",
        "training_type": "lora",
    },
    "quickstart_cpt": {**_CPU, "learning_rate": 5e-5, "max_sequence_length": 1024, "eval_steps": 10},
    "quickstart_sft": {
        **_CPU,
        "learning_rate": 0.002,
        "lr_scheduler_type": "linear",
        "max_sequence_length": 2048,
        "training_type": "lora",
        "lora_dropout": 0.0,
        "eval_steps": 8,
    },
}


def router() -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/studio/hyperparameters", tags=["fine-tuning"], responses=ERRORS)

    @routes.get("")
    def read_hyperparameters() -> dict[str, Any]:
        """`schema`: a JSON schema of the keys; `presets`: by name; `only_for`: keys that one way of training has."""
        only_for = {"lora": list(LORA_KEYS), "dpo": list(PREFERENCE_KEYS)}
        schema = Hyperparameters.model_json_schema()
        return {"object": "studio.hyperparameters", "schema": schema, "presets": PRESETS, "only_for": only_for}

    return routes
