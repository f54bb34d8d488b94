"""The script that Streamlit runs for every visitor and every change: navigation, style, language, the page chosen."""

from pathlib import Path

import streamlit as st

from loglore.studio.page_list import PAGES
from loglore.studio.words import DEFAULT, LANGUAGES, say

HERE = Path(__file__).parent
# A file of our own: Streamlit would load a named icon from elsewhere.
st.set_page_config(page_title="LogLore", page_icon=str(HERE / "icon.svg"), layout="wide")
if "language" not in st.session_state:
    wanted = st.query_params.get("lang", DEFAULT)
    st.session_state["language"] = wanted if wanted in LANGUAGES else DEFAULT
pages = [
    st.Page(show, title=say(f"{name}.nav"), icon=f":material/{icon}:", url_path=name) for name, show, icon in PAGES
]
# Every page has its own path, the chat too; the bare address leads there.
start = st.Page(lambda: st.switch_page(pages[0]), title="LogLore", url_path="start", default=True, visibility="hidden")
chosen = st.navigation([start, *pages], position="top")
st.html(f"<style>{(HERE / 'style.css').read_text('utf-8')}</style>")
with st.container(key="ll-language"):
    st.segmented_control(
        say("common.language"), list(LANGUAGES), format_func=LANGUAGES.__getitem__, required=True, key="language",
        label_visibility="collapsed",
    )  # fmt: skip
chosen.run()
