"""Names of pre-tokenizers are derived from the definition, and only where llama.cpp does exactly the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from loglore.export.converter import pre_tokenizer_name

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


@pytest.mark.parametrize(
    ("pre_tokenizer", "name"),
    [
        (BYTE_LEVEL, "gpt-2"),
        (sequence(BYTE_LEVEL), "gpt-2"),
        (sequence(DIGITS, BYTE_LEVEL), "smollm"),
        (sequence({**DIGITS, "individual_digits": False}, BYTE_LEVEL), None),
        (sequence(BYTE_LEVEL, DIGITS), None),
        (sequence(DIGITS, DIGITS, BYTE_LEVEL), None),
        ({**BYTE_LEVEL, "add_prefix_space": True}, None),
        ({**BYTE_LEVEL, "use_regex": False}, None),
        ({"type": "Metaspace"}, None),
        (sequence(), None),
        (None, None),
    ],
)
def test_pre_tokenizer_name(tmp_path: Path, pre_tokenizer: Any, name: str | None) -> None:
    definition = {"normalizer": None, "pre_tokenizer": pre_tokenizer}
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    assert pre_tokenizer_name(tmp_path) == name


def test_a_normalizer_has_no_name(tmp_path: Path) -> None:
    definition = {"normalizer": {"type": "NFC"}, "pre_tokenizer": BYTE_LEVEL}
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    assert pre_tokenizer_name(tmp_path) is None
