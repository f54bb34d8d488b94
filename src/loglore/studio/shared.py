"""What every page uses: the API, empty states, errors as one calm line, and how numbers are written."""

import contextlib
import sys
from collections.abc import Iterator
from html import escape

import streamlit as st

from loglore.errors import InputError, JobError
from loglore.studio.client import Api


def api() -> Api:
    """The API whose URL the page server was started with; one connection pool for all pages."""
    return _api(sys.argv[1])


@st.cache_resource
def _api(url: str) -> Api:
    return Api(url)


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """Show one of our errors in place of what could not be drawn."""
    try:
        yield
    except (InputError, JobError) as fault:
        # Code, because Markdown in a message (a file name, a line) would be interpreted.
        st.error("That did not work.", icon=":material/error:")
        st.code(str(fault), language=None, wrap_lines=True)


def empty(title: str, what_to_do: str) -> None:
    """An empty state: what is missing, and how to get it (HTML)."""
    st.html(f'<div class="ll-empty"><b>{escape(title)}</b>{what_to_do}</div>')


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
