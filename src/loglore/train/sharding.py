"""FSDP2: weights, gradients and optimizer state divided among the processes (`torch.distributed.fsdp.fully_shard`).

Applied by ourselves, one group a decoder layer and one for the rest: the Trainer's own option builds DDP on a CPU
without a word. With bf16 each layer is gathered in bf16, and gradients are summed in fp32. What is trained is fp32 in
its shard, rounded by chance to values of bf16 by the optimizer (`master`), whose masters are shards as well: gathering
rounds nothing, and the model that computes is the one that a single process would have. What is frozen stays bf16. A
checkpoint is one file a process with its shards and their optimizer state, read `weights_only`; with another number of
processes each takes its rows of a weight out of the files of those that had them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from loglore.errors import InputError, JobError
from loglore.train.shards import local, rows_before
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
    """Take over what `save_shards` wrote, in this or another number of processes.

    Raises:
        InputError: parts are missing.
    """
    paths = _parts(folder, world)
    # Mapped where there are several: only the rows that are needed here are read, and copied.
    saved = [torch.load(path, weights_only=True, mmap=len(paths) > 1) for path in paths]
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name in saved[0]["weights"]:
            local(weights[name]).copy_(_own([each["weights"][name] for each in saved], weights[name]))
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    state = {key: _as_weight([each["state"][key] for each in saved], trained[key]) for key in saved[0]["state"]}
    others = dict(saved[0]["others"])
    if "masters" in others:
        columns = zip(*(each["others"]["masters"] for each in saved), strict=True)
        others["masters"] = [_own(parts, weight) for parts, weight in zip(columns, trained, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": saved[0]["groups"], **others})


def _parts(folder: Path, world: World) -> list[Path]:
    """This process's file where there were as many; else those of all, in order."""
    own = shard_file(folder, world)
    if own.is_file():
        return [own]
    there = sorted(folder.glob("shard-*.pt"))
    sizes = [int(match[1]) for path in there if (match := re.search(r"-of-(\d+)\.pt$", path.name))]
    found = [shard_file(folder, World(rank, sizes[0])) for rank in range(sizes[0])] if sizes else []
    missing = [path.name for path in found if not path.is_file()] or ([] if found else [own.name])
    if missing:
        raise InputError(f"{folder}: no {missing[0]}; it holds {', '.join(path.name for path in there) or 'no shards'}")
    return found


def _own(parts: Sequence[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    """This process's rows of what lies in `parts` as `weight` does."""
    if len(parts) == 1:
        return parts[0]
    first = rows_before(weight)
    return rows_of(parts, first, first + len(local(weight)))


def rows_of(parts: Sequence[torch.Tensor], first: int, end: int) -> torch.Tensor:
    """Rows `first` to `end` (exclusive) of tensors that stand one below the other: of [0 1 2] [3 4], 2 to 4: [2 3]."""
    found, start = [], 0
    for part in parts:
        found.append(part[max(first - start, 0) : max(end - start, 0)])
        start += len(part)
    return torch.cat(found)


def _as_weight(parts: Sequence[dict[str, Any]], weight: torch.Tensor) -> dict[str, Any]:
    """Optimizer state as shards of `weight`'s layout; scalars such as AdamW's step stay as they are."""
    return {name: _as_shard([part[name] for part in parts], weight) for name in parts[0]}


def _as_shard(parts: Sequence[Any], weight: torch.Tensor) -> Any:
    if not isinstance(parts[0], torch.Tensor):
        return parts[0]
    if not parts[0].dim():
        return parts[0].clone()
    own = _own(parts, weight)
    if not isinstance(weight, DTensor):
        return own
    return DTensor.from_local(own, weight.device_mesh, weight.placements, shape=weight.shape, stride=weight.stride())
