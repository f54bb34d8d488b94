"""The wizard of test jobs: models of the hub or an endpoint, a dataset, parameters; several are compared afterwards."""

from typing import Any

import streamlit as st

from loglore.studio import shared
from loglore.studio.words import say

FORMATS = ("sharegpt", "openai-chat", "alpaca")


def show() -> None:
    """Draw it; starts the tests and opens the run, or the comparison of several."""
    api = shared.api()
    models = [each["id"] for each in api.models() if not each.get("session")]
    datasets = [each["id"] for each in api.every("/studio/datasets") if each["format"] in FORMATS]
    if not datasets:
        shared.empty(say("tests.no_data"), say("tests.no_data_help"))
        return
    with st.form("tests-new"):
        chosen = st.multiselect(
            say("tests.models"), models, help=say("tests.models_help"), placeholder=say("common.choose")
        )
        endpoint = _endpoint()
        columns = st.columns(2)
        dataset = columns[0].selectbox(say("tests.dataset"), datasets)
        suite = columns[1].selectbox(
            say("tests.suite"), ("own", "logs"), format_func=lambda name: say(f"tests.suite_{name}")
        )
        spec = {"dataset": f"dataset:{dataset}", "suite": suite, **_parameters()}
        harness = _harness()
        pressed = st.form_submit_button(say("tests.start"), type="primary")
    if not pressed:
        return
    if not chosen and endpoint is None:
        st.warning(say("tests.choose_model"), icon=":material/warning:")
        return
    _start(chosen, endpoint, spec, harness)


def _endpoint() -> dict[str, str] | None:
    with st.expander(say("tests.endpoint")):
        columns = st.columns(2)
        url = columns[0].text_input(say("tests.endpoint_url"), placeholder="https://api.example.com/v1")
        model = columns[1].text_input(say("tests.endpoint_model"))
        variable = st.text_input(say("data.key_env"), help=say("data.key_env_help"), key="tests-key-env")
    found = {"url": url.strip(), "model": model.strip(), "key_env": variable.strip()}
    return {name: value for name, value in found.items() if value} if found["url"] else None


def _parameters() -> dict[str, Any]:
    columns = st.columns(4)
    tokens = columns[0].number_input("max_new_tokens", 1, 8192, 256)
    temperature = columns[1].number_input("temperature", 0.0, 2.0, 0.0, step=0.1)
    top_p = columns[2].number_input("top_p", 0.01, 1.0, 1.0, step=0.05)
    turns = columns[3].selectbox(say("tests.turns"), ("all", "last"), format_func=lambda n: say(f"tests.turns_{n}"))
    left, right = st.columns(2)
    system = left.text_input(say("tests.system"), help=say("tests.system_help"))
    stop = right.text_input(say("sessions.stop_texts"), help=say("sessions.stop_help"))
    spec = {
        "max_new_tokens": int(tokens), "temperature": float(temperature), "top_p": float(top_p), "turns": turns,
        "system": system.strip() or None, "stop": [each for each in stop.split("|") if each],
    }  # fmt: skip
    return {name: value for name, value in spec.items() if value not in (None, [])}


def _harness() -> dict[str, Any]:
    """What only a model that runs in the job itself can be asked for."""
    general = st.checkbox(say("tests.general_text"), False, help=say("tests.general_text_help"))
    tasks = st.text_input(say("tests.harness"), help=say("tests.harness_help"), placeholder="hellaswag, arc_easy")
    names = [each.strip() for each in tasks.split(",") if each.strip()]
    return {"general_text": general, **({"harness": names} if names else {})}


def _start(models: list[str], endpoint: dict[str, str] | None, spec: dict[str, Any], harness: dict[str, Any]) -> None:
    wishes: dict[str, dict[str, Any]] = {model: {**spec, **harness, "model": model} for model in models}
    if endpoint is not None:
        wishes[endpoint.get("model") or endpoint["url"]] = {**spec, **harness, "endpoint": endpoint}
    # The endpoint first: what can be refused should be before anything is queued.
    order = sorted(wishes, key=lambda label: "model" in wishes[label])
    queued = {
        label: shared.api().post("/studio/jobs", {"kind": "test", "name": label, "spec": wishes[label]})["id"]
        for label in order
    }
    made = {label: queued[label] for label in wishes}
    if len(made) > 1:
        compared = queue_comparison(made)
        st.session_state["go-view-tests"] = "compare"
        shared.go("comparison", compared)
    st.session_state["go-view-tests"] = "list"
    shared.go("job", next(iter(made.values())))


def queue_comparison(tests: dict[str, str]) -> str:
    """Compare test jobs by their labels when they have ended; the first is the baseline. Returns the job's id."""
    spec = {"tests": {label: f"${{{job}.run}}" for label, job in tests.items()}, "baseline": next(iter(tests))}
    name = " / ".join(tests)[:200]
    wish = {"kind": "compare", "name": name, "spec": spec, "depends_on": list(tests.values())}
    return str(shared.api().post("/studio/jobs", wish)["id"])
