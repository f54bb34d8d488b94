"""All words of the pages, one file a language: `en.toml`, `ja.toml`, with the same keys.

Words are chosen by what they are for (`data.upload`), so that a page never holds text itself. `{name}` in a text is
filled in by the page.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

LANGUAGES = {"en": "English", "ja": "日本語"}
DEFAULT = "en"


def language() -> str:
    """The language that this visitor reads."""
    chosen = st.session_state.get("language", DEFAULT)
    return chosen if chosen in LANGUAGES else DEFAULT


def say(key: str, **values: Any) -> str:
    """The text of a key such as `data.upload` in the visitor's language, with `values` filled in."""
    text = texts(language())[key]
    return text.format(**values) if values else text


@cache
def texts(name: str) -> dict[str, str]:
    """All texts of a language by key."""
    tables = tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text("utf-8"))
    return {f"{table}.{key}": text for table, content in tables.items() for key, text in content.items()}
