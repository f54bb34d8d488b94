"""Fine-tuning: a wizard (base and trainer, data, hyperparameters as form and JSON, start), the list, and each job."""

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from loglore.studio import job_list, job_view, shared, tuning_form
from loglore.studio.words import say

VIEWS = ("list", "new")
METHODS = ("supervised", "cpt", "dpo")
FORMATS = {
    "supervised": ("sharegpt", "openai-chat", "alpaca", "nlplog"),
    "cpt": ("corpus", "nlplog"),
    "dpo": ("sharegpt-dpo",),
}
GIB = 1 << 30
MORE = "tuning-more-"
LONG_ROWS = ("shorten_log", "cut_after_turn", "refuse")


def show() -> None:
    """Draw the page; `?job=ftjob-…` in the address opens a job, `?view=new` the wizard."""
    st.title(say("tuning.title"))
    with shared.errors_shown():
        if shared.view(say("tuning.views"), VIEWS, "tuning") == "new":
            _wizard()
        else:
            _list()


def _list() -> None:
    nothing = say("tuning.none"), say("tuning.none_help")
    job = job_list.choose(("train",), say("tuning.open"), "job", nothing)
    if job:
        job_view.live(job["id"])


def _wizard() -> None:
    api = shared.api()
    models = [each["id"] for each in api.models() if not each.get("session")]
    datasets = api.every("/studio/datasets")
    if not models:
        shared.empty(say("models.none"), say("models.none_help"))
        return
    if example := st.session_state.pop("tuning-from", None):
        _take_over(example, models, [each["id"] for each in datasets])
    st.header(say("tuning.step_base"))
    columns = st.columns(2)
    model = columns[0].selectbox(say("tuning.base"), models, key="tuning-base")
    method = columns[1].radio(
        say("tuning.trainer"), METHODS, format_func=lambda each: say(f"tuning.{each}"), key="tuning-method",
        horizontal=True,
    )  # fmt: skip
    st.header(say("tuning.step_data"))
    fitting = [each["id"] for each in datasets if each["format"] in FORMATS[str(method)]]
    if not fitting:
        wanted = ", ".join(FORMATS[str(method)])
        shared.empty(say("tuning.no_data"), say("tuning.no_data_help", formats=escape(wanted)))
        return
    columns = st.columns(2)
    train = columns[0].selectbox(say("tuning.train"), fitting, key=f"tuning-train-{method}")
    validation = columns[1].selectbox(
        say("tuning.validation"), fitting, index=None, placeholder=say("tuning.no_validation"),
        key=f"tuning-validation-{method}",
    )  # fmt: skip
    st.header(say("tuning.step_values"))
    values = tuning_form.edit(str(method))
    st.header(say("tuning.step_start"))
    _finish(_body(str(model), str(method), str(train), validation), values)


def _take_over(job: str, models: Sequence[str], datasets: Sequence[str]) -> None:
    """Fill the wizard with what a job was made of, as far as it is still there."""
    found = shared.api().get(f"/fine_tuning/jobs/{job}")
    method = found["method"]["type"]
    st.session_state["tuning-method"] = method
    wanted = {"tuning-base": (found["model"], models)}
    for key, file in (("train", found["training_file"]), ("validation", found["validation_file"])):
        wanted[f"tuning-{key}-{method}"] = str(file or "").removeprefix("dataset:"), datasets
    for name, (value, offered) in wanted.items():
        if value in offered:
            st.session_state[name] = value
    spec = shared.api().get(f"/studio/jobs/{job}")["spec"]
    for name in ("general_text", "max_tokens", "processes", "replay", "long_rows"):
        if spec.get(name) is not None:
            st.session_state[f"{MORE}{name}"] = spec[name]
    tuning_form.take(method, found["method"][method]["hyperparameters"])


