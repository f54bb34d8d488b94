"""The gateway against its engine, idle streams, a follow-up question, peers, and an engine killed under load.

    python bench/bench_serving.py gateway [--rounds 4]     tokens/s and first token, direct and through, in turn
    python bench/bench_serving.py idle [--streams 1000]    memory of the gateway's process with open, silent streams
    python bench/bench_serving.py follow-up                first token of two questions over a log of 6,000 tokens
    python bench/bench_serving.py peers                    prefill and decode against llama.cpp's server, transformers
    python bench/bench_serving.py load [--clients 64]      ramp, own token for every stream, kill -9 of the engine

Everything runs on the embedded model and on loopback. The load generator is one process with plain sockets, which
counts events and parses none while it measures; it shares the cores with what it measures, on both sides alike.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

MODEL = "smollm2-135m-instruct"
WORDS = "connection refused while the upstream was not yet listening and the disk of the primary was almost full "


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[tuple[str, psutil.Process]]:
    """`loglore serve` in a home of its own: base URL and process."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "loglore", "serve", *arguments, "--port", "0"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, env={**os.environ, "LOGLORE_HOME": home}
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            url = line.split(" answers at ")[1].split()[0]
            while "Ctrl-C" not in process.stdout.readline():
                pass
            yield url, psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def engine_of(process: psutil.Process) -> tuple[str, psutil.Process]:
    """URL and process of the engine behind a gateway."""
    (engine,) = process.children()
    (port,) = {each.laddr.port for each in engine.net_connections("tcp") if each.status == "LISTEN"}
    return f"http://127.0.0.1:{port}/v1", engine


async def ask(
    url: str,
    path: str,
    body: dict[str, Any],
    started: asyncio.Semaphore | None = None,
    came: list[tuple[float, int]] | None = None,
) -> tuple[float, float, bytes]:
    """One request over a connection of its own: seconds to the first event, seconds in all, the answer's bytes.

    `started` is released when the first event is there; `came` gets when each piece came, and how many events it had.
    """
    parts = urlsplit(url)
    content = json.dumps(body).encode()
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
    found, first = bytearray(), 0.0
    while piece := await reader.read(65536):
        found += piece
        if came is not None and (count := piece.count(b"data: {")):
            came.append((time.perf_counter(), count))
        if not first and b"data: " in found:
            first = time.perf_counter() - start
            if started is not None:
                started.release()
    writer.close()
    return first, time.perf_counter() - start, bytes(found)


def events(answer: bytes) -> list[dict[str, Any]]:
    """The JSON of a streamed answer's events; its chunked framing is not needed to find them."""
    return [json.loads(line[6:]) for line in answer.split(b"\n") if line.startswith(b"data: {")]


def wish(model: str, prompt: str, tokens: int, **more: Any) -> dict[str, Any]:
    fixed = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}
    return {**fixed, "ignore_eos": True, **more}


async def decode(url: str, model: str, clients: int, tokens: int, path: str = "/completions") -> float:
    """Tokens/s of `clients` streams of `tokens` tokens each, from the first request to the last byte."""
    bodies = [wish(model, f"{number} {WORDS}", tokens) for number in range(clients)]
    start = time.perf_counter()
    answers = await asyncio.gather(*(ask(url, path, body) for body in bodies))
    seconds = time.perf_counter() - start
    counts = [answer.count(b'"text":') for _, _, answer in answers]
    assert all(abs(count - tokens) <= 2 for count in counts), counts
    return clients * tokens / seconds


async def first_tokens(url: str, model: str, count: int) -> list[float]:
    return [(await ask(url, "/completions", wish(model, WORDS, 1)))[0] for _ in range(count)]


def show(name: str, **figures: Any) -> None:
    print(json.dumps({"part": name, **figures}), flush=True)


async def gateway_part(rounds: int) -> None:
    with served(MODEL, "--parallel", "16", "--context", "512", "--queue", "64") as (url, process):
        direct, _ = engine_of(process)
        for clients, tokens in ((1, 128), (16, 48)):
            rates: dict[str, list[float]] = {"direct": [], "gateway": []}
            await decode(direct, MODEL, clients, 8)
            for number in range(rounds):
                # In turn, and each first as often as second.
                order = [("direct", direct), ("gateway", url)]
                for name, where in order if number % 2 == 0 else reversed(order):
                    rates[name].append(await decode(where, MODEL, clients, tokens))
            ratios = [a / b for a, b in zip(rates["gateway"], rates["direct"], strict=True)]
            show(
                "gateway",
                clients=clients,
                direct=[round(rate, 1) for rate in rates["direct"]],
                gateway=[round(rate, 1) for rate in rates["gateway"]],
                ratio_of_medians=round(statistics.median(rates["gateway"]) / statistics.median(rates["direct"]), 4),
                median_of_ratios=round(statistics.median(ratios), 4),
            )
        waits: dict[str, list[float]] = {"direct": [], "gateway": []}
        for _ in range(10):
            for name, where in (("direct", direct), ("gateway", url)):
                waits[name] += await first_tokens(where, MODEL, 10)
        medians = {name: statistics.median(values) * 1000 for name, values in waits.items()}
        show(
            "first token",
            direct_ms=round(medians["direct"], 2),
            gateway_ms=round(medians["gateway"], 2),
            added_ms=round(medians["gateway"] - medians["direct"], 2),
        )


