"""The job `ask` of a recipe: start an endpoint for a GGUF, ask one question about logs, show the answer, stop it."""

import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from loglore.ask import job
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec
from loglore.serve.engine import running


class AskSpec(Spec):
    """gguf: model to serve. logs: files to ask about. question: as asked. context_tokens: of the endpoint."""

    gguf: Path
    logs: list[Path] = Field(min_length=1)
    question: str
    context_tokens: int = Field(4096, ge=256)
    max_tokens: int = Field(256, ge=1)


def run(spec: AskSpec, context: RunFolder) -> dict[str, Any]:
    """Serve, ask with the official client (streaming to stdout), stop. The report is that of `ask.job`."""
    with running(spec.gguf, model_id=spec.gguf.stem, context=spec.context_tokens) as session:
        context.event("endpoint", url=session.url)
        print(f"  endpoint {session.url}, question: {spec.question}")
        question = job.AskSpec(
            endpoint=session.url,
            model_id=session.model_id,
            logs=spec.logs,
            question=spec.question,
            max_tokens=spec.max_tokens,
        )
        result = job.run(question, context, show=_show)
        print()
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in result["verdicts"].items())
    summary = (
        f"Asked {spec.gguf.name} through its OpenAI-compatible endpoint: {spec.question}\n{result['answer']}\n"
        f"({result['completion_tokens']} tokens, {result['tokens_per_second']} tokens/s, first after "
        f"{result['first_token_s']} s; claims checked against the log: {verdicts})"
    )
    return {**result, "summary": summary}


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
