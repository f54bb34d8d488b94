"""What the verbs share."""

import pytest

from loglore.cli import output


def test_cells_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    text = "watermark exceeded on [n<*>] [bold]free[/bold] [/]"
    output.table([{"id": "T1", "text": text, "level": None}], ["id", "text", "level"], as_json=False)
    assert text in capsys.readouterr().out
