"""The 40 hyperparameters as a form and as JSON, side by side: what is changed in one shows in the other at once.

The values stand in the session. A widget takes them when it is made, so each side is made anew (its number goes up)
when the other one has changed something; the side that is being edited stays as it is and keeps the focus.
"""

import json
from typing import Any

import streamlit as st

from loglore.studio import shared
from loglore.studio.words import say

MAIN = (
    "epochs",
    "learning_rate",
    "batch_size",
    "gradient_accumulation_steps",
    "max_sequence_length",
    "lr_scheduler_type",
    "training_type",
    "mixed_precision",
)
# Not of one simple type: these are edited as JSON.
JSON_ONLY = ("target_modules", "resume_from_checkpoint")
FITTING = {"cpt": "quickstart_cpt", "supervised": "quickstart_sft", "dpo": "quickstart_sft"}
JSON_HEIGHT = 420


def edit(method: str) -> dict[str, Any] | None:
    """Both sides; returns the values, or None while the JSON cannot be read."""
    known = _known()
    _preset(known, method)
    form, text = st.columns([3, 2])
    with form:
        _form(known, method)
    with text:
        _json()
    return None if _state("fault") else dict(_state("values"))


def take(method: str, values: dict[str, Any]) -> None:
    """Begin with these values, and the defaults of the keys that they leave out."""
    st.session_state[f"preset-{method}"] = FITTING[method]
    _set("preset", (method, FITTING[method]))
    _replace({**_defaults(_known()), **values})
    _set("form", (_state("form") or 0) + 1)


def _defaults(known: dict[str, Any]) -> dict[str, Any]:
    return {key: each["default"] for key, each in known["schema"]["properties"].items()}


def _known() -> dict[str, Any]:
    found = st.session_state.get("hyperparameters-known")
    if found is None:
        found = st.session_state["hyperparameters-known"] = shared.api().get("/studio/hyperparameters")
    return dict(found)


def _state(name: str) -> Any:
    return st.session_state.get(f"hyperparameters-{name}")


def _set(name: str, value: Any) -> None:
    st.session_state[f"hyperparameters-{name}"] = value


def _preset(known: dict[str, Any], method: str) -> None:
    presets = list(known["presets"])
    name = st.selectbox(
        say("tuning.preset"), presets, index=presets.index(FITTING[method]), key=f"preset-{method}",
        format_func=lambda each: say(f"preset.{each.replace('.', '_')}"), help=say("tuning.preset_help"),
    )  # fmt: skip
    if _state("preset") != (method, name):
        _set("preset", (method, name))
        _replace({**_defaults(known), **known["presets"][name]})
        _set("form", (_state("form") or 0) + 1)


def _replace(values: dict[str, Any]) -> None:
    """New values from elsewhere: the JSON is written anew."""
    _set("values", values)
    _set("fault", None)
    _set("json", (_state("json") or 0) + 1)


def _form(known: dict[str, Any], method: str) -> None:
    fields = known["schema"]["properties"]
    values = _state("values")
    hidden = {*JSON_ONLY}
    if values.get("training_type", "full") == "full":
        hidden |= set(known["only_for"]["lora"])
    if method != "dpo":
        hidden |= set(known["only_for"]["dpo"])
    columns = st.columns(2)
    for place, key in enumerate(MAIN):
        with columns[place % 2]:
            _field(key, fields[key])
    with st.expander(say("tuning.all_keys")):
        columns = st.columns(2)
        rest = [key for key in fields if key not in MAIN and key not in hidden]
        for place, key in enumerate(rest):
            with columns[place % 2]:
                _field(key, fields[key])


def _field(key: str, field: dict[str, Any]) -> None:
    name = f"hp-{_state('form')}-{key}"
    value = _state("values").get(key, field["default"])
    options: dict[str, Any] = {"key": name, "on_change": _from_form, "args": (key, name)}
    if field.get("type") == "boolean":
        st.checkbox(key, bool(value), **options)
    elif "enum" in field:
        choices = field["enum"]
        st.selectbox(key, choices, index=choices.index(value) if value in choices else 0, format_func=str, **options)
    elif field.get("type") == "integer":
        least, most = field.get("minimum"), field.get("maximum")
        st.number_input(key, least, most, int(value), step=1, **options)
    else:
        least = float(field.get("minimum", 0.0))
        st.number_input(key, least, None, float(value), format="%g", step=_step(float(value)), **options)


def _step(value: float) -> float:
    """A tenth of the value's order of magnitude."""
    return float(f"{value / 10:.0e}") if value > 0 else 0.01


def _from_form(key: str, name: str) -> None:
    _replace({**_state("values"), key: st.session_state[name]})


def _json() -> None:
    name = f"hp-json-{_state('json')}"
    st.text_area(
        say("tuning.json"), json.dumps(_state("values"), indent=2), height=JSON_HEIGHT, key=name,
        on_change=_from_json, args=(name,), help=say("tuning.json_help"),
    )  # fmt: skip
    if fault := _state("fault"):
        st.error(say("tuning.json_fault", fault=fault), icon=":material/error:")


def _from_json(name: str) -> None:
    """Take the text over; a key that is not known is left for the API, which names the closest one."""
    try:
        found = json.loads(st.session_state[name])
    except json.JSONDecodeError as fault:
        _set("fault", str(fault))
        return
    if not isinstance(found, dict):
        _set("fault", say("tuning.json_object"))
        return
    _set("values", found)
    _set("fault", None)
    _set("form", _state("form") + 1)
