"""What a stage has to do, in one shape for all three: its plan, its model and its loop.

`cpt` and `sft` read packed rows with `PackedTrainer` (`DistributedTrainer` in several processes), `dpo` reads pairs
with TRL's trainers (`preference`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.data.files import placed_rows
from loglore.data.formats import to_corpus
from loglore.data.mix import Part, mix
from loglore.data.packing import PackedRow
from loglore.errors import InputError, JobError
from loglore.models.load import Trust
from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.train import base, forgetting
from loglore.train import plan as plans
from loglore.train.hyperparameters import WITH_REFERENCE, Hyperparameters
from loglore.train.pairs import Pair, read_pairs
from loglore.train.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from loglore.train.job import TrainSpec


@dataclass(frozen=True)
class PackedWork:
    """Pretraining or fine-tuning. facts: what the report says about the rows."""

    stage: str
    plan: plans.Plan
    facts: dict[str, Any]

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return len(self.plan.steps)

    @property
    def rows_per_step(self) -> int:
        """The most packed rows of any step, over all processes."""
        return self.plan.rows_per_step

    @property
    def tokens(self) -> int:
        """Tokens read in all steps."""
        return self.plan.tokens()

    @property
    def longest_row(self) -> int:
        """Tokens of the longest packed row."""
        lengths = self.plan.steps.dataset.lengths
        return max(int(lengths[samples].sum()) for rows in self.plan.steps.rows for samples in rows)

    @property
    def longest(self) -> int:
        """Tokens of the longest sample."""
        return int(self.plan.steps.dataset.lengths.max())

    @property
    def evaluates(self) -> bool:
        """Whether there are evaluation rows."""
        return bool(self.plan.evaluation)

    def tokens_until(self, step: int) -> float:
        """Tokens of the first `step` steps."""
        return sum(self.plan.steps.tokens()[:step])

    def domain(self) -> tuple[Sequence[PackedRow], str]:
        """Rows of the domain, and which they are."""
        if self.plan.evaluation:
            return self.plan.evaluation, "validation rows"
        return self.plan.steps.dataset, "training rows"

    def model(self, path: Path, requested: Hyperparameters, world: World, trust: Trust) -> "PreTrainedModel":
        """The base made ready."""
        return base.prepared(path, requested, base.weights_dtype(self.stage, requested), trust)

    def loop(
        self,
        model: "PreTrainedModel",
        requested: Hyperparameters,
        tokenizer: "PreTrainedTokenizerBase",
        context: RunFolder,
        tick: Tick,
        world: World,
    ) -> Any:
        """The Trainer of this process."""
        if world.size == 1:
            from loglore.train.trainer import PackedTrainer

            return PackedTrainer(model, self.plan, requested, context, tick)
        from loglore.train.distributed import DistributedTrainer

        return DistributedTrainer(model, self.plan, requested, context, tick, world)

    def trained(
        self, loop: Any, path: Path, requested: Hyperparameters, world: World, trust: Trust
    ) -> "PreTrainedModel":
        """The whole trained model on the leading process; what is divided is gathered (all must call it)."""
        state = loop.gathered() if world.size > 1 else None
        _load_whole_models(requested)
        if state is None or not world.leads:
            return loop.model
        return _filled(base.prepared(path, requested, base.weights_dtype(self.stage, requested), trust), state)


@dataclass(frozen=True)
class PairWork:
    """Preference training."""

    pairs: Sequence[Pair]
    evaluation: Sequence[Pair]
    per_epoch: int
    requested: Hyperparameters
    facts: dict[str, Any]

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.per_epoch * self.requested.epochs

    @property
    def rows_per_step(self) -> int:
        """Pairs a step on one process."""
        return self.requested.samples_per_step

    @property
    def tokens(self) -> int:
        """Tokens read in all steps; padding is not counted."""
        return sum(pair.tokens for pair in self.pairs) * self.requested.epochs

    @property
    def longest_row(self) -> int:
        """Tokens of the largest padded batch: both answers of each of its pairs, as long as the longest."""
        return 2 * self.requested.batch_size * self.longest

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with an answer."""
        return max(len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in self.pairs)

    @property
    def evaluates(self) -> bool:
        """Whether there are evaluation pairs."""
        return bool(self.evaluation)

    def tokens_until(self, step: int) -> float:
        """Tokens of the first `step` steps, on average."""
        return self.tokens * step / self.steps

    def domain(self) -> tuple[Sequence[PackedRow], str]:
        """Chosen answers, and of which rows."""
        if self.evaluation:
            return forgetting.of_pairs(self.evaluation), "chosen answers of validation rows"
        return forgetting.of_pairs(self.pairs), "chosen answers of training rows"

    def model(self, path: Path, requested: Hyperparameters, world: World, trust: Trust) -> "PreTrainedModel":
        """The base made ready; against a reference TRL attaches the adapter, so that the bare base stays at hand."""
        from loglore.train.preference import without_dropout

        make = base.bare if requested.pref_loss in WITH_REFERENCE else base.prepared
        model = make(path, requested, "float32", trust, True)
        if requested.training_type == "full" or requested.pref_loss in WITH_REFERENCE:
            without_dropout(model)
        return model

    def loop(
        self,
        model: "PreTrainedModel",
        requested: Hyperparameters,
        tokenizer: "PreTrainedTokenizerBase",
        context: RunFolder,
        tick: Tick,
        world: World,
    ) -> Any:
        """TRL's trainer of this process."""
        from loglore.train import preference

        return preference.build(model, tokenizer, self, requested, context, tick, world)

    def trained(
        self, loop: Any, path: Path, requested: Hyperparameters, world: World, trust: Trust
    ) -> "PreTrainedModel":
        """The whole trained model on the leading process; what is divided is gathered (all must call it)."""
        state = loop.gathered()
        _load_whole_models(requested)
        if state is None or not world.leads:
            return loop.model
        return _filled(base.prepared(path, requested, "float32", trust, True), state)


