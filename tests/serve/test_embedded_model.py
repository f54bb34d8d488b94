"""The embedded model itself: streaming in Japanese, a second question that does not re-read, cancelling by leaving."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from loglore.endpoint.client import Endpoint
from loglore.models.job import embedded_gguf
from loglore.serve.engine import Session, running

pytestmark = pytest.mark.model

LOG = "".join(
    f"Jan  3 04:{minute:02d}:09 web-1 sshd[{800 + minute}]: Failed password for invalid user admin from 127.0.0.1\n"
    for minute in range(20)
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with running(embedded_gguf(), model_id="smollm2", context=4096, log=log) as started:
        yield started


def test_japanese_streams_as_whole_characters(session: Session) -> None:
    pieces: list[str] = []
    messages = [{"role": "user", "content": "次の文をそのまま繰り返してください: ディスクの空き容量がありません。"}]
    reply = Endpoint(session.url).chat(messages, max_tokens=24, on_text=pieces.append)
    assert "".join(pieces) == reply.text
    assert "\ufffd" not in reply.text
    assert any("\u3040" <= character <= "\u9fff" for character in reply.text)


def test_second_question_over_a_log_reads_only_itself(session: Session) -> None:
    endpoint = Endpoint(session.url)
    reading: list[tuple[int, int]] = []
    history = [{"role": "user", "content": f"Summarize this log.\n\nLog content:\n{LOG}"}]
    first = endpoint.chat(history, max_tokens=16, on_reading=lambda done, total: reading.append((done, total)))
    history += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "Which user?"}]
    second = endpoint.chat(history, max_tokens=16)
    assert first.prompt_tokens > 800
    assert reading[-1] == (first.prompt_tokens, first.prompt_tokens)
    assert len(reading) > 2
    assert second.cached_tokens >= first.prompt_tokens
    # The issue asks for 10 %; twice that leaves room for a busy machine.
    assert second.first_token_s <= 0.2 * first.first_token_s


def test_leaving_a_stream_stops_the_server(session: Session) -> None:
    """One conversation at a time: were the first not cancelled, the second would wait for 3,000 tokens, some 30 s."""
    client = OpenAI(base_url=session.url, api_key="none", max_retries=0)
    stream = client.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Count from one to one thousand in words."}],
        max_tokens=3000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    with stream:
        for number, _ in enumerate(stream):
            if number == 5:
                break
    start = time.monotonic()
    Endpoint(session.url).chat([{"role": "user", "content": "Hi"}], max_tokens=2)
    assert time.monotonic() - start < 10


def test_chat_answers_about_an_example_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from loglore.chat.terminal import chat

    log = tmp_path / "auth.log"
    log.write_text("".join(LOG.splitlines(keepends=True)[:6]))
    chat([log], question="Summarize this log.", max_tokens=16)
    out = capsys.readouterr().out
    assert "Model: smollm2-135m-instruct" in out
    assert "The model saw 6 of 6 lines" in out
