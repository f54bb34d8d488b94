"""Jobs of some kinds as a list that is alive: by state, page by page, with one of them chosen and in the address."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from loglore.errors import InputError
from loglore.studio import job_view, markup, shared
from loglore.studio.words import say

PAGE = 10
GROUPS: dict[str, tuple[str, ...] | None] = {
    "all": None,
    "open": ("queued", "running", "paused"),
    "succeeded": ("succeeded",),
    "failed": ("failed", "cancelled"),
}


def choose(kinds: Sequence[str], label: str, parameter: str, nothing: tuple[str, str]) -> dict[str, Any] | None:
    """Draw jobs, the newest first, by state and a part of their name, and a choice of one.

    Args:
        kinds: of jobs.
        label: of the choice.
        parameter: its name in the address, unique on the page; a job of another page of the list can be named, too.
        nothing: title and help (HTML) of the empty state.

    Returns:
        The job that is chosen, None while there is none.
    """
    key = f"{kinds[0]}-{parameter}"
    columns = st.columns([2, 1], vertical_alignment="center")
    with columns[0]:
        states = GROUPS[_group(key, parameter)]
    with columns[1]:
        name = _name(key, parameter)
    before: list[str] = st.session_state.setdefault(f"jobs-before-{key}", [])
    query = {"kind": list(kinds), "state": states, "name": name, "limit": PAGE, "after": before[-1] if before else None}
    found = shared.api().get("/studio/jobs", **query)
    listed = found["data"]
    linked = _linked(parameter, kinds, {each["id"] for each in listed})
    if not listed and linked is None:
        shared.empty(*(nothing if states is None and name is None else (say("common.no_match"), "")))
        return None
    _table(query, listed)
    _pager(key, before, found)
    options = [*([linked] if linked else []), *listed]
    shown = {each["id"]: job_view.label(each) for each in options}
    chosen = shared.chosen(label, list(shown), parameter, shown.__getitem__)
    return next((each for each in options if each["id"] == chosen), None)


def _from_the_newest(key: str, parameter: str) -> None:
    st.session_state.pop(f"jobs-before-{key}", None)
    st.query_params.pop(parameter, None)


def _name(key: str, parameter: str) -> str | None:
    """A part of the names of the jobs to be shown, None for all."""
    found = st.text_input(
        say("job.search"), placeholder=say("job.search"), key=f"jobs-name-{key}", label_visibility="collapsed",
        max_chars=200, on_change=_from_the_newest, args=(key, parameter),
    )  # fmt: skip
    return found.strip() or None


def _group(key: str, parameter: str) -> str:
    found = st.segmented_control(
        say("job.state"), list(GROUPS), default="all", required=True, key=f"jobs-group-{key}",
        format_func=lambda name: say(f"job.group_{name}"), label_visibility="collapsed",
        on_change=_from_the_newest, args=(key, parameter),
    )  # fmt: skip
    return str(found or "all")


def _linked(parameter: str, kinds: Sequence[str], listed: set[str]) -> dict[str, Any] | None:
    """The job that the address or the page itself wants, when it is not in the part of the list that is shown."""
    wanted = st.session_state.get(f"go-{parameter}") or st.query_params.get(parameter)
    if wanted is None or wanted in listed:
        return None
    try:
        found = shared.api().get(f"/studio/jobs/{wanted}")
        if found["kind"] not in kinds:
            raise InputError(f"{wanted}: its kind is {found['kind']}, expected {' or '.join(kinds)}")
    except InputError as fault:
        st.session_state.pop(f"go-{parameter}", None)
        st.warning(say("job.gone"), icon=":material/link_off:")
        st.code(markup.clean(str(fault)), language=None, wrap_lines=True)
        return None
    return found


def _table(query: dict[str, Any], known: list[dict[str, Any]]) -> None:
    """The jobs, drawn again while the page is open; what else it shows follows when one comes or changes its state."""
    fresh = [known]

    def draw() -> None:
        with shared.errors_shown():
            now = fresh.pop() if fresh else shared.api().get("/studio/jobs", **query)["data"]
            if _states(now) != _states(known):
                st.rerun()
            if now:
                st.html(job_view.listing(now))

    is_open = any(each["state"] not in shared.OVER for each in known)
    st.fragment(draw, run_every=shared.REFRESH_S if is_open else shared.IDLE_REFRESH_S)()


def _states(jobs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["id"], each["state"]) for each in jobs]


def _pager(key: str, before: list[str], found: dict[str, Any]) -> None:
    if not before and not found["has_more"]:
        return
    columns = st.columns([1, 1, 4])
    if columns[0].button(say("common.newer"), disabled=not before, key=f"newer-{key}", width="stretch"):
        before.pop()
        st.rerun()
    if columns[1].button(say("common.older"), disabled=not found["has_more"], key=f"older-{key}", width="stretch"):
        before.append(found["last_id"])
        st.rerun()
