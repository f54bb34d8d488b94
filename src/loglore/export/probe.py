"""Process that asks llama.cpp about a GGUF: `python -m loglore.export.probe PARENT GGUF QUESTIONS ANSWERS [ADAPTER]`.

QUESTIONS is JSON: `{"texts": [...], "conversations": [[message, ...], ...]}`. ANSWERS is JSON: for every text its token
ids and, from the second token on, the log-probability of that token after those before it and the likeliest token in
its place (null where the token is a part of a character: llama.cpp holds such a token back and reports nothing); for
every conversation the token ids of the prompt that the chat template in the file makes of it.
"""

import http.client
import json
import sys
from pathlib import Path
from typing import Any

from loglore.export.tool import die_with_parent
from loglore.runs import files

# Added to one logit to make the sampler take that token; reported log-probabilities are those before sampling.
FORCE = 1e6


def main(parent: str, gguf: str, questions: str, answers: str, adapter: str | None = None) -> None:
    """Answer everything in the file `questions`, printing a line after each position; a LoRA `adapter` is on."""
    die_with_parent(int(parent))
    import xllamacpp

    asked = json.loads(Path(questions).read_text("utf-8"))
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.n_ctx = 2048
    params.warmup = False
    if adapter is not None:
        chosen = xllamacpp.CommonAdapterLoraInfo()
        chosen.path, chosen.scale = adapter, 1.0
        params.lora_adapters = [chosen]
    server = xllamacpp.Server(params)
    connection = http.client.HTTPConnection(server.listening_address.removeprefix("http://"))
    found = {
        "texts": [_score(connection, text) for text in asked["texts"]],
        "conversations": [_prompt(connection, messages) for messages in asked["conversations"]],
    }
    files.write_json(Path(answers), found)


def _score(connection: http.client.HTTPConnection, text: str) -> dict[str, Any]:
    ids = _tokenize(connection, text)
    scores: list[dict[str, Any] | None] = []
    for position in range(1, len(ids)):
        body = {
            "prompt": ids[:position],
            "n_predict": 1,
            "n_probs": 1,
            "temperature": 0,
            "logit_bias": [[ids[position], FORCE]],
        }
        for first in _post(connection, "/completion", body).get("completion_probabilities", []):
            scores.append({"logprob": first["logprob"], "top": first["top_logprobs"][0]["id"]})
        if len(scores) < position:
            scores.append(None)
        print(f"position {position}", flush=True)
    return {"ids": ids, "scores": scores}


def _prompt(connection: http.client.HTTPConnection, messages: list[dict[str, str]]) -> list[int]:
    prompt = _post(connection, "/apply-template", {"messages": messages})["prompt"]
    return _tokenize(connection, prompt)


def _tokenize(connection: http.client.HTTPConnection, text: str) -> list[int]:
    body = {"content": text, "add_special": True, "parse_special": True}
    ids: list[int] = _post(connection, "/tokenize", body)["tokens"]
    return ids


def _post(connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> Any:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    content = reply.read().decode("utf-8")
    if reply.status != http.client.OK:
        sys.exit(f"error: {path}: {reply.status} {content}")
    return json.loads(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
