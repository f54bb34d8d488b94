"""The `ask` job: one question about logs, asked of an endpoint; answer, evidence and checked claims as JSON."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from loglore.ask.answer import Answer, Conversation, read_log
from loglore.endpoint.client import Endpoint
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec

VERDICTS = ("supported", "contradicted", "unverifiable")


class AskSpec(Spec):
    """One question.

    endpoint: base URL of an OpenAI-compatible server. model_id: its model; None takes the only one it offers.
    logs: files or folders. question: as asked. context_tokens: None takes what the server says.
    max_tokens: longest answer.
    """

    endpoint: str
    model_id: str | None = None
    logs: list[Path] = Field(min_length=1)
    question: str
    context_tokens: int | None = Field(default=None, ge=256)
    max_tokens: int = Field(default=256, ge=1)


def run(spec: AskSpec, context: RunFolder, show: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Ask, and write `answer.json`; a job that was killed asks again (decoding is greedy).

    `show` is called with every piece of the answer as it streams in.

    Returns:
        `outputs`, the answer with its claims, tokens, `tokens_per_second` and `first_token_s`.
    """
    conversation = Conversation(
        Endpoint(spec.endpoint, spec.model_id), read_log(spec.logs), spec.context_tokens, spec.max_tokens
    )
    context.event("ask", question=spec.question)
    result = as_json(conversation.ask(spec.question, on_text=show))
    files.write_json(context.path / "answer.json", result)
    return {"outputs": {"answer": "answer.json"}, **result}


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as plain JSON."""
    claims = [{**asdict(claim), "lines": list(claim.lines)} for claim in answer.claims]
    return {
        "question": answer.question,
        "answer": answer.text,
        "claims": claims,
        "verdicts": {verdict: sum(claim["verdict"] == verdict for claim in claims) for verdict in VERDICTS},
        "evidence": {
            "text": answer.evidence.text,
            "lines": [list(line) for line in answer.evidence.lines],
            "omitted": answer.evidence.omitted,
            "tokens": answer.evidence.tokens,
        },
        "finish_reason": answer.reply.finish_reason,
        "prompt_tokens": answer.reply.prompt_tokens,
        "cached_tokens": answer.reply.cached_tokens,
        "completion_tokens": answer.reply.completion_tokens,
        "first_token_s": round(answer.reply.first_token_s, 3),
        "tokens_per_second": round(answer.reply.tokens_per_second, 1),
    }
