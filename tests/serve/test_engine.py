"""Real engines on loopback: answers, context, cache, ports, and that none outlives its parent however that ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from openai import BadRequestError, OpenAI

from loglore.endpoint.client import Endpoint
from loglore.errors import InputError, JobError
from loglore.serve.engine import Session, running

LONG = "Jan  3 04:07:09 web-1 sshd[812]: Failed password for invalid user admin\n" * 5


@pytest.fixture(scope="module")
def session(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it on a busy machine
        with running(tiny_gguf, model_id="org/tiny", context=512, parallel=2, log=log) as started:
            yield started


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def gone(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_threads_of_the_engine_spin_whatever_the_command_line_chose(session: Session) -> None:
    given = psutil.Process(session.pid).environ()
    assert "OMP_WAIT_POLICY" not in given
    assert given["GOMP_SPINCOUNT"] == "10000"


def test_official_client_streams_text_and_usage(session: Session) -> None:
    client = OpenAI(base_url=session.url, api_key="none")
    assert [model.id for model in client.models.list()] == ["org/tiny"]
    stream = client.chat.completions.create(
        model="org/tiny",
        messages=user("ディスク full 🚀"),
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) >= 1
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["length"]


def test_greedy_answers_repeat_and_stop_texts_end_them(session: Session) -> None:
    client = OpenAI(base_url=session.url, api_key="none")

    def ask(stop: str | None = None) -> tuple[str, str]:
        reply = client.chat.completions.create(
            model="org/tiny", messages=user("disk full"), max_tokens=24, temperature=0, stop=stop
        )
        return reply.choices[0].message.content or "", reply.choices[0].finish_reason

    whole, reason = ask()
    assert reason == "length"
    assert ask() == (whole, reason)
    middle = whole[len(whole) // 2 : len(whole) // 2 + 3]
    cut, reason = ask(middle)
    assert reason == "stop"
    assert cut == whole[: whole.index(middle)]


def test_prompt_tokens_equal_those_of_the_chat_template(session: Session, tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    messages = user("Jan  3  1702 ディスク 🚀 <|im_end|>\n\t12")
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    reply = Endpoint(session.url).chat(messages, max_tokens=1)
    assert reply.prompt_tokens == len(tokenizer.encode(text))
    assert Endpoint(session.url).count_tokens("ディスク  12") == len(tokenizer.encode("ディスク  12"))


def test_context_is_per_conversation_whatever_runs_beside_it(session: Session) -> None:
    """llama.cpp divides its context by the number of parallel conversations; the user's figure must survive that."""
    assert session.context == 512
    endpoint = Endpoint(session.url)
    assert endpoint.served.context == 512
    fits = LONG * 2
    assert 300 < endpoint.count_tokens(fits) < 500
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(endpoint.chat(user(fits), max_tokens=8).prompt_tokens))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    with pytest.raises(InputError, match=r"exceeds the available context size \(512 tokens\)"):
        endpoint.chat(user(LONG * 4), max_tokens=8)


def test_a_follow_up_reads_only_itself(session: Session) -> None:
    endpoint = Endpoint(session.url)
    history = user("first: " + LONG)
    first = endpoint.chat(history, max_tokens=8)
    history += [{"role": "assistant", "content": first.text}, *user("and then?")]
    second = endpoint.chat(history, max_tokens=8)
    assert second.cached_tokens >= first.prompt_tokens - 1


def test_bad_requests_leave_the_engine_up(session: Session) -> None:
    client = OpenAI(base_url=session.url, api_key="none", max_retries=0)
    for body in ({"messages": "x"}, {"messages": []}, {"messages": [{"role": "user"}]}):
        with contextlib.suppress(BadRequestError):
            client.post("/chat/completions", cast_to=object, body=body)
    with pytest.raises(InputError):
        Endpoint(session.url, "missing").chat(user("x"), max_tokens=1)
    assert session.is_running()
    assert Endpoint(session.url).chat(user("x"), max_tokens=1).completion_tokens == 1


def test_browser_pages_elsewhere_get_no_permission(session: Session) -> None:
    """A web page must not be able to ask the engine behind the user's back."""
    import httpx2

    reply = httpx2.get(session.url + "/models", headers={"Origin": "https://evil.example"})
    assert reply.headers.get("access-control-allow-origin") != "https://evil.example"
    assert reply.headers.get("access-control-allow-origin") != "*"
    assert httpx2.get(session.url.removesuffix("/v1") + "/slots").status_code >= 400