def _load_whole_models(requested: Hyperparameters) -> None:
    """Under ZeRO 3 transformers divides what it loads among the processes; the others no longer take part."""
    if requested.distributed_backend == "deepspeed":
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        unset_hf_deepspeed_config()


def _filled(model: "PreTrainedModel", state: dict[str, Any]) -> "PreTrainedModel":
    """A model with the gathered weights of a run.

    Raises:
        JobError: the state is of another model.
    """
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    left, unknown = model.load_state_dict(state, strict=False)
    if unknown or trained & set(left):
        raise JobError(f"weights could not be gathered: {[*unknown, *sorted(trained & set(left))][:3]}")
    return model


Work = PackedWork | PairWork


def plan(
    spec: "TrainSpec",
    requested: Hyperparameters,
    tokenizer: "PreTrainedTokenizerBase",
    context: RunFolder,
    processes: int,
) -> Work:
    """Read the rows and plan every step.

    Raises:
        InputError: rows that are damaged, of another format or too long; no token that counts for the loss.
    """
    if spec.stage == "dpo":
        return _pairs(spec, requested, tokenizer, processes)
    rows = rows_of(spec, requested, context)
    found = plans.build(
        spec.stage, rows, spec.validation, tokenizer, requested, spec.max_tokens, spec.long_rows,
        context.path / "packed", processes,
    )  # fmt: skip
    if not found.counted_tokens():
        raise InputError(f"{spec.train}: no token counts for the loss: nothing would be trained")
    facts = {
        "samples": found.samples,
        "counted_tokens": found.counted_tokens(),
        "fill": found.fill(requested.max_sequence_length),
        "long_rows": found.steps.dataset.report["long_rows"],
    }
    return PackedWork(spec.stage, found, facts)


def rows_of(spec: "TrainSpec", requested: Hyperparameters, context: RunFolder) -> Path:
    """The file of training rows, with general text among them where the spec asks for it."""
    return _with_replay(spec, requested, context) if spec.replay else spec.train


def _with_replay(spec: "TrainSpec", requested: Hyperparameters, context: RunFolder) -> Path:
    """All training rows with general text among them, `replay` of all characters; written once, by one process."""
    if spec.stage != "cpt":
        raise InputError("`replay` mixes general text into pretraining; for chat rows use `loglore data mix`")
    place = context.path / "train-with-replay.jsonl"
    if not place.exists():
        characters = sum(len(to_corpus(row)) for _, row in placed_rows(spec.train))
        total = round(characters / (1 - spec.replay))
        mix([Part(str(spec.train), 1.0)], place, requested.seed, total, spec.replay)
    return place


def _pairs(
    spec: "TrainSpec", requested: Hyperparameters, tokenizer: "PreTrainedTokenizerBase", processes: int
) -> PairWork:
    limit = requested.max_sequence_length
    pairs = read_pairs(spec.train, tokenizer, limit)
    if spec.max_tokens:
        total = 0
        kept: list[Pair] = []
        for pair in pairs:
            total += pair.tokens
            if kept and total > spec.max_tokens:
                break
            kept.append(pair)
        pairs = kept
    evaluation = read_pairs(spec.validation, tokenizer, limit) if spec.validation else []
    per_epoch = -(-len(pairs) // (requested.samples_per_step * processes))
    counted = sum(len(pair.chosen) + len(pair.rejected) for pair in pairs) * requested.epochs
    return PairWork(pairs, evaluation, per_epoch, requested, {"samples": len(pairs), "counted_tokens": counted})
