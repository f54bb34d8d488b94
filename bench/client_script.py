"""One script for clients of different make, against a running `loglore serve`.

    python bench/client_script.py openai    http://127.0.0.1:8000/v1 MODEL [KEY]
    python bench/client_script.py langchain http://127.0.0.1:8000/v1 MODEL [KEY]
    python bench/client_script.py litellm   http://127.0.0.1:8000/v1 MODEL [KEY]

It needs nothing but the client itself, so that LangChain and LiteLLM can live in environments of their own. Every step
is an assertion; the last line counts them.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {"level": {"type": "string", "enum": ["info", "error"]}, "lines": {"type": "integer"}},
    "required": ["level", "lines"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "finding", "schema": SCHEMA, "strict": True}}
QUESTION = [{"role": "system", "content": "You read logs."}, {"role": "user", "content": "What does ENOSPC mean?"}]

# ask(messages, **options) -> (text, finish reason, prompt tokens, completion tokens)
Ask = Callable[..., tuple[str, str, int, int]]


class OpenAiClient:
    def __init__(self, url: str, model: str, key: str) -> None:
        import openai

        self._client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
        self._model = model
        self.refused: tuple[type[Exception], ...] = (openai.APIStatusError,)

    def ask(self, messages: list[Any], **options: Any) -> tuple[str, str, int, int]:
        reply = self._client.chat.completions.create(
            model=options.pop("model", self._model), messages=messages, **options
        )
        choice, usage = reply.choices[0], reply.usage
        assert usage is not None
        return choice.message.content or "", choice.finish_reason, usage.prompt_tokens, usage.completion_tokens

    def stream(self, messages: list[Any], **options: Any) -> list[str]:
        stream = self._client.chat.completions.create(model=self._model, messages=messages, stream=True, **options)
        return [chunk.choices[0].delta.content for chunk in stream if chunk.choices and chunk.choices[0].delta.content]


class LangChainClient:
    def __init__(self, url: str, model: str, key: str) -> None:
        import openai
        from langchain_openai import ChatOpenAI

        def make(**options: Any) -> Any:
            chosen = options.pop("model", model)
            return ChatOpenAI(base_url=url, api_key=key, model=chosen, max_retries=0, **options)

        self._make = make
        self.refused: tuple[type[Exception], ...] = (openai.APIStatusError,)

    def ask(self, messages: list[Any], **options: Any) -> tuple[str, str, int, int]:
        chosen = {name: options.pop(name) for name in ("model",) if name in options}
        reply = self._make(**chosen).bind(**options).invoke(messages)
        usage = reply.usage_metadata
        return reply.content, reply.response_metadata["finish_reason"], usage["input_tokens"], usage["output_tokens"]

    def stream(self, messages: list[Any], **options: Any) -> list[str]:
        return [chunk.content for chunk in self._make().bind(**options).stream(messages) if chunk.content]


class LiteLlmClient:
    def __init__(self, url: str, model: str, key: str) -> None:
        import litellm

        litellm.telemetry = False
        self._fixed = {"base_url": url, "api_key": key, "num_retries": 0}
        self._model = model
        self._completion = litellm.completion
        self.refused: tuple[type[Exception], ...] = (
            litellm.exceptions.NotFoundError,
            litellm.exceptions.BadRequestError,
        )

    def ask(self, messages: list[Any], **options: Any) -> tuple[str, str, int, int]:
        model = f"openai/{options.pop('model', self._model)}"
        reply = self._completion(model=model, messages=messages, **self._fixed, **options)
        choice, usage = reply.choices[0], reply.usage
        return choice.message.content or "", choice.finish_reason, usage.prompt_tokens, usage.completion_tokens

    def stream(self, messages: list[Any], **options: Any) -> list[str]:
        model = f"openai/{self._model}"
        stream = self._completion(model=model, messages=messages, stream=True, **self._fixed, **options)
        return [chunk.choices[0].delta.content for chunk in stream if chunk.choices and chunk.choices[0].delta.content]


CLIENTS = {"openai": OpenAiClient, "langchain": LangChainClient, "litellm": LiteLlmClient}


def run(client: Any) -> int:
    """All steps; returns how many."""
    greedy = {"temperature": 0, "max_tokens": 24}
    text, reason, prompt, completion = client.ask(QUESTION, **greedy)
    assert text
    assert reason in ("stop", "length")
    assert prompt > 5
    assert 0 < completion <= 24
    again = client.ask(QUESTION, **greedy)
    assert again[:2] == (text, reason)
    pieces = client.stream(QUESTION, **greedy)
    assert len(pieces) > 1
    assert "".join(pieces) == text
    middle = text[len(text) // 2 : len(text) // 2 + 4]
    cut, reason, *_ = client.ask(QUESTION, **greedy, stop=[middle])
    assert (cut, reason) == (text[: text.index(middle)], "stop")
    seeded = [client.ask(QUESTION, temperature=1, max_tokens=16, seed=seed)[0] for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1] != seeded[2]
    found = json.loads(client.ask(QUESTION, temperature=0, max_tokens=64, response_format=FORMAT)[0])
    assert set(found) == {"level", "lines"}
    assert isinstance(found["lines"], int)
    history = [*QUESTION, {"role": "assistant", "content": text}, {"role": "user", "content": "And EACCES?"}]
    assert client.ask(history, **greedy)[2] > prompt
    refusals = [
        ({"model": "nobody/nothing"}, QUESTION, "not served here"),
        ({}, [{"role": "user", "content": "disk full " * 20_000}], "tokens"),
    ]
    for options, messages, said in refusals:
        try:
            client.ask(messages, max_tokens=1, **options)
        except client.refused as fault:
            assert said in str(fault), fault
        else:
            raise AssertionError(f"{said}: not refused")
    return 10


def main(make: str, url: str, model: str, key: str = "none") -> None:
    print(f"{make}: {run(CLIENTS[make](url, model, key))} steps passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
