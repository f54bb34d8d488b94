"""What a run tells: the card and curves of the model, lineage, forgetting, replay, trackers, shares and cost."""

import importlib.util
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support_tiny import TEXTS

from loglore.data import general_text
from loglore.data.files import read_rows
from loglore.data.packing import flatten
from loglore.data.render import Rendered
from loglore.errors import InputError
from loglore.models.load import load_model
from loglore.runs import files, fingerprint
from loglore.runs.folder import RunFolder
from loglore.train import card, forgetting, saving, throughput, trackers
from loglore.train.job import TrainSpec, run

BASE = {
    "batch_size": 2, "gradient_accumulation_steps": 1, "epochs": 1, "learning_rate": 5e-3, "max_sequence_length": 128,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no",
    "training_type": "lora",
}  # fmt: skip


def spec(folder: Path, model: Path, **changed: object) -> TrainSpec:
    keys, rows = folder / "h.json", folder / "rows.jsonl"
    keys.write_text(json.dumps(BASE))
    files.write_jsonl(rows, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    values = {"stage": "cpt", "model": model, "train": rows, "validation": rows, "hyperparameters": keys}
    return TrainSpec(**{"general_text": False, **values, **changed})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, dict, TrainSpec]:
    folder = tmp_path_factory.mktemp("done")
    installed = [name for name in ("tensorboard", "mlflow", "wandb") if importlib.util.find_spec(name)]
    asked = spec(folder, tiny_model, general_text=True, price_per_gpu_hour=3.0, report_to=installed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        return folder / "run", run(asked, RunFolder(folder / "run", {})), asked


def test_card_names_base_data_keys_and_versions(done: tuple[Path, dict, TrainSpec]) -> None:
    folder, report, asked = done
    text = (folder / "model" / "README.md").read_text()
    assert text == (folder / "adapter" / "README.md").read_text()
    for expected in (
        fingerprint.of_path(asked.model), fingerprint.of_path(asked.train), "| `learning_rate` | 0.005 | effective",
        f"- torch {torch.__version__}", f"{report['loss']['last']:.4f}", "perplexity, general text",
    ):  # fmt: skip
        assert expected in text
    head = (folder / "model" / "curves.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", head[16:24]) == (1100, 660)


def test_base_from_the_hub_goes_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    assert card.base_name(folder) == "1"
    files.write_json(folder / "model.json", {"name": "incidents", "version": 1})
    assert card.base_name(folder) == "incidents@1"


def test_lineage_goes_where_the_hub_takes_it_from(done: tuple[Path, dict, TrainSpec]) -> None:
    _, report, asked = done
    lineage = report["lineage"]
    assert lineage["datasets"]["train"]["sha256"] == fingerprint.of_path(asked.train)
    assert lineage["run"]["cost"] == report["cost"] and lineage["commit"] == card.commit()
    assert len(lineage["hyperparameters"]) == 40
    json.dumps(lineage)


def test_forgetting_is_in_the_report(done: tuple[Path, dict, TrainSpec]) -> None:
    _, report, _ = done
    for name in ("perplexity", "domain_perplexity"):
        assert report[name]["before"]["perplexity"] > 1 and report[name]["after"]["tokens"] > 0
    assert report["domain_perplexity"]["after"]["perplexity"] < report["domain_perplexity"]["before"]["perplexity"]
    assert report["domain_perplexity"]["after"]["source"] == "validation rows"


@pytest.mark.parametrize(("best", "loss"), [(True, 1.5), (False, 2.0)])
def test_perplexity_of_the_domain_is_that_of_the_published_weights(best: bool, loss: float) -> None:
    metrics = [{"step": 0, "eval_loss": 3.0}, {"step": 1, "loss": 9.0}, {"eval_loss": 1.5}, {"eval_loss": 2.0}]
    row = flatten([Rendered(np.arange(5, dtype=np.int32), np.array([False, False, True, True, True]))])
    found = forgetting.of_losses(metrics, [row], best)
    assert found["before"]["perplexity"] == pytest.approx(math.exp(3.0))
    assert found["after"] == {"perplexity": pytest.approx(math.exp(loss)), "tokens": 3, "source": "validation rows"}


def test_cost_is_of_busy_and_of_all_hours(done: tuple[Path, dict, TrainSpec]) -> None:
    _, report, _ = done
    cost = report["cost"]
    assert cost["dollars"] == pytest.approx(report["seconds"] / 3600 * 3.0)
    assert cost["wall_dollars"] == pytest.approx(report["wall_seconds"] / 3600 * 3.0)
    assert report["wall_seconds"] > report["seconds"]


def test_the_report_says_how_long_the_loop_waited_for_rows(done: tuple[Path, dict, TrainSpec]) -> None:
    folder, report, _ = done
    steps = [row for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row]
    waited = report["loader"]
    assert waited["rows"] >= len(steps) and waited["seconds"] > 0
    assert waited["share"] == pytest.approx(waited["seconds"] / sum(row["seconds"] for row in steps))


def test_every_step_has_its_shares(done: tuple[Path, dict, TrainSpec]) -> None:
    folder, report, _ = done
    rows = [row for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row]
    assert all(0 < row["fill"] <= 1 and row["memory_bytes"] > 1e6 and row["mfu"] >= 0 for row in rows)
    assert sum(row["tokens"] for row in rows) == report["tokens"]


def test_tensorboard_has_the_same_losses(done: tuple[Path, dict, TrainSpec]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _, _ = done
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    expected = [row["loss"] for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row]
    assert [event.value for event in found.Scalars("train/loss")] == pytest.approx(expected, rel=1e-6)


def test_mlflow_has_the_same_losses(done: tuple[Path, dict, TrainSpec]) -> None:
    mlflow = pytest.importorskip("mlflow")
    folder, _, _ = done
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    expected = [row["loss"] for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row]
    assert [one.value for one in client.get_metric_history(found.info.run_id, "loss")] == pytest.approx(expected)
    assert found.info.status == "FINISHED"


def test_wandb_wrote_a_run_for_later(done: tuple[Path, dict, TrainSpec]) -> None:
    pytest.importorskip("wandb")
    folder, report, _ = done
    (written,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    # Records of protobuf with JSON values: W&B has no public reader.
    content = written.read_bytes()
    losses = [row["loss"] for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row]
    assert len(losses) == report["steps"] and all(repr(loss).encode() in content for loss in losses)


def test_training_goes_on_without_a_tracker_that_fails(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.utils.tensorboard

    def broken(*_: object) -> None:
        raise OSError("no space for events")

    monkeypatch.setattr(torch.utils.tensorboard, "SummaryWriter", broken)
    context = RunFolder(tmp_path / "run", {})
    run(spec(tmp_path, tiny_model, report_to=["tensorboard"], validation=None), context)
    (row,) = [row for row in files.read_jsonl_log(context.path / "events.jsonl") if row["event"] == "tracking failed"]
    assert row["fault"] == "OSError: no space for events"


def test_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"`report_to`: wandb is not installed; run: pip install wandb"):
        trackers.check(["wandb"])


def test_replay_keeps_all_rows_and_adds_a_share_of_general_text(tmp_path: Path, tiny_model: Path) -> None:
    asked = spec(tmp_path, tiny_model, replay=0.3, validation=None)
    report = run(asked, RunFolder(tmp_path / "run", {}))
    mixed = [row["text"] for row in read_rows(tmp_path / "run" / "train-with-replay.jsonl")]
    own = [row["text"] for row in read_rows(asked.train)]
    assert sorted(text for text in mixed if text in own) == sorted(own)
    general = [text for text in mixed if text not in own]
    assert set(general) <= set(general_text.replayed())
    assert report["samples"] >= len(mixed) > len(own)
    with pytest.raises(InputError, match="`replay` mixes general text into pretraining"):
        run(asked.model_copy(update={"stage": "sft"}), RunFolder(tmp_path / "other", {}))


def test_gate_refuses_a_model_that_computes_something_else(tiny_model: Path) -> None:
    ids = torch.arange(3, 40)[None]
    model = load_model(tiny_model)
    expected = saving._logits(model, ids)
    assert saving.difference(expected, saving._logits(model, ids)) == 0
    with torch.no_grad():
        next(iter(model.parameters()))[5, 0] += 1.0
    assert saving.difference(expected, saving._logits(model, ids)) > saving.LARGEST_DIFFERENCE
    assert saving.difference(expected, expected * float("nan")) == float("inf")


def test_flop_a_token_by_hand(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128
    matrices = 2 * layer + 64 * 512
    # Two samples of 10 and 30 tokens: a token's sample has (100 + 900) / 40 = 25 on average.
    assert throughput.flop_per_token(model, True, [10, 30]) == 6 * (matrices + 2 * 64 * 25)
    assert throughput.flop_per_token(model, False, [10, 30]) == 4 * (matrices + 2 * 64 * 25)


def test_sparkline() -> None:
    assert throughput.sparkline([3.0, 2.0, 1.0]) == "█▅▁"
    assert throughput.sparkline([1.0]) == "▁" and throughput.sparkline([]) == ""
    assert len(throughput.sparkline([float(n) for n in range(100)])) == throughput.SHOWN
