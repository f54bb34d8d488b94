"""The engine's process: `python -m loglore.serve.llama`, with one line of JSON on standard input (see `engine`).

It answers with one line of JSON on standard output when the model is loaded, writes its log to standard error and ends
when standard input ends. That is how it is stopped, and how it notices that its parent is gone: a pipe closes with the
process that held it. A sibling forked off the parent may hold the pipe as well, hence the look at the parent's id.
While a model loads, llama.cpp does not let Python run; then only the kernel's signal works.
"""

import json
import os
import select
import sys
from typing import Any

from loglore.export.tool import die_with_parent

LOOK_INTERVAL_S = 1.0
# Memory for prompts of earlier conversations; llama.cpp's own default is 8 GB.
PROMPT_CACHE_MIB = 512


def main() -> None:
    """Serve until standard input ends or the parent is gone."""
    wish = json.loads(sys.stdin.buffer.readline())
    if wish["kernel_watch"]:
        die_with_parent(wish["parent"])
    server = _server(wish)
    print(json.dumps({"address": server.listening_address}), flush=True)
    while os.getppid() == wish["parent"]:
        ready, _, _ = select.select([sys.stdin], [], [], LOOK_INTERVAL_S)
        if ready and not os.read(sys.stdin.fileno(), 1):
            break
    # Not an orderly exit: that would wait for answers still being written, for minutes on a long one.
    os._exit(0)


def _server(wish: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = wish["gguf"]
    params.model_alias = {wish["model_id"]}
    params.hostnames = [wish["host"]]
    params.port = wish["port"]
    params.api_keys = [wish["key"]] if wish["key"] else []
    params.n_parallel = wish["parallel"]
    params.n_ctx = wish["context"] * wish["parallel"]
    # Also the step in which it reports how far it has read a prompt; the default of 2048 is many seconds on a CPU.
    params.n_batch = 512
    params.kv_unified = False
    params.cache_prompt = True
    # The memory of earlier prompts does not know which adapter computed them: with adapters it must stay empty.
    params.cache_ram_mib = 0 if wish["adapters"] else PROMPT_CACHE_MIB
    params.lora_adapters = [_adapter(path) for path in wish["adapters"]]
    params.lora_init_without_apply = True
    if wish["threads"]:
        params.cpuparams.n_threads = wish["threads"]
        params.cpuparams_batch.n_threads = wish["threads"]
    # A page in the user's browser must neither call the engine nor read other conversations.
    params.ui = False
    params.cors_origins = "localhost"
    params.endpoint_slots = False
    return xllamacpp.Server(params)


def _adapter(path: str) -> Any:
    import xllamacpp

    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path = path
    adapter.scale = 1.0
    return adapter


if __name__ == "__main__":
    main()
