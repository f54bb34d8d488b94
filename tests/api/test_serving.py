"""`loglore serve` as a process with real engines: the official client's script, engines killed under load, the end."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
import pytest

CHAT = {"messages": [{"role": "user", "content": "What does ENOSPC mean?"}]}


@contextlib.contextmanager
def serving(home: Path, *arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`loglore serve` on a free port: its URL without `/v1`, and its process, which is stopped at the end."""
    command = [sys.executable, "-m", "loglore", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(home)
    )
    assert process.stdout is not None
    try:
        lines = []
        while not lines or "Ctrl-C" not in lines[-1]:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            lines.append(line)
        yield lines[0].split(" answers at ")[1].split("/v1")[0], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "LOGLORE_HOME": str(home), "LOGLORE_THREADS": "1"}


def loglore(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loglore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(home), check=False, timeout=60)


def children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def test_follow_ups_stay_on_the_replica_that_has_their_log(tiny_gguf: Path, tmp_path: Path) -> None:
    with serving(tmp_path, str(tiny_gguf), "--replicas", "2", "--context", "512") as (url, process):
        assert len(children(process)) == 2
        (card,) = httpx2.get(f"{url}/v1/models").json()["data"]

        def ask(*turns: str) -> dict[str, Any]:
            roles = ("user", "assistant")
            messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(turns)]
            body = {"model": card["id"], "messages": messages, "max_tokens": 3, "temperature": 0}
            return dict(httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60).json())

        logs = ["disk full " * 20, "link down " * 20]
        answers = [ask(log)["choices"][0]["message"]["content"] for log in logs]
        told = [ask(log, said, "Why?")["usage"] for log, said in zip(logs, answers, strict=True) for _ in range(2)]
        assert all(usage["prompt_tokens_details"]["cached_tokens"] > 20 for usage in told)
        rows = httpx2.get(f"{url}/v1/studio/sessions").json()["data"]
        assert [len(rows), *{row["models"][0] for row in rows}] == [2, card["id"]]
        metrics = httpx2.get(f"{url}/metrics").text
        assert metrics.count("loglore_session_ready{") == 1
        assert loglore(tmp_path, "sessions", "stop", rows[1]["id"]).returncode == 0
        assert process.wait(30) == 0, "a session ends with all its replicas"
    history = json.loads(loglore(tmp_path, "sessions", "list", "--all", "--json").stdout)
    assert [row["interactions"] for row in history] == [3, 3]


@pytest.mark.model
def test_the_official_client_passes_the_script(repository: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(repository / "bench"))
    import client_script

    with serving(tmp_path, "smollm2-135m-instruct", "--context", "2048", "--name", "org/smol") as (url, _):
        assert client_script.run(client_script.OpenAiClient(f"{url}/v1", "org/smol", "none")) == 10
        code = httpx2.get(f"{url}/v1/studio/sessions").json()["data"][0]["samples"]
        commands = [["sh", "-c", code["curl"] + " -s"], [sys.executable, "-c", code["python"]]]
        if node := shutil.which("node"):
            commands.append([node, "--input-type=module", "-e", code["javascript"]])
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()


def test_engines_that_die_under_load(tiny_gguf: Path, tmp_path: Path) -> None:
    """Every open stream ends with an error event; what comes afterwards is answered by a new engine."""
    with serving(tmp_path, str(tiny_gguf), "--parallel", "8", "--queue", "8") as (url, process):
        body = {**CHAT, "model": "tiny", "stream": True, "max_tokens": 900, "ignore_eos": True}
        started = threading.Semaphore(0)

        def ask(_: int) -> str:
            found = b""
            with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as reply:
                for piece in reply.iter_raw():
                    if not found:
                        started.release()
                    found += piece
            return found.decode()

        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, number) for number in range(8)]
            for _ in answers:
                assert started.acquire(timeout=60)
            (engine,) = children(process)
            engine.kill()
            texts = [answer.result() for answer in answers]
        for text in texts:
            *events, last, rest = text.split("\n\n")
            assert rest == ""
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_gone"
            assert all("error" not in json.loads(event.removeprefix("data: ")) for event in events)
        again = httpx2.post(f"{url}/v1/chat/completions", json={**body, "stream": False, "max_tokens": 2}, timeout=60)
        assert again.status_code == 200
        (other,) = children(process)
        assert other.pid != engine.pid
        assert 'loglore_engine_restarts_total{model="tiny"} 1.0' in httpx2.get(f"{url}/metrics").text
        (listed,) = json.loads(loglore(tmp_path, "sessions", "list", "--json").stdout)
        assert (listed["state"], listed["models"]) == ("ready", "tiny")
        show = loglore(tmp_path, "sessions", "show", listed["id"]).stdout
        assert f"curl {url}/v1/chat/completions" in show
        assert loglore(tmp_path, "sessions", "stop", listed["id"]).returncode == 0
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "all sessions have ended: tiny: somebody stopped it" in errors
        assert not psutil.pid_exists(other.pid)
    assert json.loads(loglore(tmp_path, "sessions", "list", "--json").stdout) == []
    (kept,) = json.loads(loglore(tmp_path, "sessions", "history", listed["id"], "--json", "--limit", "1").stdout)
    assert (kept["status"], kept["completion_tokens"]) == (200, 2)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(tiny_gguf: Path, tmp_path: Path, ending: signal.Signals) -> None:
    with serving(tmp_path, str(tiny_gguf)) as (url, process):
        assert httpx2.get(f"{url}/health").json()["status"] == "ok"
        (engine,) = children(process)
        process.send_signal(ending)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert errors.strip() == "stopped"
        assert not psutil.pid_exists(engine.pid)


