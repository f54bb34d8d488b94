"""What the verbs share."""

import pytest

from loglore.cli import output


def test_cells_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    text = "watermark exceeded on [n<*>] [bold]free[/bold] [/]"
    output.table([{"id": "T1", "text": text, "level": None}], ["id", "text", "level"], as_json=False)
    assert text in capsys.readouterr().out


def test_long_cells_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([{"text": "x" * 1_000_000}], ["text"], as_json=False)
    shown = capsys.readouterr().out
    assert len(shown) < 10_000 and "characters)" in shown
    output.table([{"text": "x" * 1_000_000}], ["text"], as_json=True)
    assert "x" * 1_000_000 in capsys.readouterr().out
