"""The client against a scripted server: what is sent, what comes back, and every way to fail in one line."""

import socket

import pytest
from support_serving import ScriptedServer

from loglore.endpoint.client import Endpoint
from loglore.errors import InputError, JobError

QUESTION = [{"role": "user", "content": "what failed?"}]


def test_streams_text_and_counts(scripted: ScriptedServer) -> None:
    scripted.answer = "ディスク full 🚀"
    pieces: list[str] = []
    reply = Endpoint(scripted.url, key="secret").chat(QUESTION, max_tokens=7, on_text=pieces.append, stop=["\n\n"])
    assert pieces == ["ディスク", " full", " 🚀"]
    assert reply.text == "ディスク full 🚀"
    assert (reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == (2, 3, "stop")
    assert 0 < reply.first_token_s <= reply.seconds
    sent = scripted.requests[0]
    assert sent["messages"] == QUESTION
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["stop"]) == ("scripted", 7, 0, ["\n\n"])
    assert sent["key"] == "Bearer secret"
    # An extension of llama.cpp, which other servers may refuse.
    assert "return_progress" not in sent


def test_an_answer_that_goes_in_circles_is_ended(scripted: ScriptedServer) -> None:
    round_ = "The disk of node 3 is full, and nothing more can be written to it until something is deleted. "
    scripted.answer = "It is this. " + round_ * 400 + "Never sent."
    endpoint, heard = Endpoint(scripted.url), list[str]()
    question = [{"role": "user", "content": "what?"}]
    reply = endpoint.chat(question, max_tokens=9, on_text=heard.append, end_circles=True)
    assert reply.text == "It is this. " + round_
    assert reply.finish_reason == "repeats"
    assert len("".join(heard)) < len(round_) * 5
    assert reply.completion_tokens == len(heard)
    assert reply.prompt_tokens >= 3
    assert endpoint.chat(question, max_tokens=9).text == scripted.answer


def test_a_word_that_is_said_for_ever_is_ended_without_the_end_of_a_sentence(scripted: ScriptedServer) -> None:
    scripted.answer = "It is off, so it " + "can " * 900
    heard: list[str] = []
    question = [{"role": "user", "content": "what?"}]
    reply = Endpoint(scripted.url).chat(question, max_tokens=9, on_text=heard.append, end_circles=True)
    assert (reply.text.rstrip(), reply.finish_reason) == ("It is off, so it can", "repeats")
    assert len("".join(heard)) < len(scripted.answer) / 2


def test_the_key_of_the_environment(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_ENDPOINT_KEY", "of-the-environment")
    Endpoint(scripted.url).chat(QUESTION, max_tokens=7)
    Endpoint(scripted.url, key="given").chat(QUESTION, max_tokens=7)
    monkeypatch.delenv("LOGLORE_ENDPOINT_KEY")
    Endpoint(scripted.url).chat(QUESTION, max_tokens=7)
    keys = [request["key"] for request in scripted.requests if "messages" in request]
    assert keys == ["Bearer of-the-environment", "Bearer given", "Bearer none"]


def test_estimated_tokens_are_on_the_high_side(scripted: ScriptedServer) -> None:
    endpoint = Endpoint(scripted.url)
    assert endpoint.count_tokens("2026-11-22 10:11") == 8
    assert endpoint.count_tokens("") == 0


def test_the_model_is_named_or_the_only_one(scripted: ScriptedServer) -> None:
    assert Endpoint(scripted.url).served.model_id == "scripted"
    with pytest.raises(InputError, match=r"no model 'other'; it offers scripted"):
        _ = Endpoint(scripted.url, "other").served
    scripted.cards.append({"id": "org/second", "object": "model", "max_model_len": 4096})
    assert Endpoint(scripted.url, "org/second").served.context == 4096
    with pytest.raises(InputError, match=r"name one of its models \(scripted, org/second\)"):
        _ = Endpoint(scripted.url).served
    scripted.cards.clear()
    with pytest.raises(InputError, match="none"):
        _ = Endpoint(scripted.url).served


@pytest.mark.parametrize(("status", "kind"), [(400, InputError), (401, InputError), (404, InputError)])
def test_refusals(scripted: ScriptedServer, status: int, kind: type[Exception]) -> None:
    scripted.status = status
    with pytest.raises(kind, match=f"{status} scripted refusal"):
        Endpoint(scripted.url).chat(QUESTION, max_tokens=5)


def test_a_fault_of_the_server_is_a_failed_job(scripted: ScriptedServer) -> None:
    scripted.status = 501
    with pytest.raises(JobError, match="501 scripted refusal"):
        Endpoint(scripted.url).chat(QUESTION, max_tokens=5)


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_a_stream_that_breaks_off_is_no_answer(scripted: ScriptedServer, pieces: int) -> None:
    scripted.answer = "one two three"
    scripted.break_after = pieces
    with pytest.raises(JobError, match="broke off"):
        Endpoint(scripted.url).chat(QUESTION, max_tokens=5)


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    with pytest.raises(JobError, match="cannot connect"):
        Endpoint(url).models()


def test_silence_is_a_failed_job() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", timeout_s=0.05)
        with pytest.raises(JobError, match="no answer in time"):
            endpoint.models()


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x/v1", "http://"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InputError, match="expected a URL"):
        Endpoint(url)
