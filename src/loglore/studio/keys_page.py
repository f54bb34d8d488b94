"""Keys: who may call the API, with what scope and limits. The text of a key is shown once."""

from html import escape
from typing import Any

import streamlit as st

from loglore.studio import markup, shared
from loglore.studio.words import say

SCOPES = ("chat", "manage")
DAY_S = 86_400.0


def show() -> None:
    """Draw the page."""
    st.title(say("keys.title"))
    with shared.errors_shown():
        if made := st.session_state.pop("key-made", None):
            st.success(say("keys.once"), icon=":material/key:")
            st.code(made, language=None)
        found = shared.api().get("/studio/keys")["data"]
        if found:
            head = [say(f"keys.{name}") for name in ("name", "id", "scopes", "state", "limits", "expires", "used")]
            st.html(markup.table(head, [_row(each) for each in found]))
            _revoke([each for each in found if each["state"] == "active"])
        else:
            shared.empty(say("keys.none"), say("keys.none_help"))
        _create()


def _row(each: dict[str, Any]) -> list[str]:
    limits = [
        say("keys.requests", count=f"{each['requests_per_minute']:,}") if each["requests_per_minute"] else "",
        say("keys.tokens", count=f"{each['tokens_per_minute']:,}") if each["tokens_per_minute"] else "",
    ]
    return [
        f"<b>{escape(markup.clean(each['name']))}</b>",
        f"<code>{escape(each['id'])}</code>",
        escape(", ".join(each["scopes"])),
        shared.state(each["state"]),
        escape(", ".join(filter(None, limits)) or "–"),
        shared.moment(each["expires"]) or "–",
        shared.moment(each["last_used"]) or "–",
    ]


def _revoke(active: list[dict[str, Any]]) -> None:
    if not active:
        return
    with st.popover(say("keys.revoke")):
        names = {each["id"]: f"{each['name']} ({each['id']})" for each in active}
        key = st.selectbox(
            say("keys.which"), list(names), format_func=names.__getitem__, index=None, placeholder=say("common.choose")
        )
        st.markdown(say("keys.revoke_sure"))
        if st.button(say("keys.revoke_now"), type="primary", disabled=key is None):
            shared.api().delete(f"/studio/keys/{key}")
            st.rerun()


def _create() -> None:
    with st.form("key-create", clear_on_submit=True):
        st.markdown(f"**{say('keys.new')}**")
        columns = st.columns(2)
        name = columns[0].text_input(say("keys.name"), max_chars=200)
        scopes = columns[1].multiselect(
            say("keys.scopes"), SCOPES, ["chat"], help=say("keys.scopes_help"), placeholder=say("common.choose")
        )
        limits = st.columns(3)
        requests = limits[0].number_input(say("keys.requests_minute"), 1, 10**9, None, placeholder="–")
        tokens = limits[1].number_input(say("keys.tokens_minute"), 1, 10**9, None, placeholder="–")
        days = limits[2].number_input(say("keys.days"), 1, 36_500, None, placeholder="–")
        if st.form_submit_button(say("keys.create"), type="primary"):
            wish = {
                "name": name, "scopes": scopes, "requests_per_minute": requests, "tokens_per_minute": tokens,
                "expires_in": days * DAY_S if days else None,
            }  # fmt: skip
            made = shared.api().post("/studio/keys", {k: v for k, v in wish.items() if v is not None})
            st.session_state["key-made"] = made["key"]
            st.rerun()
