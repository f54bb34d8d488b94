"""What the reader points at: a template, a span of time, or both. Its lines are shown, and questions are about it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from loglore.studio import markup
from loglore.studio.client import Reference
from loglore.studio.words import say

KEY = "chat-focus"
SHORT = 200


@dataclass(frozen=True)
class Focus:
    """`template` with its `text`; `since` and `until`: times in ISO 8601 or as clock times, "" without a bound."""

    template: str = ""
    text: str = ""
    since: str = ""
    until: str = ""

    @property
    def wish(self) -> dict[str, Any]:
        """What a request for lines says of it."""
        named = {"template": self.template, "since": self.since, "until": self.until}
        return {name: value for name, value in named.items() if value}

    def sentence(self) -> str:
        """What is put behind a question; in the visitor's language."""
        said = [say("look.about_template", text=self.text[:SHORT])] if self.template else []
        if self.since and self.until:
            said.append(say("look.about_span", first=_clock(self.since), last=_clock(self.until)))
        elif self.since or self.until:
            key = "look.about_from" if self.since else "look.about_to"
            said.append(say(key, time=_clock(self.since or self.until)))
        return " ".join(said)

    def title(self) -> str:
        """The same, for a caption."""
        span = f"{_clock(self.since)} – {_clock(self.until)}" if self.since or self.until else ""
        named = f"{self.template} · {markup.label(self.text)}" if self.template else ""
        return " · ".join(part for part in (named, markup.label(span)) if part)


def get(logs: Sequence[Reference]) -> Focus:
    """What is pointed at in these logs."""
    kept = st.session_state.get(KEY)
    return kept[1] if kept and kept[0] == list(logs) else Focus()


def change(logs: Sequence[Reference], **values: str) -> None:
    """Point at something else; what is not named stays."""
    st.session_state[KEY] = (list(logs), replace(get(logs), **values))


def clear() -> None:
    """Point at nothing."""
    st.session_state.pop(KEY, None)
    # The chart keeps the span that was drawn as long as it has this key.
    st.session_state["chat-drawn"] = st.session_state.get("chat-drawn", 0) + 1


def _clock(moment: str) -> str:
    """A time as a reader wants it: without the T and what is zero behind the seconds."""
    return moment.replace("T", " ").removesuffix("Z").removesuffix(".000")
