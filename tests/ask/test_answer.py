"""Questions about a log against a scripted server: what the model is shown, when anew, and what is checked."""

import io
import sys
from pathlib import Path

import pytest
from support_serving import ScriptedServer

from loglore.ask import answer as answer_module
from loglore.ask.answer import FRAME_TOKENS, Conversation, read_log
from loglore.data.frame import log_of, student_prompt
from loglore.endpoint.client import Endpoint
from loglore.errors import InputError, JobError
from loglore.logs.table import LogTable
from loglore.logs.templates import Mined

LINES = [
    "2026-11-22 10:14:01 INFO request served in 12 ms",
    "2026-11-22 10:14:02 ERROR could not extend file base/13/2619: No space left on device",
    "2026-11-22 10:14:03 INFO request served in 15 ms",
    "2026-11-22 10:14:04 FATAL shutting down",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text("\n".join(LINES) + "\n")
    return path


def conversation(server: ScriptedServer, *logs: Path, context: int = 2000, answer: int = 100) -> Conversation:
    return Conversation(Endpoint(server.url), read_log(logs), context, answer)


def sent(server: ScriptedServer, index: int = -1) -> list[dict[str, str]]:
    return server.requests[index]["messages"]


def test_the_model_reads_the_frame_it_was_trained_on(scripted: ScriptedServer, log: Path) -> None:
    answer = conversation(scripted, log).ask("What failed?")
    assert sent(scripted) == [{"role": "user", "content": student_prompt("What failed?", answer.evidence.text)}]
    for number, line in enumerate(LINES, 1):
        assert f"L{number}|{line}" in answer.evidence.text
    assert scripted.requests[-1]["max_tokens"] == 100


def test_claims_are_checked_and_point_into_the_answer(scripted: ScriptedServer, log: Path) -> None:
    scripted.answer = 'Line 2 says "No space left on device". It happened at 10:14:09.'
    answer = conversation(scripted, log).ask("What failed?")
    found = {answer.text[claim.start : claim.end]: claim.verdict for claim in answer.claims}
    assert found['"No space left on device"'] == "supported"
    assert found["10:14:09"] != "supported"
    assert any("2" in text and verdict == "supported" for text, verdict in found.items())


def test_an_answer_that_goes_in_circles_counts_once(scripted: ScriptedServer, log: Path) -> None:
    said = 'Line 2 says "No space left on device", and that is the reason for what was seen after it. '
    scripted.answer = said * 300
    talk = conversation(scripted, log)
    answer = talk.ask("What failed?")
    assert (answer.text, answer.reply.finish_reason) == (said, "repeats")
    assert [claim.verdict for claim in answer.claims if claim.kind == "quote"] == ["supported"]
    assert not talk.ask("When?").renewed
    assert sent(scripted)[1]["content"] == said


def test_follow_ups_go_on_and_show_the_log_once(scripted: ScriptedServer, log: Path) -> None:
    talk = conversation(scripted, log)
    first = talk.ask("What failed?")
    second = talk.ask("When?")
    assert (first.renewed, second.renewed) == (True, False)
    assert [message["role"] for message in sent(scripted)] == ["user", "assistant", "user"]
    assert sent(scripted)[:1] == sent(scripted, 0)
    assert sent(scripted)[-1]["content"] == "When?"
    talk.renew()
    assert talk.ask("Why?").renewed
    assert len(sent(scripted)) == 1


def test_a_full_context_starts_over_with_the_question_asked(scripted: ScriptedServer, log: Path) -> None:
    scripted.answer = " ".join(f"w{number}" for number in range(200))
    talk = conversation(scripted, log, context=700, answer=200)
    renewed = [talk.ask("What about this?").renewed for _ in range(4)]
    assert renewed[0]
    assert True in renewed[1:]
    assert False in renewed


@pytest.mark.parametrize("context", [400, 700, 1500])
def test_evidence_and_answer_fit_the_context(scripted: ScriptedServer, tmp_path: Path, context: int) -> None:
    big = tmp_path / "big.log"
    big.write_text(
        "".join(f"2026-11-22 10:14:{i % 60:02d} INFO request {i} served in {i * 7 % 90} ms\n" for i in range(3000))
    )
    talk = conversation(scripted, big, context=context, answer=100)
    answer = talk.ask("What is slow?")
    endpoint = Endpoint(scripted.url)
    assert endpoint.count_tokens(sent(scripted)[0]["content"]) + 100 <= context
    assert answer.evidence.omitted["lines"] > 0
    assert len(answer.evidence.lines) < 3000


def test_a_failed_question_can_be_put_again(scripted: ScriptedServer, log: Path) -> None:
    talk = conversation(scripted, log)
    scripted.break_after = 0
    with pytest.raises(JobError):
        talk.ask("What failed?")
    scripted.break_after = None
    talk.ask("What failed?")
    assert sent(scripted) == sent(scripted, 0)


def test_evidence_is_told_before_the_answer_streams(scripted: ScriptedServer, log: Path) -> None:
    seen: list[str] = []
    conversation(scripted, log).ask("x?", on_evidence=lambda _: seen.append("evidence"), on_text=seen.append)
    assert seen == ["evidence", "Nothing."]


def test_bad_settings_and_questions(scripted: ScriptedServer, log: Path, tmp_path: Path) -> None:
    endpoint, mined = Endpoint(scripted.url), read_log([log])
    with pytest.raises(InputError, match="does not say how long its context is"):
        Conversation(endpoint, mined, None, 100)
    with pytest.raises(InputError, match="leaves no room"):
        Conversation(endpoint, mined, 100 + 2 * FRAME_TOKENS, 100)
    scripted.cards[0]["max_model_len"] = 1000
    with pytest.raises(InputError, match="offers 1000"):
        Conversation(Endpoint(scripted.url), mined, 1001, 100)
    talk = Conversation(Endpoint(scripted.url), mined, None, 100)
    with pytest.raises(InputError, match="empty"):
        talk.ask("  \n")
    with pytest.raises(InputError, match="no room for the log"):
        talk.ask("why " * 1000)
    (tmp_path / "empty.log").touch()
    with pytest.raises(InputError, match=r"empty\.log: empty"):
        read_log([tmp_path / "empty.log"])
    with pytest.raises(InputError, match=r"missing\.log"):
        read_log([tmp_path / "missing.log"])


def test_the_log_is_recovered_from_the_prompt(scripted: ScriptedServer, log: Path) -> None:
    answer = conversation(scripted, log).ask("What failed?")
    assert log_of(sent(scripted)[0]["content"]) == answer.evidence.text.rstrip()


def test_a_large_log_is_asked_about_from_disk(
    scripted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_module, "LARGE_BYTES", 1000)
    path = tmp_path / "big.log"
    path.write_text("\n".join(LINES * 100) + "\n")
    talk = conversation(scripted, path)
    assert isinstance(talk.log, LogTable)
    answer = talk.ask("What failed?")
    assert answer.evidence.omitted["lines_total"] == 400
    assert "2026-11-22 10:14:02 ERROR could not extend file" in answer.evidence.text
    assert talk.log.folder.parent == tmp_path / "home" / "logs"


def test_standard_input_is_held_in_memory_when_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped:
        buffer = io.BytesIO("\n".join(LINES).encode())

    monkeypatch.setattr(sys, "stdin", Piped)
    log = read_log([Path("-")])
    assert isinstance(log, Mined)
    assert log.table["text"].to_list() == LINES
