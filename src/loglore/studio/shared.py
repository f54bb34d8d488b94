"""What every page uses: the API, choices kept in the address, errors as one calm line, how numbers are written."""

import contextlib
import datetime
import sys
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import streamlit as st

from loglore.errors import InputError, JobError
from loglore.studio.client import Api, KeyNeededError
from loglore.studio.words import say

REFRESH_S = 2.0
IDLE_REFRESH_S = 10.0
OVER = ("succeeded", "failed", "cancelled")
# A job's state as the style sheet and a person see it.
SIGNS = {"queued": "○", "running": "●", "succeeded": "✓", "failed": "✗", "cancelled": "–", "paused": "‖"}


def api() -> Api:
    """The API whose URL the page server was started with, with this visitor's key."""
    return _api(sys.argv[1], st.session_state.get("key"))


@st.cache_resource(max_entries=64)
def _api(url: str, key: str | None) -> Api:
    return Api(url, key)


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """Show one of our errors in place of what could not be drawn."""
    try:
        yield
    except KeyNeededError as fault:
        _ask_for_key(str(fault))
    except (InputError, JobError) as fault:
        show_fault(fault)


def show_fault(fault: Exception) -> None:
    """An error, calmly."""
    # Code, because Markdown in a message (a file name, a line) would be interpreted.
    st.error(say("common.failed"), icon=":material/error:")
    st.code(str(fault), language=None, wrap_lines=True)


def _ask_for_key(reason: str) -> None:
    with st.form("key-form", border=True):
        st.markdown(say("common.key_needed"))
        text = st.text_input(say("common.key"), type="password", help="ll-…")
        if st.form_submit_button(say("common.sign_in"), type="primary") and text.strip():
            st.session_state["key"] = text.strip()
            st.rerun()
    st.code(reason, language=None, wrap_lines=True)


def empty(title: str, what_to_do: str) -> None:
    """An empty state: what is missing, and how to get it (HTML)."""
    st.html(f'<div class="ll-empty"><b>{escape(title)}</b>{what_to_do}</div>')


def chosen(
    label: str, options: Sequence[str], parameter: str, shown: Callable[[str], str] = str, any_of: bool = False
) -> str | None:
    """One of `options`, kept in the address as `?parameter=…` so that a page can be linked to.

    Args:
        label: what is chosen.
        options: what there is; None is answered when there is nothing.
        parameter: its name in the address, unique on the page.
        shown: how an option is written.
        any_of: start with nothing chosen.
    """
    key, written = f"chosen-{parameter}", f"address-{parameter}"
    wanted, address = st.session_state.pop(f"go-{parameter}", None), st.query_params.get(parameter)
    moved = address != st.session_state.get(written)  # by a link, or by the browser's Back
    if wanted is None and (moved or key not in st.session_state):
        wanted = address
    if wanted in options:
        st.session_state[key] = wanted
    elif moved or st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    found = st.selectbox(
        label, options, index=None if any_of else 0, format_func=shown, key=key, placeholder=say("common.choose")
    )
    if found is None:
        st.query_params.pop(parameter, None)
    elif address != found:
        st.query_params[parameter] = found
    st.session_state[written] = found
    return None if found is None else str(found)


def follow(path: str, newest: Any, name: str = "id") -> None:
    """Draw the page again when the list at `path` of the API has another newest object.

    Args:
        path: of the list.
        newest: the `name` of its first object as the page shows it, None for an empty list.
        name: a field that tells objects apart.
    """
    shown = [True]

    def look() -> None:
        with errors_shown():
            if shown:
                shown.pop()
                return
            found = api().get(path, limit=1)["data"]
            if (found[0][name] if found else None) != newest:
                st.rerun()

    st.fragment(look, run_every=IDLE_REFRESH_S)()


def go(parameter: str, value: str) -> None:
    """Choose another one when the page is drawn again, which happens now."""
    st.session_state[f"go-{parameter}"] = value
    st.rerun()


def view(label: str, views: Sequence[str], prefix: str) -> str:
    """Which part of a page is shown, kept in the address as `?view=…`; `views` are keys of words below `prefix`."""
    key, written = f"view-{prefix}", f"address-view-{prefix}"
    address = st.query_params.get("view")
    wanted = st.session_state.pop(f"go-{key}", None)
    if wanted is None and (address != st.session_state.get(written) or key not in st.session_state):
        wanted = address if address in views else views[0] if written in st.session_state else None
    if wanted in views:
        st.session_state[key] = wanted
    found = st.segmented_control(
        label,
        views,
        default=None if key in st.session_state else views[0],
        required=True,
        format_func=lambda name: say(f"{prefix}.view_{name}"),
        key=key,
        label_visibility="collapsed",
    )
    name = str(found or views[0])
    if (address or views[0]) != name:
        st.query_params["view"] = name
    st.session_state[written] = st.query_params.get("view")
    return name


def state(name: str) -> str:
    """A job's or session's state as HTML."""
    sign = SIGNS.get(name, "●")
    return f'<span class="ll-state {escape(name)}">{sign} {escape(say(f"state.{name}"))}</span>'


def size(count: int) -> str:
    """Bytes in decimal units: `1.2 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `41 s`, `2 m 05 s`, `1 h 02 m`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left:02} m"
    return f"{minutes} m {rest:02} s" if minutes else f"{rest} s"


def moment(seconds: float | None) -> str:
    """Seconds since 1970 as `2026-11-26 10:15`, in UTC."""
    if seconds is None:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def dollars(amount: float | None) -> str:
    """`$1.23`, cents of cents where it is less."""
    if amount is None:
        return "–"
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"${amount:.4f}"


def figures(values: Sequence[tuple[str, Any]]) -> None:
    """A row of labelled figures."""
    for column, (label, value) in zip(st.columns(max(len(values), 1)), values, strict=False):
        column.metric(label, value)
