"""The pages without a browser (AppTest), against a real API process."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from support_studio import LINES, Served

WAIT_S = 90


def _runs() -> None:
    from loglore.studio import runs_page

    runs_page.show()


def _models() -> None:
    from loglore.studio import models_page

    models_page.show()


def _chat() -> None:
    from loglore.studio import chat_page

    chat_page.show()


@pytest.fixture
def page(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], AppTest]:
    monkeypatch.setattr(sys, "argv", ["page.py", served.url])

    def opened(show: Callable[[], None]) -> AppTest:
        return AppTest.from_function(show, default_timeout=WAIT_S)

    return opened


def _text(app: AppTest) -> str:
    kinds = ("html", "caption", "text", "code", "error")
    return "\n".join(str(each.value if kind != "html" else each.proto.body) for kind in kinds for each in app.get(kind))


def _run(app: AppTest) -> str:
    app.run()
    assert not app.exception
    return _text(app)


def test_the_app_opens_on_the_chat(served: Served, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["page.py", served.url])
    app = AppTest.from_file(str(repository / "src/loglore/studio/page.py"), default_timeout=WAIT_S).run()
    assert not app.exception
    assert app.title[0].value == "Chat about a log"


def test_runs_show_jobs_curves_and_details(page: Callable[..., AppTest]) -> None:
    app = page(_runs)
    app.query_params["run"] = "first"
    text = _run(app)
    assert "loss 3.200 → 2.500" in text
    assert "tiny@1" in text
    assert len(app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart")) == 1
    app = page(_runs)
    app.query_params["run"], app.query_params["job"] = "first", "cpt"
    _run(app)
    assert [metric.value for metric in app.metric][:2] == ["3.200 → 2.500", "3.500 → 2.600"]
    assert {expander.label for expander in app.expander} >= {"Hyperparameters", "Events", "Spec", "Report"}


def test_scores_of_a_test_job_have_their_interval(page: Callable[..., AppTest]) -> None:
    app = page(_runs)
    app.query_params["run"], app.query_params["job"] = "first", "test-base"
    text = _run(app)
    assert "ROUGE-L 0.312" in text
    assert "0.250 – 0.380" in text


def test_an_interrupted_run_says_so(page: Callable[..., AppTest]) -> None:
    app = page(_runs)
    app.query_params["run"] = "broken"
    text = _run(app)
    assert "interrupted" in text
    assert "step 2 of 8" in text


def test_models_and_sample_code(page: Callable[..., AppTest], served: Served) -> None:
    text = _run(page(_models))
    assert "tiny@1" in text
    assert f'base_url="{served.url}/v1"' in text


def test_a_question_is_answered_and_checked(page: Callable[..., AppTest]) -> None:
    app = page(_chat)
    assert "Choose a log" in _run(app)
    app.multiselect(key="chat-files").set_value(["app.log"])
    app.selectbox(key="chat-model").select("tiny@1")
    text = _run(app)
    assert f"<b>{len(LINES)}</b> lines" in text
    assert "<b>2</b> error" in text
    assert "<script>" not in text
    app.button(key="chat-cause").click()
    text = _run(app)
    assert [message.name for message in app.chat_message] == ["user", "assistant"]
    assert "Checked against the log" in text or "Nothing in this answer can be checked" in text
    assert "The model saw" in text
    app.chat_input[0].set_value("Which line is the first error?")
    _run(app)
    assert len(app.chat_message) == 4
    next(button for button in app.button if button.label == "New chat").click()
    _run(app)
    assert len(app.chat_message) == 0


def test_pasted_lines_can_be_asked_about(page: Callable[..., AppTest]) -> None:
    app = page(_chat)
    app.run()
    app.segmented_control(key="chat-way").set_value("paste")
    app.run()
    app.text_area(key="chat-lines").set_value("2026-01-01 00:00:00 ERROR it broke\nsecond line")
    text = _run(app)
    assert "<b>2</b> lines" in text
    assert "pasted.log" in text


def test_no_api_is_one_calm_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["page.py", "http://127.0.0.1:9"])
    for show in (_runs, _models, _chat):
        app = AppTest.from_function(show, default_timeout=WAIT_S).run()
        assert not app.exception
        assert "does not answer" in _text(app)


def test_no_runs_yet_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loglore.studio.client import Api

    monkeypatch.setattr(sys, "argv", ["page.py", "http://127.0.0.1:8"])
    monkeypatch.setattr(Api, "runs", lambda self: {"data": [], "root": "runs"})
    app = AppTest.from_function(_runs, default_timeout=WAIT_S).run()
    assert "make quickstart" in _text(app)


def _asked(page: Callable[..., AppTest], *models: str) -> AppTest:
    app = page(_chat)
    app.run()
    app.multiselect(key="chat-files").set_value(["app.log"])
    app.selectbox(key="chat-model").select(models[0])
    app.run()
    if models[1:]:
        app.toggle(key="chat-two").set_value(True)
        app.run()
        app.selectbox(key="chat-second").select(models[1])
        app.run()
    return app


def test_two_models_answer_side_by_side_and_again(page: Callable[..., AppTest]) -> None:
    app = _asked(page, "tiny@1", "other@1")
    app.button(key="chat-summary").click()
    text = _run(app)
    assert "<b>tiny@1</b>" in text
    assert "<b>other@1</b>" in text
    assert text.count("The model saw") == 2
    app.button(key="chat-regenerate").click()
    _run(app)
    assert len(app.chat_message) == 2
    (export,) = app.get("download_button")
    assert export.proto.label == "Export as Markdown"


def test_a_hostile_log_changes_nothing_in_what_is_exported() -> None:
    from loglore.studio import transcript

    hostile = "``` <script>alert(1)</script> ![x](http://example.org/x.png)\x1b[31m"
    claim = {"start": 0, "end": len(hostile), "verdict": "contradicted", "lines": [3], "actual": hostile}
    claim["cited"] = [{"source": "a", "line": 3, "text": hostile}]
    omitted = {"lines": 0, "lines_total": 1, "templates": 0, "templates_total": 1, "shortened": 0}
    answer = {"answer": hostile, "claims": [claim], "evidence": {"lines": 1, "tokens": 9, "omitted": omitted}}
    text = transcript.markdown([[{"question": hostile, "model": "m", "text": hostile, "answer": answer}]])
    inside = False
    for line in text.splitlines():
        if line.startswith("````"):
            inside = not inside
        elif not inside:
            assert "<script>" not in line
            assert "](" not in line
    assert not inside
    assert "\x1b" not in text