def test_the_engines_own_features_come_through(tiny_gguf: Path, tmp_path: Path) -> None:
    with serving(tmp_path, str(tiny_gguf), "--context", "512", "--parallel", "2") as (url, _):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        base: dict[str, Any] = {"model": "tiny", "max_tokens": 3, "temperature": 0}
        chat = client.chat.completions.create(**base, **CHAT, logprobs=True, top_logprobs=2)
        assert chat.choices[0].logprobs is not None
        assert [len(each.top_logprobs) for each in chat.choices[0].logprobs.content or []] == [2, 2, 2]
        text = client.completions.create(**base, prompt="disk", logprobs=2)
        found = text.choices[0].logprobs
        assert found is not None
        assert len(found.tokens or []) == len(found.token_logprobs or []) == len(found.top_logprobs or []) == 3
        assert found.text_offset == [0, *(sum(map(len, (found.tokens or [])[:n])) for n in (1, 2))]
        chunks = list(client.completions.create(**base, prompt="disk", logprobs=2, stream=True))
        assert [
            t for c in chunks for t in (c.choices[0].logprobs.tokens if c.choices[0].logprobs else [])
        ] == found.tokens
        both = client.chat.completions.create(**{**base, "temperature": 1}, **CHAT, n=2, seed=3)
        assert [choice.index for choice in both.choices] == [0, 1]
        assert both.usage is not None
        assert both.usage.completion_tokens == 6
        schema = {
            "type": "object",
            "properties": {"a": {"enum": ["x", "y"]}},
            "required": ["a"],
            "additionalProperties": False,
        }
        wanted: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        answer = client.chat.completions.create(**{**base, "max_tokens": 60}, **CHAT, response_format=wanted)
        assert json.loads(answer.choices[0].message.content or "")["a"] in ("x", "y")
        with pytest.raises(openai.BadRequestError, match=r"prompt has [0-9,]+ tokens.*512 tokens") as fault:
            client.completions.create(**base, prompt="a b " * 1000)
        assert fault.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError, match="at least"):
            client.completions.create(**base, prompt="x" * 10_000_000)
        bad: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "foo"}}}
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**base, **CHAT, response_format=bad)


def test_faults_of_the_start_are_one_line(tiny_gguf: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_gguf.read_bytes()[:-50_000])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, status, said in (
            (["missing"], 2, "not in the hub"),
            ([str(tiny_gguf), "--port", port], 2, "Address already in use"),
            (
                [str(tiny_gguf), "--host", "0.0.0.0"],
                2,
                "need a key, and there is none; create one: loglore keys create NAME",
            ),
            ([str(tiny_gguf), "--idle", "soon"], 2, "--idle soon: expected a time such as"),
            ([str(tiny_gguf), "--adapter", "x"], 2, "expected ID=PATH"),
            ([str(tiny_gguf), "--engine", "vllm"], 2, "only llama.cpp"),
            ([str(cut), "--port", "0"], 1, "could not start"),
        ):
            done = loglore(tmp_path, "serve", *arguments)
            assert done.returncode == status, done.stderr
            assert said in done.stderr
            assert done.stderr.count("\n") == 1, done.stderr


def test_off_loopback_with_a_key(tiny_gguf: Path, tmp_path: Path) -> None:
    made = loglore(tmp_path, "keys", "create", "ci", "--expires", "1h", "--requests-per-minute", "100")
    key = made.stdout.strip()
    assert key.startswith("ll-")
    (listed,) = json.loads(loglore(tmp_path, "keys", "list", "--json").stdout)
    assert (listed["name"], listed["state"], listed["scopes"], "sha256" in listed) == ("ci", "active", "chat", False)
    assert key.split("-", 2)[2] not in json.dumps(listed)
    # 127.0.0.2 is no address that counts as loopback here, yet nobody else can reach it.
    with serving(tmp_path, str(tiny_gguf), "--host", "127.0.0.2") as (url, _):
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        assert httpx2.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert loglore(tmp_path, "keys", "revoke", listed["id"]).returncode == 0
        deadline = time.monotonic() + 10
        while httpx2.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code != 401:
            assert time.monotonic() < deadline
    assert loglore(tmp_path, "keys", "revoke", "nobody").returncode == 2
