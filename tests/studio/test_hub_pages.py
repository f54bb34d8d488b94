"""The pages of the studio without a browser (AppTest), against a real API and a real worker."""

import json
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from streamlit.testing.v1 import AppTest
from support_workshop import CHATS, QUICK, Workshop

WAIT_S = 120
HOSTILE = "<script>alert(1)</script> ![x](http://example.org/x.png)"
Opened = Callable[..., AppTest]


def _page() -> None:
    import importlib
    import sys

    importlib.import_module(f"loglore.studio.{sys.argv[2]}_page").show()


@pytest.fixture
def page(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Opened:
    def opened(name: str, language: str = "en", **query: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["page.py", workshop.url, name])
        app = AppTest.from_function(_page, default_timeout=WAIT_S)
        app.session_state["language"] = language
        for key, value in query.items():
            app.query_params[key] = value
        return app

    return opened


@pytest.fixture(scope="module")
def datasets(workshop: Workshop) -> dict[str, str]:
    """Names of two datasets: chat rows, and rows of which one is hostile."""
    rows: dict[str, list[dict[str, Any]]] = {
        "chats": CHATS,
        "corpus": [{"text": HOSTILE}, *({"text": f"The disk {n} is full."} for n in range(9))],
    }
    names = {}
    for name, values in rows.items():
        body = {"name": name, "file": workshop.stored(values), "licence": "CC0-1.0"}
        names[name] = _posted(workshop, "/studio/datasets", body)["id"]
    return names


def _posted(workshop: Workshop, path: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = httpx2.post(f"{workshop.url}/v1{path}", json=body, timeout=60)
    assert reply.status_code < 300, reply.text
    found: dict[str, Any] = reply.json()
    return found


def _text(app: AppTest) -> str:
    kinds = ("html", "caption", "text", "code", "error", "success", "warning", "markdown", "subheader", "title")
    return "\n".join(str(each.value if kind != "html" else each.proto.body) for kind in kinds for each in app.get(kind))


def _run(app: AppTest) -> str:
    app.run()
    assert not app.exception
    return _text(app)


def _press(app: AppTest, label: str) -> str:
    next(button for button in app.button if button.label == label).click()
    return _run(app)


def test_empty_pages_say_what_to_do_first(page: Opened) -> None:
    assert "New job" in _run(page("tuning"))
    assert "New test" in _run(page("tests"))
    assert "No session is running" in _run(page("sessions"))
    assert "CPU costs nothing" in _run(page("costs"))
    assert "add some in the Data Hub" in _run(page("tests", view="new"))
    assert "S3" in _run(page("data", view="connections"))


def test_every_page_speaks_japanese(page: Opened) -> None:
    for name, title in (
        ("data", "データハブ"),
        ("tuning", "微調整"),
        ("keys", "キー"),
        ("audit", "監査"),
        ("runs", "レシピの実行"),
    ):
        app = page(name, language="ja")
        _run(app)
        assert app.title[0].value == title


def test_data_can_be_filtered_read_checked_and_counted(page: Opened, datasets: dict[str, str]) -> None:
    app = page("data")
    text = _run(app)
    assert all(name in text for name in datasets.values())
    app.text_input(key="data-filter").set_value("corp")
    text = _run(app)
    assert "corpus@1" in text
    assert "chats@1" not in text
    app = page("data", dataset="corpus@1")
    text = _run(app)
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "Nothing is wrong" in _press(app, "Check all rows")
    _press(app, "Count tokens")
    assert {metric.label: metric.value for metric in app.metric}["Samples"] == "10"


def test_rows_are_checked_before_they_are_added(page: Opened) -> None:
    app = page("data", view="add")
    _run(app)
    rows = [{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": ""}]}, CHATS[0]]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    app.file_uploader(key="data-file").set_value([("bad rows.jsonl", content, "application/jsonl")])
    text = _run(app)
    assert "1: " in text
    assert "ll-state error" in text
    good = "".join(json.dumps(row) + "\n" for row in CHATS).encode()
    app.file_uploader(key="data-file").set_value([("Good.jsonl", good, "application/jsonl")])
    assert "Nothing is wrong" in _run(app)
    assert "good@1" in _press(app, "Add to the hub")


def test_form_and_json_stay_in_step(page: Opened, datasets: dict[str, str]) -> None:
    app = page("tuning", view="new")
    _run(app)
    values = json.loads(app.text_area[0].value)
    assert len(values) == 40
    app.selectbox(key="preset-supervised").select("sft_llama-3.1-8b_4xh100")
    _run(app)
    assert json.loads(app.text_area[0].value)["learning_rate"] == 5e-5
    next(each for each in app.number_input if each.label == "epochs").set_value(7)
    _run(app)
    values = json.loads(app.text_area[0].value)
    assert values["epochs"] == 7
    app.text_area[0].set_value(json.dumps({**values, "batch_size": 3}))
    _run(app)
    assert next(each for each in app.number_input if each.label == "batch_size").value == 3
    app.text_area[0].set_value("{")
    assert "Not JSON yet" in _run(app)
    assert not [button for button in app.button if button.label == "Start"]
    app.text_area[0].set_value(json.dumps({"learning_rat": 1}))
    _run(app)
    assert "learning_rate" in _press(app, "Start")


def test_a_job_is_estimated_started_followed_and_published(
    page: Opened, workshop: Workshop, datasets: dict[str, str]
) -> None:
    app = page("tuning", view="new")
    _run(app)
    app.selectbox(key="tuning-train-supervised").select("chats@1")
    _run(app)
    app.text_area[0].set_value(json.dumps({**QUICK, "epochs": 1}))
    _run(app)
    _press(app, "Estimate")
    assert {metric.label for metric in app.metric} >= {"Steps", "Memory a process", "Time"}
    _press(app, "Start")
    job = app.query_params["job"]
    job = job[0] if isinstance(job, list) else job
    assert workshop.wait(job).status == "succeeded"
    app = page("tuning", job=job)
    text = _run(app)
    assert "tiny-supervised@1" in text
    assert app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart")
    assert {each.label for each in app.expander} >= {"Hyperparameters", "Events", "Spec", "Audit", "Log"}
    assert next(button for button in app.button if button.label == "Cancel").disabled
    text = _run(page("models", model="tiny-supervised@1"))
    assert "<svg" in text
    assert "tiny@1" in text
    assert "chats@1" in text
    assert "model.safetensors" in text
    assert job in _run(page("audit", target=job))


def test_models_are_tested_and_compared(page: Opened, workshop: Workshop, datasets: dict[str, str]) -> None:
    _posted(workshop, "/studio/models/tiny@1/tags", {"tag": "base"})
    app = page("tests", view="new")
    _run(app)
    app.multiselect[0].set_value(["tiny@1"])
    next(each for each in app.number_input if each.label == "max_new_tokens").set_value(8)
    app.checkbox[0].set_value(False)
    _press(app, "Start")
    tests = [_query(app, "job")]
    spec = {"model": "tiny@1", "dataset": "dataset:chats@1", "max_new_tokens": 4, "general_text": False}
    tests.append(_posted(workshop, "/studio/jobs", {"kind": "test", "name": "short", "spec": spec})["id"])
    compare = {"tests": {"long": f"${{{tests[0]}.run}}", "short": f"${{{tests[1]}.run}}"}}
    job = _posted(workshop, "/studio/jobs", {"kind": "compare", "spec": compare, "depends_on": tests})["id"]
    _ended(workshop, job)
    app = page("tests", job=tests[0])
    assert "12 rows, the worst first" in _run(app)
    app.selectbox(key=f"against-{tests[0]}").select(tests[1])
    assert "the largest loss first" in _run(app)
    app.selectbox(key=f"row-{tests[0]}-1").select(1)
    assert "The disk 0 is full." in _run(app)
    text = _run(page("tests", view="compare", comparison=job))
    assert "12 rows that all answered; the baseline is long" in text
    assert "What the numbers say" in text or "short − long" in text


def test_keys_are_shown_once_and_revoked(page: Opened, workshop: Workshop) -> None:
    app = page("keys")
    assert "admin" in _run(app)
    app.text_input[0].set_value(HOSTILE)
    text = _press(app, "Create")
    secret = next(each.value for each in app.code if each.value.startswith("ll-"))
    assert "only time" in text
    assert "<script>" not in text
    assert secret not in _run(page("keys"))
    app = page("keys")
    _run(app)
    app.selectbox[0].select(secret.split("-")[1])
    _run(app)
    assert "revoked" in _press(app, "Revoke now")


def test_an_api_that_wants_a_key_gets_it_from_the_visitor(page: Opened, workshop: Workshop) -> None:
    from loglore.studio.client import Api, KeyNeededError

    with pytest.raises(KeyNeededError):
        Api(workshop.url, "ll-0123456789ab-wrong").get("/studio/keys")
    app = page("keys")
    app.session_state["key"] = "ll-0123456789ab-wrong"
    assert "needs a key" in _run(app)
    app.text_input[0].set_value(workshop.admin)
    assert "admin" in _press(app, "Sign in")


def _query(app: AppTest, name: str) -> str:
    found = app.query_params[name]
    return str(found[0] if isinstance(found, list) else found)


def _ended(workshop: Workshop, job: str) -> None:
    with httpx2.stream("GET", f"{workshop.url}/v1/studio/jobs/{job}/events?stream=true", timeout=120) as reply:
        for _ in reply.iter_lines():
            pass
    assert httpx2.get(f"{workshop.url}/v1/studio/jobs/{job}").json()["state"] == "succeeded"