def test_threads_of_the_engine_do_not_sleep_as_those_of_training_do(
    tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    with running(tiny_gguf) as started:
        found = psutil.Process(started.pid).environ()
        assert "OMP_WAIT_POLICY" not in found
        assert found["GOMP_SPINCOUNT"] == "10000"


def test_default_context_is_what_the_model_was_trained_for(tiny_gguf: Path) -> None:
    with running(tiny_gguf) as started:
        assert started.context == 1024
        assert started.model_id == "tiny"
        pid, log = started.pid, started.log
    assert not psutil.pid_exists(pid)
    assert "listening on" in log.read_text()


@pytest.mark.parametrize("context", [0, -1, 1025])
def test_context_beyond_training_is_refused(tiny_gguf: Path, context: int) -> None:
    with pytest.raises(InputError, match=rf"context {context}: tiny.gguf was trained for 1 to 1024 tokens"):
        running(tiny_gguf, context=context).__enter__()


def test_the_port_given_is_the_port_bound_and_free_again_afterwards(tiny_gguf: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        with running(tiny_gguf, port=port) as started:
            assert started.url == f"http://127.0.0.1:{port}/v1"


def test_a_taken_port_is_one_clear_line(tiny_gguf: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port} cannot be used: Address already in use"):
            running(tiny_gguf, port=port).__enter__()


@pytest.mark.parametrize(("host", "port"), [("0.0.0.0", 0), ("::", 0), ("example.com", 0), ("127.0.0.1", 65536)])
def test_addresses_that_are_refused(tiny_gguf: Path, host: str, port: int) -> None:
    with pytest.raises(InputError, match=r"host|port"):
        running(tiny_gguf, host=host, port=port).__enter__()


def test_damaged_models(tiny_gguf: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_gguf.read_bytes()[:-50_000])
    with pytest.raises(JobError, match=r"could not start with .*cut\.gguf.*see .*\.log") as fault:
        running(cut).__enter__()
    assert "\n" not in str(fault.value)
    (tmp_path / "text.gguf").write_text("not a model at all")
    with pytest.raises(InputError, match="not a GGUF file"):
        running(tmp_path / "text.gguf").__enter__()


def test_a_killed_engine_is_noticed(tiny_gguf: Path) -> None:
    with running(tiny_gguf) as started:
        os.kill(started.pid, signal.SIGKILL)
        with pytest.raises(JobError, match=r"the engine stopped \(status -9\)"):
            started.wait()
        assert not started.is_running()
        with pytest.raises(JobError, match="cannot connect"):
            Endpoint(started.url).models()


def test_an_engine_started_in_a_thread_outlives_that_thread(tiny_gguf: Path) -> None:
    """The kernel's die-with-parent signal follows the starting thread, not the process."""
    stack = contextlib.ExitStack()
    found: list[Session] = []
    thread = threading.Thread(target=lambda: found.append(stack.enter_context(running(tiny_gguf))))
    thread.start()
    thread.join()
    with stack:
        time.sleep(0.3)
        assert found[0].is_running()
        assert Endpoint(found[0].url).chat(user("x"), max_tokens=1).completion_tokens == 1


PARENT = """
import multiprocessing, sys, threading, time
from pathlib import Path
from loglore.serve.engine import running

def start():
    global held
    held = running(Path(sys.argv[1]))
    print(held.__enter__().pid, flush=True)

if sys.argv[2] == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
if sys.argv[2] == "sibling":
    # A forked process inherits the pipe that tells the engine its parent lives.
    sibling = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    sibling.start()
    print(sibling.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["main", "thread", "sibling"])
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_no_engine_outlives_its_parent(tiny_gguf: Path, how: str, kill: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tiny_gguf), how], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    engine = int(parent.stdout.readline())
    sibling = int(parent.stdout.readline()) if how == "sibling" else None
    assert psutil.pid_exists(engine)
    parent.send_signal(kill)
    parent.wait()
    parent.stdout.close()
    try:
        assert gone(engine, within_s=3)
    finally:
        if sibling is not None:
            os.kill(sibling, signal.SIGKILL)
