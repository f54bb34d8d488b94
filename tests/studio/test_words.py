"""Every word that a page says stands in every language, and every word that stands there is said."""

import ast
import re
import string
from pathlib import Path

from loglore.studio import words

PREFIXES = "view|tab|task|way|q|turns|wanted|group|asks|in|form|suite"
PAGES = Path(words.__file__).parents[1]


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_languages_have_the_same_keys_and_the_same_fields() -> None:
    english, japanese = words.texts("en"), words.texts("ja")
    assert list(english) == list(japanese)
    different = [key for key in english if _fields(english[key]) != _fields(japanese[key])]
    assert different == []
    assert [key for key, text in {**english, **japanese}.items() if not text.strip()] == []


def test_every_key_that_a_page_names_is_there() -> None:
    known = words.texts("en")
    sources = "\n".join(path.read_text("utf-8") for path in PAGES.glob("*.py"))
    named = re.findall(r"""say\(\s*["']([a-z_]+\.[a-z_]+)["']""", sources)
    assert len(named) > 200
    assert sorted({key for key in named if key not in known}) == []


def test_no_key_is_left_that_nobody_says() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in PAGES.glob("*.py"))
    # Ends of keys that are put together from a prefix and a name.
    strings = set(re.findall(r"""["']([A-Za-z0-9_.-]+)["']""", sources)) | {"nav"}
    presets = {key for key in words.texts("en") if key.startswith(("preset.", "state.", "verdict."))}
    unused = [
        key
        for key in words.texts("en").keys() - presets
        if key not in strings
        and re.sub(r"^(view|tab|task|way|q|turns|wanted|group|asks|in|form|suite|executor)_", "", key.partition(".")[2])
        not in strings
    ]
    assert sorted(unused) == []


def test_no_field_says_choose_in_streamlits_english() -> None:
    """A field in which nothing may be chosen says so in the visitor's language."""
    silent = []
    for path in sorted(PAGES.glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                given = {word.arg: word.value for word in call.keywords}
                empty = "index" in given and "None" in ast.unparse(given["index"])
                may_be_empty = call.func.attr == "multiselect" or (call.func.attr == "selectbox" and empty)
                if may_be_empty and "placeholder" not in given:
                    silent.append(f"{path.name}:{call.lineno}")
    assert silent == []
