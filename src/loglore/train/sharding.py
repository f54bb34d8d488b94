"""FSDP2: weights, gradients and optimizer state divided among the processes (`torch.distributed.fsdp.fully_shard`).

Applied by ourselves, one group a decoder layer and one for the rest: the Trainer's own option builds DDP on a CPU
without a word. With bf16 each layer is gathered in bf16, and gradients are summed in fp32. What is trained is fp32 in
its shard, rounded by chance to values of bf16 by the optimizer (`master`), whose masters are shards as well: gathering
rounds nothing, and the model that computes is the one that a single process would have. What is frozen stays bf16. A
checkpoint is one file a process with its shards and their optimizer state, read `weights_only`; so a run goes on with
as many processes as it had.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from loglore.errors import InputError, JobError
from loglore.train.shards import local
from loglore.train.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def shard(model: "PreTrainedModel", bf16: bool, gpu: bool) -> None:
    """Divide the weights of `model` among the processes, in place; every process has the same model before.

    Args:
        model: on the CPU or this process's GPU.
        bf16: compute in bf16, the weights of `model` being bf16.
        gpu: move the shards to this process's GPU.
    """
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy()
    for weight in model.parameters() if bf16 else ():
        if weight.requires_grad:
            # The dtype of a shard is that in which its gradient is kept.
            weight.data = weight.data.float()
    if gpu:
        model.to("cuda")
    for part in (*_layers(model), model):
        # The outermost part, too: an evaluation before training would leave it gathered, and the optimizer would take
        # the gathered copies for the weights.
        divided = fully_shard(part, mp_policy=policy, reshard_after_forward=True)
        # Gloo cannot average: sum, then divide.
        divided.set_force_sum_reduction_for_comms(not gpu)


def _layers(model: "PreTrainedModel") -> list[torch.nn.Module]:
    """Decoder layers: the modules of the longest `ModuleList` (every decoder of transformers has one)."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return list(max(lists, key=len, default=[]))


def share(model: torch.nn.Module) -> dict[str, int]:
    """`parameters` in all, and how many of them lie `here`.

    Raises:
        JobError: the weights are not divided at all.
    """
    weights = list(model.parameters())
    if not all(isinstance(weight, DTensor) for weight in weights):
        raise JobError("FSDP left weights undivided: every process holds all of them")
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "here": sum(local(weight).numel() for weight in weights),
    }


def whole_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All weights on the leading process's CPU; empty elsewhere. Every process must call it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    found: dict[str, Any] = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    return found


def shard_file(folder: Path, world: World) -> Path:
    """Where this process's shards are in a checkpoint."""
    return folder / f"shard-{world.rank}-of-{world.size}.pt"


def save_shards(model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path, world: World) -> None:
    """Write this process's weights and optimizer state."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: local(value) for name, value in model.named_parameters() if value.requires_grad}
    state = optimizer.state_dict()
    own = {key: {name: local(value) for name, value in parts.items()} for key, parts in state["state"].items()}
    others = {key: value for key, value in state.items() if key not in ("state", "param_groups")}
    saved = {"weights": weights, "state": own, "groups": state["param_groups"], "others": others}
    torch.save(saved, shard_file(folder, world))


def load_shards(model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path, world: World) -> None:
    """Take over what `save_shards` wrote.

    Raises:
        InputError: the checkpoint is of another number of processes.
    """
    path = shard_file(folder, world)
    if not path.is_file():
        have = sorted(file.name for file in folder.glob("shard-*.pt"))
        raise InputError(
            f"{folder}: no {path.name}; it holds {', '.join(have[:2]) or 'no shards'}: a sharded run goes on with as "
            "many processes as it had"
        )
    saved = torch.load(path, weights_only=True)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in saved["weights"].items():
            local(weights[name]).copy_(value)
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    state = {key: _as_weight(parts, trained[key]) for key, parts in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": saved["groups"], **saved["others"]})


def _as_weight(parts: dict[str, Any], weight: torch.Tensor) -> dict[str, Any]:
    """Optimizer state as shards of `weight`'s layout; scalars such as AdamW's step stay as they are."""
    if not isinstance(weight, DTensor):
        return parts
    mesh, placements = weight.device_mesh, weight.placements
    return {
        name: DTensor.from_local(value, mesh, placements, shape=weight.shape, stride=weight.stride())
        if isinstance(value, torch.Tensor) and value.dim()
        else value
        for name, value in parts.items()
    }
