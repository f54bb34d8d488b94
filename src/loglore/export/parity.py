"""The parity gate: does llama.cpp compute from the GGUF file what transformers computes from the folder it came from?

Three comparisons, on short log texts with what trips tokenizers (runs of blanks before digits, tabs, addresses,
Japanese, emoji):

    token ids   of every text, and of prompts made by the chat template: equal, or the model reads other text there
    perplexity  of the texts: GGUF and HF differ by a factor of `MAX_RATIO` at most
    next token  the likeliest one agrees wherever HF's lead over the runner-up is at least `DECIDED_NATS`; closer calls
                fall either way on rounding alone and only enter the plain agreement that is reported

HF computes in float32. llama.cpp keeps keys and values in f16 and quantizes activations, so equality is not expected.
"""

import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.errors import JobError
from loglore.export.tool import run_module
from loglore.runs.progress import track

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_RATIO = 1.02
DECIDED_NATS = 0.5
MIN_DECIDED_AGREEMENT = 0.98

TEXTS = (
    "Jan  3 04:07:09 web-1 sshd[812]: Failed password for invalid user admin from 127.0.0.1 port 40022 ssh2\n"
    "Jan  3 04:07:11 web-1 sshd[812]: error: maximum authentication attempts exceeded for invalid user admin",
    "2026/11/22 10:11:12 [error] 77#77: *1 connect() failed (111: Connection refused) while connecting to upstream, "
    'client: 127.0.0.1, request: "GET /cart HTTP/1.1", upstream: "http://127.0.0.1:9001/cart"',
    "2026-11-22 10:11:12.345 UTC [4242] FATAL:  could not write to file: No space left on device\n"
    "\tat 0x7ffde3a0  12\t\t44",
    "03-17 16:13:38.811  1702  2395 D WindowManager: windows:    0, bytes:   4096",
    "11月22日 10:11:12 ディスクの空き容量がありません。再起動しました 🚀",
    "The service could not reach its database because the disk was full. Free space on the volume, then restart it.",
)
CONVERSATIONS = (
    ({"role": "user", "content": "What failed?\n\nLog content:\nJan  3 disk full"},),
    (
        {"role": "system", "content": "You read logs."},
        {"role": "user", "content": "What failed?"},
        {"role": "assistant", "content": "The disk."},
        {"role": "user", "content": "いつ?  12"},
    ),
)


@dataclass(frozen=True)
class Parity:
    """What the gate found. Counts are positions or texts; perplexities are over all positions of all texts."""

    texts: int
    texts_with_other_ids: int
    prompts: int
    prompts_with_other_ids: int
    positions: int
    agreement: float
    decided: int
    decided_agreement: float
    perplexity_hf: float
    perplexity_gguf: float
    mean_difference_nats: float

    @property
    def ratio(self) -> float:
        """Perplexity of the GGUF over perplexity of the HF model; 1 is equal."""
        return self.perplexity_gguf / self.perplexity_hf

    def fault(self) -> str | None:
        """Why the gate is shut, in one clause, or None when it is open."""
        if self.texts_with_other_ids:
            return f"{self.texts_with_other_ids} of {self.texts} log texts become other token ids in llama.cpp"
        if self.prompts_with_other_ids:
            return f"{self.prompts_with_other_ids} of {self.prompts} chat prompts become other token ids in llama.cpp"
        if not 1 / MAX_RATIO <= self.ratio <= MAX_RATIO:
            return f"perplexity {self.perplexity_gguf:.4g} against {self.perplexity_hf:.4g}, a factor over {MAX_RATIO}"
        if self.decided_agreement < MIN_DECIDED_AGREEMENT:
            share = f"{self.decided_agreement:.1%} of clear positions"
            return f"the next token agrees at {share}, under {MIN_DECIDED_AGREEMENT:.0%}"
        return None

    def as_json(self) -> dict[str, Any]:
        """All figures, with the ratio and the verdict."""
        return {**asdict(self), "perplexity_ratio": self.ratio, "passed": self.fault() is None}


def check(folder: Path, gguf: Path, log: Path, adapter: Path | None = None) -> Parity:
    """Compare `gguf` with the Hugging Face model in `folder`; both are loaded, one after the other.

    With `adapter` (a GGUF) llama.cpp computes `gguf` and the adapter on it; `folder` is the merged model then.

    Raises:
        JobError: llama.cpp cannot load or answer; the comparison itself never raises, see `Parity.fault`.
    """
    from loglore.models.load import load_model, load_tokenizer

    tokenizer = load_tokenizer(folder)
    hf_ids = [list(tokenizer.encode(text)) for text in TEXTS]
    answers = _ask_llama(gguf, adapter, log, sum(len(ids) - 1 for ids in hf_ids))
    hf_prompts = [_hf_prompt(tokenizer, list(messages)) for messages in CONVERSATIONS]
    pairs = list(zip(hf_ids, answers["texts"], strict=True))
    rows = []
    model = load_model(folder, "float32")
    for ids, text in pairs:
        if ids == text["ids"]:
            rows += _compare(model, ids, text["scores"])
    decided = [row for row in rows if row["lead"] >= DECIDED_NATS]
    return Parity(
        texts=len(pairs),
        texts_with_other_ids=sum(ids != text["ids"] for ids, text in pairs),
        prompts=len(hf_prompts),
        prompts_with_other_ids=sum(a != b for a, b in zip(hf_prompts, answers["conversations"], strict=True)),
        positions=len(rows),
        agreement=_mean([row["agrees"] for row in rows]),
        decided=len(decided),
        decided_agreement=_mean([row["agrees"] for row in decided]),
        perplexity_hf=math.exp(-_mean([row["hf"] for row in rows])),
        perplexity_gguf=math.exp(-_mean([row["gguf"] for row in rows])),
        mean_difference_nats=_mean([abs(row["hf"] - row["gguf"]) for row in rows]),
    )


def require(parity: Parity, gguf: Path) -> None:
    """Raise `JobError` with the gate's reason unless it is open."""
    if fault := parity.fault():
        raise JobError(f"{gguf.name} does not match the model it was made from: {fault}")


def _ask_llama(gguf: Path, adapter: Path | None, log: Path, positions: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch, track("Compare GGUF with HF", positions, "tokens") as tick:
        questions, answers = Path(scratch) / "questions.json", Path(scratch) / "answers.json"
        questions.write_text(json.dumps({"texts": TEXTS, "conversations": CONVERSATIONS}), "utf-8")

        def on_line(line: str) -> None:
            if line.startswith("position "):
                tick(1)

        parts = [str(os.getpid()), str(gguf), str(questions), str(answers), *([str(adapter)] if adapter else [])]
        run_module("loglore.export.probe", parts, log, on_line)
        found: dict[str, Any] = json.loads(answers.read_text("utf-8"))
        return found


def _hf_prompt(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]]) -> list[int]:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(tokenizer.encode(text, add_special_tokens=False))


def _compare(model: "PreTrainedModel", ids: list[int], scores: list[dict[str, Any] | None]) -> list[dict[str, float]]:
    """One row a position: log-probability of the true token on both sides, HF's lead in nats, whether tops agree."""
    import torch

    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
    best = logprobs.topk(2)
    return [
        {
            "hf": float(logprobs[position, ids[position + 1]]),
            "gguf": float(score["logprob"]),
            "lead": float(best.values[position, 0] - best.values[position, 1]),
            "agrees": float(int(best.indices[position, 0]) == score["top"]),
        }
        for position, score in enumerate(scores)
        if score is not None
    ]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 1.0
