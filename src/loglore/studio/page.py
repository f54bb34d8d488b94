"""The script that Streamlit runs for every visitor and every change: navigation, style, and the page chosen."""

from pathlib import Path

import streamlit as st

from loglore.studio import chat_page, models_page, runs_page

HERE = Path(__file__).parent

# A file of our own: Streamlit would load a named icon from elsewhere.
st.set_page_config(page_title="LogLore", page_icon=str(HERE / "icon.svg"), layout="wide")
chosen = st.navigation(
    [
        st.Page(chat_page.show, title="Chat about a log", icon=":material/forum:", url_path="chat", default=True),
        st.Page(runs_page.show, title="Runs", icon=":material/timeline:", url_path="runs"),
        st.Page(models_page.show, title="Models", icon=":material/deployed_code:", url_path="models"),
    ],
    position="top",
)
st.html(f"<style>{(HERE / 'style.css').read_text('utf-8')}</style>")
chosen.run()
