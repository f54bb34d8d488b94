"""Tasks of the LM Evaluation Harness (Gao et al.), before and after training: what a model forgot beside general text.

The package is an extra (`loglore[harness]`). Its own tasks fetch their data from the Hugging Face hub; a folder of task
files (`harness_tasks`) with data on this machine needs no network. Models run in this process, in the dtype they are
tested in; an endpoint gives no likelihoods of given answers, which most tasks are made of.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loglore.errors import InputError


def measure(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    folder: Path | None,
    limit: int | None,
    batch_size: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Run harness tasks.

    Args:
        model: causal language model, adapters merged.
        tokenizer: its tokenizer.
        tasks: names of tasks.
        folder: task files of your own, beside those of the package.
        limit: at most so many samples a task; None for all.
        batch_size: samples read together.
        seed: of everything random in a task.

    Returns:
        by task: `samples`, and `metrics`: name (with its filter where that is not `none`) to `value` and `stderr` (None
        where the harness gives none).

    Raises:
        InputError: the package is not installed, or a task it does not know.
    """
    try:
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as fault:
        raise InputError(f"`harness`: {fault.name} is not installed; run: pip install 'loglore[harness]'") from None
    manager = TaskManager(include_path=str(folder) if folder else None)
    unknown = [name for name in tasks if name not in manager.all_tasks]
    if unknown:
        where = f" and none in {folder}" if folder else ""
        raise InputError(f"`harness`: {unknown[0]!r} is no task of the LM Evaluation Harness{where}")
    found = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
        tasks=list(tasks),
        task_manager=manager,
        limit=limit,
        bootstrap_iters=1000,
        log_samples=False,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    assert found is not None
    counted = found["n-samples"]
    return {
        name: {"samples": counted[name]["effective"] if name in counted else None, "metrics": _metrics(values)}
        for name, values in sorted(found["results"].items())
    }


def _metrics(values: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """`acc,none` and `acc_stderr,none` of the harness as one metric `acc`."""
    found: dict[str, dict[str, float | None]] = {}
    for key, value in values.items():
        name, _, chosen = key.partition(",")
        if name.endswith("_stderr") or not chosen or not isinstance(value, int | float):
            continue
        error = values.get(f"{name}_stderr,{chosen}")
        shown = name if chosen == "none" else f"{name} ({chosen})"
        found[shown] = {"value": float(value), "stderr": float(error) if isinstance(error, int | float) else None}
    return found
