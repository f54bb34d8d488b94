import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.data.damage import damage, is_nothing, texts


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("plain text\r\n\twith tabs", []),
        ("Störung — 障害 “quoted” naïve ÀÉ Ünder…", []),
        ("a\x00b", ["control"]),
        ("\x1b[31mred", ["control"]),
        ("na\u0080me", ["control"]),
        ("lost \ufffd here", ["replacement"]),
        ("CafÃ© was CafÃ©", ["mojibake"]),
        ("itâ€™s", ["mojibake"]),
        ("ã\x81\x82", ["mojibake", "control"]),
    ],
)
def test_kinds_of_damage(text: str, kinds: list[str]) -> None:
    assert [found.kind for found in damage(text)] == kinds


@given(
    st.text(st.sampled_from("éüñßøčыя’…€ word"), min_size=1, max_size=6).filter(
        lambda text: set(text) & set("éüñßø’…€")
    )
)
def test_text_decoded_as_windows_1252_is_found(text: str) -> None:
    wrong = text.encode("utf-8").decode("cp1252", errors="replace")
    if "\ufffd" not in wrong:
        assert "mojibake" in [found.kind for found in damage(wrong)]


@pytest.mark.parametrize("text", ["世界の障害", "日本", "故障原因"])
def test_east_asian_text_decoded_as_latin_1_is_found(text: str) -> None:
    assert "mojibake" in [found.kind for found in damage(text.encode("utf-8").decode("latin-1"))]


@pytest.mark.parametrize(
    "text",
    [
        "«Un café…» dit-il",
        "Größe: 5 µm – 10 °C",
        "L’été – déjà fini…",
        "日本語のログ",
        "Ошибка диска № 5",
        "naïve “coöperation”",
        "é’’",
        "São Paulo, MANHÃ",
    ],
)
def test_languages_are_no_damage(text: str) -> None:
    assert [found.kind for found in damage(text)] == []


def test_places_are_told() -> None:
    assert [found.message.split(":")[0] for found in damage("abc\ufffd")] == ["U+FFFD at character 4"]
    assert next(damage("x\x07")).message == "control character U+0007 at character 2"


def test_cells_that_mean_nothing() -> None:
    assert [is_nothing(cell) for cell in ("nan", "NaN", " NULL ", "<NA>", "banana", "", "None of them")] == [
        True
    ] * 4 + [False] * 3


def test_texts_of_nested_rows_have_a_path() -> None:
    row = {"conversations": [{"from": "gpt", "value": "x"}], "chosen": {"value": "y"}, "meta": {"a": "z"}, "text": "t"}
    assert list(texts(row)) == [
        ("conversations[1].from", "gpt"),
        ("conversations[1].value", "x"),
        ("chosen.value", "y"),
        ("text", "t"),
    ]
