import json
from pathlib import Path

import pytest

from loglore.jobs import plan, recipes


def test_plan_of_the_published_run(repository: Path) -> None:
    cpt, sft, test = plan.plan(recipes.load(repository / "recipes" / "llama-3.1-8b-cpt.yaml"))
    assert cpt.estimate is not None and sft.estimate is not None and test.estimate is None
    assert cpt.estimate["rows_per_step"] == 8 * 8 * 2
    assert cpt.estimate["steps"] == 106
    assert cpt.estimate["tokens"] == 111_000_000
    # Published: the GPUs were busy for about 32 minutes; 8 GPUs x hours x 2.31 dollars.
    assert cpt.estimate["seconds"] / 60 == pytest.approx(32, abs=1)
    assert cpt.estimate["dollars"] == pytest.approx(8 * cpt.estimate["seconds"] / 3600 * 2.31)
    assert sft.estimate["steps"] == pytest.approx(420, abs=4)
    assert sft.estimate["seconds"] == pytest.approx(2 * 3600 + 19 * 60 + 55, rel=0.01)
    assert "not on this machine" in cpt.basis


def test_zero3_divides_what_the_paper_says_among_the_gpus(repository: Path) -> None:
    cpt = plan.plan(recipes.load(repository / "recipes" / "llama-3.1-8b-cpt.yaml"))[0]
    assert cpt.estimate is not None
    memory = cpt.estimate["memory"]
    # ZeRO paper (Rajbhandari et al. 2020): 16 bytes a parameter in all, divided by 8; our gradients are fp32: 2 more.
    parts = memory["weights"] + memory["gradients"] + memory["optimizer"]
    assert parts == pytest.approx(18 * 8_030_261_248 / 8)
    assert memory["logits"] == 0  # Liger
    assert cpt.estimate["memory_per_gpu"] < 80 * 2**30


def test_shipped_hyperparameters_are_the_published_ones(repository: Path) -> None:
    cpt, sft = (
        json.loads((repository / "recipes" / "hyperparameters" / name).read_text())
        for name in ("cpt_llama-3.1-8b_8xh100.json", "sft_llama-3.1-8b_4xh100.json")
    )
    assert (cpt["learning_rate"], cpt["lr_scheduler_type"], cpt["zero_stage"], cpt["epochs"]) == (1e-5, "cosine", 3, 1)
    assert (sft["learning_rate"], sft["lr_scheduler_type"], sft["lora_rank"], sft["epochs"]) == (5e-5, "linear", 16, 3)