SILENT = b'data: {"choices": [{"index": 0, "text": "x", "finish_reason": null}]}\n\n'
STAND_IN = """
import asyncio, sys
sys.path[:0] = [sys.argv[2]]
from pathlib import Path
import tempfile
from support_gateway import gateway, standing_in
from loglore.serve.supervised import Plan
streams = int(sys.argv[3])
with tempfile.TemporaryDirectory() as folder:
    plan = Plan(("m",), "llama.cpp", lambda: standing_in(sys.argv[1], "m"), parallel=streams)
    with gateway([plan], Path(folder)) as running:
        print(running.url, flush=True)
        sys.stdin.read()
"""


async def idle_part(streams: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + SILENT)
        await reader.read()
        writer.close()

    engine = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=streams)
    url = f"http://127.0.0.1:{engine.sockets[0].getsockname()[1]}/v1"
    tests = str(Path(__file__).parents[1] / "tests")
    command = [sys.executable, "-c", STAND_IN, url, tests, str(streams)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    gateway = await asyncio.to_thread(process.stdout.readline)
    memory = psutil.Process(process.pid).memory_info
    before = memory().rss
    parts = urlsplit(gateway.strip())
    body = json.dumps(wish("m", "x", 9)).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    open_ = []
    for _ in range(streams):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(head + body)
        open_.append((reader, writer))
    for reader, _ in open_:
        await reader.readuntil(b"data: ")
    show("idle", streams=streams, before_mb=round(before / 1e6, 1), with_streams_mb=round(memory().rss / 1e6, 1))
    for _, writer in open_:
        writer.close()
    process.stdin.close()
    await asyncio.to_thread(process.wait, 60)
    engine.close()


async def follow_up_part() -> None:
    line = "Jan  3 04:{:02d}:09 web-1 sshd[{}]: Failed password for invalid user admin from 10.0.{}.7 port 40022 ssh2\n"
    log = "".join(line.format(number % 60, 800 + number, number % 250) for number in range(125))
    with served(MODEL, "--context", "8192") as (url, _):
        messages = [{"role": "user", "content": f"Summarize this log.\n\nLog content:\n{log}"}]
        fixed = {"model": MODEL, "max_tokens": 24, "temperature": 0, "stream": True}
        more = {"stream_options": {"include_usage": True}}
        first_s, _, answer = await ask(url, "/chat/completions", {**fixed, **more, "messages": messages})
        found = events(answer)
        text = "".join(c["delta"].get("content") or "" for e in found for c in e["choices"])
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "Which user was it?"}]
        second_s, _, answer = await ask(url, "/chat/completions", {**fixed, **more, "messages": messages})
        usage = [each["usage"] for each in (found[-1], events(answer)[-1])]
        show(
            "follow-up",
            prompt_tokens=[each["prompt_tokens"] for each in usage],
            cached_tokens=usage[1]["prompt_tokens_details"]["cached_tokens"],
            first_token_s=[round(first_s, 3), round(second_s, 3)],
            ratio=round(second_s / first_s, 4),
        )