def _body(model: str, method: str, train: str, validation: str | None) -> dict[str, Any]:
    columns = st.columns(3)
    stem = model.partition("@")[0].rpartition(":")[2].lower()
    name = columns[0].text_input(say("tuning.suffix"), f"{stem[:40]}-{method}", help=say("tuning.suffix_help"))
    gpus = columns[1].number_input(say("tuning.gpus"), 0, 1024, 0, help=say("tuning.gpus_help"))
    priority = columns[2].number_input(say("tuning.priority"), -100, 100, 0, help=say("tuning.priority_help"))
    body: dict[str, Any] = {
        "model": model, "training_file": f"dataset:{train}", "suffix": name.strip() or None, "priority": int(priority),
        "method": {"type": method},
    }  # fmt: skip
    if validation:
        body["validation_file"] = f"dataset:{validation}"
    if gpus:
        body["gpus"] = int(gpus)
    return body | _more(method)


def _more(method: str) -> dict[str, Any]:
    """What a job can be told beside its hyperparameters."""
    st.session_state.setdefault(f"{MORE}general_text", True)
    with st.expander(say("tuning.more")):
        general = st.checkbox(
            say("tuning.general_text"), help=say("tuning.general_text_help"), key=f"{MORE}general_text"
        )
        columns = st.columns(3)
        values: dict[str, Any] = {
            "max_tokens": _optional(columns[0], "max_tokens", 1, None),
            "processes": _optional(columns[1], "processes", 1, 1024),
        }
        if method == "cpt":
            values["replay"] = _optional(columns[2], "replay", 0.0, 0.99)
        if method == "supervised":
            values["long_rows"] = columns[2].selectbox(
                say("tuning.long_rows"), LONG_ROWS, index=None, placeholder=LONG_ROWS[0], key=f"{MORE}long_rows"
            )
    return {"general_text": general, **{name: value for name, value in values.items() if value is not None}}


def _optional(column: Any, name: str, least: float, most: float | None) -> Any:
    return column.number_input(say(f"tuning.{name}"), least, most, None, placeholder="–", key=f"{MORE}{name}")


def _finish(body: dict[str, Any], values: dict[str, Any] | None) -> None:
    if values is None:
        st.caption(say("tuning.fix_json"))
        return
    method = body["method"]["type"]
    body["method"][method] = {"hyperparameters": values}
    columns = st.columns([1, 1, 2], vertical_alignment="center")
    measure = columns[2].checkbox(say("tuning.measure"), help=say("tuning.measure_help"))
    if columns[0].button(say("tuning.estimate"), icon=":material/calculate:", width="stretch"):
        with st.spinner(say("tuning.estimating")):
            path = "/studio/estimates?measure=true" if measure else "/studio/estimates"
            st.session_state["estimate"] = body, shared.api().post(path, body)
    about, found = st.session_state.get("estimate", (None, None))
    if about == body:
        _estimate(found)
    if columns[1].button(say("tuning.start"), type="primary", icon=":material/play_arrow:", width="stretch"):
        made = shared.api().post("/fine_tuning/jobs", body)
        st.session_state["go-view-tuning"] = "list"
        shared.go("job", made["id"])


def _estimate(found: dict[str, Any]) -> None:
    memory = sum(found["memory"].values())
    fits = memory <= found["available"]
    shared.figures(
        [
            (say("tuning.steps"), f"{found['steps']:,}"),
            (say("tuning.tokens"), f"{found['tokens']:,}"),
            (say("tuning.memory"), f"{memory / GIB:.2f} GiB"),
            (say("tuning.time"), shared.duration(found["seconds"]) or say("tuning.unmeasured")),
            (say("tuning.cost"), shared.dollars(found["dollars"])),
        ]
    )
    if fits:
        st.success(say("tuning.fits", available=f"{found['available'] / GIB:.2f}"), icon=":material/check:")
    else:
        st.warning(say("tuning.fits_not", available=f"{found['available'] / GIB:.2f}"), icon=":material/warning:")
