"""A streamed answer of the API that somebody waits for, leaves, or loses."""

import contextlib
from pathlib import Path

import pytest
from support_gateway import gateway, scripted_engine, standing_in

from loglore.errors import InputError, JobError
from loglore.serve.supervised import Plan
from loglore.studio import apart
from loglore.studio.client import Api

BODY = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}


def api(url: str) -> Api:
    return Api(url.removesuffix("/v1"), "key")


def test_a_silent_answer_is_waited_for_and_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "QUIET_S", 0.02)
    with scripted_engine() as engine:
        engine.hold.clear()
        with contextlib.closing(api(engine.url).chat(BODY)) as pieces:  # type: ignore[type-var]
            # The engine is silent after its first word.
            heard = [next(pieces) for _ in range(5)]
        assert [piece for piece in heard if piece] == ["disk "] and heard[-1] == ""
        assert engine.hung_up.acquire(timeout=20)
        engine.hold.set()
        assert "".join(api(engine.url).chat(BODY)) == "disk full 🚀"
        (first, second) = engine.requests
        assert first == second == {"path": "/v1/chat/completions", "stream": True, **BODY}


def test_what_is_refused_or_breaks_off_is_told(tmp_path: Path) -> None:
    with scripted_engine() as engine:
        plan = Plan(("m",), "llama.cpp", lambda: standing_in(engine.url, "m"))
        with gateway([plan], tmp_path) as running:
            with pytest.raises(InputError, match="model 'n': not served here"):
                list(Api(running.url).chat({**BODY, "model": "n"}))
            engine.break_after = 1
            with pytest.raises(JobError, match="engine stopped while it answered"):
                list(Api(running.url).chat(BODY))
    with pytest.raises(JobError, match="does not answer"):
        list(Api(running.url).chat(BODY))