LLAMA = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = sys.argv[1], 0, ["127.0.0.1"]
params.n_parallel, params.n_ctx = int(sys.argv[2]), int(sys.argv[2]) * 1024
server = xllamacpp.Server(params)
print(server.listening_address + "/v1", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def bare_llama(gguf: Path, parallel: int) -> Iterator[str]:
    """llama.cpp's own server with its own defaults but for context and slots."""
    command = [sys.executable, "-c", LLAMA, str(gguf), str(parallel)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def steady(came: list[list[tuple[float, int]]]) -> float:
    """Events a second while all streams were under way: no prompt was being read then."""
    begin, end = max(each[0][0] for each in came), min(each[-1][0] for each in came)
    return sum(count for each in came for at, count in each if begin < at <= end) / (end - begin)


async def measure(name: str, url: str, model: str, more: dict[str, Any]) -> None:
    """Prefill and decode tokens/s at 1, 4 and 16 clients; chat, which all of them offer."""
    warm = {"model": model, "messages": [{"role": "user", "content": WORDS}], "max_tokens": 4, "stream": True, **more}
    await ask(url, "/chat/completions", warm)
    for clients in (1, 4, 16):
        rates = {}
        for what, words, tokens in (("prefill", 24, 1), ("decode", 1, 96)):
            bodies = []
            for number in range(clients):
                # Another start for every prompt: nobody may answer out of a cache.
                content = f"{name} {what} {clients} {number} {time.time()} " + WORDS * words
                message = {"role": "user", "content": content}
                fixed = {"model": model, "messages": [message], "max_tokens": tokens, "stream": True, **more}
                bodies.append({**fixed, "stream_options": {"include_usage": True}})
            came: list[list[tuple[float, int]]] = [[] for _ in bodies]
            start = time.perf_counter()
            answers = await asyncio.gather(
                *(ask(url, "/chat/completions", body, came=each) for body, each in zip(bodies, came, strict=True))
            )
            seconds = time.perf_counter() - start
            usage = [next(e["usage"] for e in reversed(events(answer)) if e.get("usage")) for _, _, answer in answers]
            whole = sum(each["prompt_tokens"] for each in usage) / seconds
            rates[what] = round(whole if what == "prefill" else steady(came), 1)
        show("peers", server=name, clients=clients, **rates)


async def peers_part() -> None:
    from loglore.models.job import embedded_gguf

    gguf = embedded_gguf()
    greedy = {"temperature": 0, "ignore_eos": True}
    with served(MODEL, "--parallel", "16", "--context", "1024") as (url, _):
        await measure("loglore serve", url, MODEL, greedy)
    with bare_llama(gguf, 16) as url:
        await measure("llama.cpp server", url, MODEL, greedy)
    await transformers_peer(gguf)


async def transformers_peer(gguf: Path) -> None:
    from loglore.models.load import load_model, load_tokenizer, save_model
    from loglore.serve import external

    with tempfile.TemporaryDirectory() as folder:
        save_model(load_model(gguf, "bfloat16"), load_tokenizer(gguf), Path(folder))
        with external.running("transformers", Path(folder), MODEL) as session:
            # Its server knows neither `ignore_eos` nor a temperature of 0; answers that end early count as they are.
            await measure("transformers serve", session.url, folder, {})


async def load_part(clients: int) -> None:
    with served(MODEL, "--parallel", str(clients), "--context", "512", "--queue", "8") as (url, process):
        _, engine = engine_of(process)
        before = [process.memory_info().rss, engine.memory_info().rss]
        total = wrong = refused = 0
        start = time.perf_counter()
        for step in (1, 4, 16, clients, clients):
            # A token of its own for every stream: one that went astray would show.
            token = {number: 2000 + 7 * number for number in range(step)}
            bodies = [wish(MODEL, f"{number} ", 32, logit_bias={str(token[number]): 100}) for number in range(step)]
            answers = await asyncio.gather(*(ask(url, "/completions", body) for body in bodies))
            for _, _, answer in answers:
                total += 1
                refused += answer.startswith(b"HTTP/1.1 429")
                texts = [c["text"] for e in events(answer) for c in e["choices"] if c["text"]]
                wrong += not (len(texts) == 32 and len(set(texts)) == 1 and b"[DONE]" in answer)
            alone = {next(c["text"] for e in events(a) for c in e["choices"]) for _, _, a in answers}
            wrong += len(alone) != step
        after = [process.memory_info().rss, engine.memory_info().rss]
        show(
            "load",
            streams=total,
            refused_429=refused,
            wrong=wrong,
            seconds=round(time.perf_counter() - start, 1),
            gateway_mb=[round(before[0] / 1e6, 1), round(after[0] / 1e6, 1)],
            engine_mb=[round(before[1] / 1e6, 1), round(after[1] / 1e6, 1)],
        )
        bodies = [wish(MODEL, f"{number} {WORDS}", 400) for number in range(clients)]
        started = asyncio.Semaphore(0)
        asking = [asyncio.ensure_future(ask(url, "/completions", body, started)) for body in bodies]
        for _ in asking:
            await started.acquire()
        engine.kill()
        killed = time.perf_counter()
        new = await ask(url, "/completions", wish(MODEL, "x", 2))
        new_s = time.perf_counter() - killed
        answers = await asyncio.gather(*asking)
        ended = {"error event": 0, "whole": 0, "neither": 0}
        for _, _, answer in answers:
            is_error = b'data: {"error"' in answer
            ended["error event" if is_error else "whole" if b"[DONE]" in answer else "neither"] += 1
        show(
            "kill", open_streams=clients, ended=ended, new_request_ok=b"[DONE]" in new[2], new_request_s=round(new_s, 2)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["gateway", "idle", "follow-up", "peers", "load"])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=64)
    asked = parser.parse_args()
    parts = {
        "gateway": lambda: gateway_part(asked.rounds),
        "idle": lambda: idle_part(asked.streams),
        "follow-up": follow_up_part,
        "peers": peers_part,
        "load": lambda: load_part(asked.clients),
    }
    asyncio.run(parts[asked.part]())


if __name__ == "__main__":
    main()
