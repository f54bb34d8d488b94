"""The pages of the studio without a browser (AppTest), against a real API. What runs for long is in `test_browser`."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from streamlit.testing.v1 import AppTest
from support_gateway import gateway, scripted_engine, standing_in
from support_pages import LAST, SHOWN, Hub, api_of
from support_studio import Served
from support_workshop import CHATS, QUICK

from loglore.api.app import Studio
from loglore.cluster.serving import Place
from loglore.hub import models
from loglore.serve.supervised import Plan
from loglore.studio.sessions_page import Played

WAIT_S = 120
HOSTILE = "<script>alert(1)</script> ![x](http://example.org/x.png)"
Opened = Callable[..., AppTest]


def _page() -> None:
    import importlib
    import sys

    importlib.import_module(f"loglore.studio.{sys.argv[2]}_page").show()


@pytest.fixture
def page(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Opened:
    def opened(name: str, language: str = "en", url: str = hub.url, **query: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["page.py", url, name])
        app = AppTest.from_function(_page, default_timeout=WAIT_S)
        app.session_state["language"] = language
        for key, value in query.items():
            app.query_params[key] = value
        return app

    return opened


@pytest.fixture(scope="module")
def datasets(hub: Hub) -> dict[str, str]:
    """Names of two datasets: chat rows, and rows of which one is hostile."""
    corpus = [{"text": HOSTILE}, *({"text": f"The disk {n} is full."} for n in range(9))]
    return {"chats": hub.dataset("chats", CHATS), "corpus": hub.dataset("corpus", corpus)}


def _text(app: AppTest) -> str:
    kinds = ("html", "caption", "text", "code", "error", "success", "warning", "markdown", "header", "title")
    return "\n".join(str(each.value if kind != "html" else each.proto.body) for kind in kinds for each in app.get(kind))


def _run(app: AppTest) -> str:
    app.run()
    assert not app.exception
    return _text(app)


def _press(app: AppTest, label: str) -> str:
    next(button for button in app.button if button.label == label).click()
    return _run(app)


def _labelled(widgets: Any, label: str) -> Any:
    return next(each for each in widgets if each.label == label)


def _query(app: AppTest, name: str) -> str:
    found = app.query_params[name]
    return str(found[0] if isinstance(found, list) else found)


def _charts(app: AppTest) -> int:
    return len(app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart"))


def test_empty_pages_say_what_to_do_first(page: Opened, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with api_of(tmp_path / "home", tmp_path / "logs") as empty:

        def text(name: str, **query: str) -> str:
            return _run(page(name, url=empty.url, **query))

        assert "New job" in text("tuning")
        assert "New test" in text("tests")
        assert "there is none yet" in text("sessions")
        assert "CPU costs nothing" in text("costs")
        assert "Generate" in text("data")
        assert "Put some into" in text("data", view="generate")
        assert "loglore models add" in text("models")
        assert "add some in the Data Hub" in text("tests", view="new")
        assert "S3" in text("data", view="connections")
        assert "New test" in text("tests", view="compare")


@pytest.mark.parametrize(
    ("name", "title"),
    [("data", "データハブ"), ("models", "モデルハブ"), ("tuning", "微調整"), ("tests", "テストジョブ"),
     ("sessions", "セッション"), ("keys", "キー"), ("costs", "費用"), ("audit", "監査"), ("runs", "レシピの実行")],
)  # fmt: skip
def test_every_page_speaks_japanese(page: Opened, name: str, title: str) -> None:
    app = page(name, language="ja")
    _run(app)
    assert app.title[0].value == title


def test_data_can_be_filtered_read_checked_and_counted(page: Opened, datasets: dict[str, str]) -> None:
    app = page("data")
    text = _run(app)
    assert all(name in text for name in datasets.values())
    app.text_input(key="data-filter").set_value("Corp")
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
    assert _charts(app) == 1


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


def test_rows_of_a_bucket_are_looked_at_and_added(page: Opened, s3_bucket: str, s3_server: str) -> None:
    import s3fs

    with s3fs.S3FileSystem().open(f"{s3_bucket}/rows/corpus.jsonl", "wb") as file:
        file.write(b'{"text": "The disk is full."}\n')
    app = page("data", view="connections")
    _run(app)
    values = {"Name": "store", "Bucket": s3_bucket, "Endpoint": s3_server, "Region": "us-east-1", "Key id": "test"}
    for label, value in values.items():
        _labelled(app.text_input, label).set_value(value)
    _labelled(app.text_input, "Secret").set_value("very-secret")
    assert "very-secret" not in _press(app, "Keep the connection")
    app = page("data", view="connections", connection="store")
    assert "rows/corpus.jsonl" in _run(app)
    app.selectbox(key="object-store").select("rows/corpus.jsonl")
    _run(app)
    _labelled(app.text_input, "Name").set_value("from-s3")
    text = _press(app, "Add to the hub")
    assert "from-s3@1" in text
    assert "The disk is full." in text


def test_a_teacher_is_given_work(page: Opened, hub: Hub) -> None:
    app = page("data", view="generate")
    _run(app)
    _labelled(app.multiselect, "Logs").set_value(["log:app.log"])
    _labelled(app.number_input, "Training rows").set_value(7)
    _press(app, "Generate")
    made = hub.get(f"/studio/jobs/{_query(app, 'job')}")
    assert (made["kind"], made["state"], made["spec"]["train_rows"]) == ("synth", "queued", 7)
    app = page("data", view="generate")
    _run(app)
    app.radio(key="generate-task").set_value("nlplog")
    _run(app)
    _labelled(app.multiselect, "Logs").set_value(["log:app.log"])
    _labelled(app.text_input, "URL of the teacher").set_value("http://127.0.0.1:9/v1")
    _labelled(app.text_input, "Model of the teacher").set_value("large")
    _labelled(app.number_input, "Stop at ($)").set_value(3.0)
    _press(app, "Generate")
    spec = hub.get(f"/studio/jobs/{_query(app, 'job')}")["spec"]
    assert (spec["teacher"][0]["model"], spec["budget_dollars"]) == ("large", 3.0)


def test_form_and_json_stay_in_step(page: Opened, datasets: dict[str, str]) -> None:
    app = page("tuning", view="new")
    _run(app)
    values = json.loads(app.text_area[0].value)
    assert len(values) == 40
    app.selectbox(key="preset-supervised").select("sft_llama-3.1-8b_4xh100")
    _run(app)
    assert json.loads(app.text_area[0].value)["learning_rate"] == 5e-5
    _labelled(app.number_input, "epochs").set_value(7)
    _run(app)
    values = json.loads(app.text_area[0].value)
    assert values["epochs"] == 7
    app.text_area[0].set_value(json.dumps({**values, "batch_size": 3}))
    _run(app)
    assert _labelled(app.number_input, "batch_size").value == 3
    app.text_area[0].set_value("{")
    assert "Not JSON yet" in _run(app)
    assert not [button for button in app.button if button.label == "Start"]
    app.text_area[0].set_value(json.dumps({"learning_rat": 1}))
    _run(app)
    assert "learning_rate" in _press(app, "Start")


def test_a_job_is_estimated_queued_cancelled_used_again_and_forgotten(
    page: Opened, hub: Hub, datasets: dict[str, str]
) -> None:
    app = page("tuning", view="new")
    _run(app)
    app.selectbox(key="tuning-train-supervised").select("chats@1")
    _run(app)
    app.text_area[0].set_value(json.dumps({**QUICK, "epochs": 5}))
    _run(app)
    app.checkbox(key="tuning-more-general_text").set_value(False)
    app.number_input(key="tuning-more-max_tokens").set_value(500)
    _press(app, "Estimate")
    assert {metric.label for metric in app.metric} >= {"Steps", "Memory a process", "Time", "Cost"}
    assert "Waiting for a worker" in _press(app, "Start")
    job = _query(app, "job")
    assert "cancelled" in _press(app, "Cancel")
    assert hub.get(f"/studio/jobs/{job}")["state"] == "cancelled"
    _press(app, "Use again")
    values = json.loads(app.text_area[0].value)
    assert (values["epochs"], values["max_sequence_length"], len(values)) == (5, 64, 40)
    assert app.selectbox(key="tuning-train-supervised").value == "chats@1"
    assert not app.checkbox(key="tuning-more-general_text").value
    assert app.number_input(key="tuning-more-max_tokens").value == 500
    assert job in _run(page("audit", target=job))
    app = page("tuning", job=job)
    _run(app)
    _press(app, "Delete now")
    assert "is not there" in _run(page("tuning", job=job))


def test_a_finished_and_a_running_job_show_what_they_measured(page: Opened, hub: Hub) -> None:
    app = page("tuning", job=hub.jobs["train"])
    text = _run(app)
    assert "2.000 → 1.000" in [metric.value for metric in app.metric]
    assert _charts(app) == 7  # loss, learning rate, gradient norm; %, GB, W, MB/s
    assert {each.label for each in app.expander} >= {"System", "Hyperparameters", "Events", "Spec", "Audit", "Log"}
    assert not {"Pause", "Resume", "Cancel"} & {button.label for button in app.button}
    assert "one line of output" in text
    steps = [row["step"] for row in hub.get(f"/studio/jobs/{hub.jobs['train']}/metrics?most=5")["data"]]
    assert steps == [1, 5, 9, 13, 17, 20]
    app = page("tuning", job=hub.jobs["running"])
    _run(app)
    assert "Left" in {metric.label for metric in app.metric}
    assert app.get("progress")[0].proto.text == "step 20 of 40"
    assert "pausing" in _press(app, "Pause")
    assert hub.get(f"/studio/jobs/{hub.jobs['running']}")["wanted"] == "pause"
    _press(app, "Resume")
    assert hub.get(f"/studio/jobs/{hub.jobs['running']}")["wanted"] == "run"


def test_jobs_are_listed_by_state_and_page_and_any_can_be_linked_to(page: Opened, hub: Hub) -> None:
    app = page("tests")
    first = _run(app)
    app.segmented_control(key="jobs-group-test-job").set_value("failed")
    text = _run(app)
    assert "✗ failed" in text and "✓ succeeded" not in text
    made = [hub.post("/studio/jobs", _wish(name))["id"] for name in ("one", "two") for _ in range(6)]
    app = page("tests")
    _run(app)
    assert made[0][-8:] not in _text(app)
    _press(app, "Older")
    assert made[0][-8:] in _text(app)
    assert _press(app, "Newer") != first
    _press(app, "Older")
    app.text_input(key="jobs-name-test-job").set_value(" TWO ")  # from the newest on
    text = _run(app)
    assert made[-1][-8:] in text and made[0][-8:] not in text
    app.text_input(key="jobs-name-test-job").set_value("two three")
    assert "Nothing matches." in _run(app)
    app = page("tests", job=made[0])
    assert made[0] in _run(app)
    assert "is not there" in _run(page("tests", job="job-000000000000000000000000"))
    assert "its kind is train, expected test" in _run(page("tests", job=hub.jobs["train"]))


def _wish(name: str) -> dict[str, Any]:
    return {"kind": "test", "name": name, "spec": {"model": "tiny@1", "dataset": "dataset:chats@1"}}


def test_rows_of_a_test_are_sorted_and_compared(page: Opened, hub: Hub) -> None:
    app = page("tests", job=hub.jobs["test"])
    text = _run(app)
    assert "12 rows, the worst first" in text
    assert text.index("95 % interval") < text.index(">Who<")  # results before details
    app.selectbox(key=f"against-{hub.jobs['test']}").select(hub.jobs["test-before"])
    text = _run(app)
    assert "the largest loss first" in text
    assert text.index("-0.458") < text.index("-0.417")
    app.selectbox(key=f"row-{hub.jobs['test']}-1").select(12)
    assert "The disk 11 is full." in _run(app)
    app = page("tests", view="compare", comparison=hub.jobs["compare"])
    text = _run(app)
    assert "12 rows that all answered; the baseline is a" in text
    assert "b − a" in text
    assert _charts(app) >= 1


def test_models_and_an_endpoint_are_tested_and_compared(page: Opened, hub: Hub, datasets: dict[str, str]) -> None:
    app = page("tests", view="new")
    _run(app)
    assert "Choose a model" in _press(app, "Start")
    app.multiselect[0].set_value(["tiny@1"])
    _labelled(app.text_input, "URL (OpenAI-compatible)").set_value("http://127.0.0.1:9/v1")
    _labelled(app.text_input, "Model id there").set_value("large")
    _labelled(app.number_input, "max_new_tokens").set_value(8)
    _labelled(app.text_input, "System message").set_value("Be short.")
    _press(app, "Start")
    job = hub.get(f"/studio/jobs/{_query(app, 'comparison')}")
    assert (job["kind"], list(job["spec"]["tests"]), job["spec"]["baseline"]) == (
        "compare",
        ["tiny@1", "large"],
        "tiny@1",
    )
    made = [hub.get(f"/studio/jobs/{each}") for each in job["depends_on"]]
    specs = {each["name"]: each["spec"] for each in made}
    assert {(each["max_new_tokens"], each["system"]) for each in specs.values()} == {(8, "Be short.")}
    assert specs["large"]["endpoint"]["model"] == "large"
    assert "endpoint" not in specs["tiny@1"]
    app = page("tests", view="new")
    _run(app)
    _labelled(app.text_input, "URL (OpenAI-compatible)").set_value("http://127.0.0.1:9/v1")
    _labelled(app.text_input, "Model id there").set_value("large")
    _labelled(app.text_input, "Tasks of the LM Evaluation Harness").set_value("hellaswag")
    assert "`harness` is for models in this process" in _press(app, "Start")


def test_a_model_shows_card_files_lineage_and_is_exported(page: Opened, hub: Hub) -> None:
    app = page("models", model="tiny@1")
    text = _run(app)
    assert "<svg" in text
    assert "model.safetensors" in text
    assert f'href="{hub.url}/v1/studio/models/tiny%401/files/config.json" download' in text
    assert f'base_url="{hub.url}/v1"' in text
    _press(app, "Export")
    made = hub.get(f"/studio/jobs/{_query(app, 'export')}")
    assert (made["kind"], made["state"], made["spec"]["to"]) == ("export", "queued", ["gguf"])
    app = page("models", view="catalog")
    assert "tiny@1" in _run(app)


def test_with_a_key_a_file_is_fetched_by_the_page(page: Opened, hub: Hub) -> None:
    app = page("models", model="tiny@1")
    app.session_state["key"] = hub.admin
    assert "Bearer '$LOGLORE_KEY" in _run(app)
    app.selectbox(key="get-tiny@1").select("config.json")
    _run(app)
    (button,) = app.get("download_button")
    assert button.proto.label == "download"


def test_a_session_is_started_asked_and_stopped(page: Opened, served: Served) -> None:
    def state(session: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx2.get(f"{served.url}/v1/studio/sessions/{session}").json()
        return found

    assert "No session is running" in _run(page("sessions"))
    app = page("sessions", url=served.url)
    _run(app)
    assert "Runs on" not in [each.label for each in app.selectbox]  # there is no cluster
    _labelled(app.number_input, "Engines behind the id").set_value(2)
    assert "2 replicas" in _press(app, "Start a session")
    session = _query(app, "session")
    others = [each for each in state(session)["replicas"] if each != session]
    app.text_area(key="play-prompt").set_value(HOSTILE)
    _labelled(app.number_input, "Longest answer (tokens)").set_value(4)
    assert "ll-answer" in _press(app, "Send")
    assert sum(state(each)["interactions"] for each in (session, *others)) == 1
    assert "Stopped. What came is kept." not in _text(app)
    asked = next(each for each in (session, *others) if state(each)["interactions"])
    text = _run(page("sessions", url=served.url, session=asked))
    assert "from openai import OpenAI" in text
    assert "&lt;script&gt;" in text and "<script>" not in text  # of the history
    app = page("sessions", url=served.url, session=session)
    _run(app)
    _press(app, "Stop")
    assert [state(each)["state"] for each in (session, *others)] == ["stopped"] * 2


def test_a_session_can_be_placed_on_the_servers_cluster(
    page: Opened, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path))
    models.add("tiny", tiny_gguf, {"from": "test"})
    nowhere = Place("http://127.0.0.1:9", tmp_path)
    with gateway([], tmp_path, studio=Studio(tmp_path, tmp_path), place=nowhere) as running:
        app = page("sessions", language="ja", url=running.url)
        _run(app)
        assert _labelled(app.selectbox, "実行場所").options == ["このマシン", "Ray クラスター"]
        app = page("sessions", url=running.url)
        _run(app)
        _labelled(app.selectbox, "Runs on").select("ray")
        # The wish got as far as the cluster, of which there is none (nor, in most environments, Ray itself).
        assert re.search(r"no Ray cluster answers|loglore\[ray\]", _press(app, "Start a session"))
        assert running.house.open() == []


def test_what_came_of_a_stopped_answer_is_kept(page: Opened, tmp_path: Path) -> None:
    with scripted_engine() as engine:
        plan = Plan(("org/base",), "llama.cpp", lambda: standing_in(engine.url))
        with gateway([plan], tmp_path, studio=Studio(tmp_path, tmp_path)) as running:
            session = running.house.all[0].id
            app = page("sessions", url=running.url, session=session)
            app.session_state["played"] = Played(session, "disk 7")
            text = _run(app)
            assert "disk 7" in text and "Stopped. What came is kept." in text
            app.text_area(key="play-prompt").set_value("Why?")
            text = _press(app, "Send")
            assert "disk full 🚀" in text and "Stopped" not in text
            assert [each.label for each in app.button if each.key == "play-halt"] == []


def test_keys_are_shown_once_and_revoked(page: Opened, hub: Hub) -> None:
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


def test_costs_are_shown_by_month(page: Opened, hub: Hub) -> None:
    app = page("costs")
    text = _run(app)
    assert "2026-05" in text
    assert sum(map(float, re.findall(r"\$(\d+\.\d\d)</td>", text))) == pytest.approx((SHOWN - LAST) * 2.31)
    assert _charts(app) == 1


def test_the_trail_goes_back_and_starts_anew_for_another_thing(page: Opened, hub: Hub) -> None:
    app = page("audit")
    newest = _run(app)
    assert _press(app, "Older") != newest
    app.text_input(key="audit-target").set_value(hub.jobs["running"])
    assert "job.pause" in _run(app) or "Nothing recorded" in _text(app)
    assert app.button[0].disabled


def test_an_api_that_wants_a_key_gets_it_from_the_visitor(page: Opened, hub: Hub) -> None:
    from loglore.studio.client import Api, KeyNeededError

    with pytest.raises(KeyNeededError):
        Api(hub.url, "ll-0123456789ab-wrong").get("/studio/keys")
    app = page("keys")
    app.session_state["key"] = "ll-0123456789ab-wrong"
    assert "needs a key" in _run(app)
    app.text_input[0].set_value(hub.admin)
    assert "admin" in _press(app, "Sign in")
