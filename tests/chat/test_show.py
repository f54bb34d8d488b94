"""What the terminal shows of logs and claims, and what foreign text must not do to it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.chat import show
from loglore.logs.evidence import Evidence
from loglore.logs.reader import read_table


def test_header_gives_lines_times_levels(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("2026-11-22 10:14:01 INFO a\n2026-11-22 10:14:05 ERROR b\n2026-11-22 10:14:09 ERROR c\n")
    assert show.header(read_table([log])) == [
        f"{log}: 3 lines, 2026-11-22 10:14:01 to 2026-11-22 10:14:09 UTC, error 2, info 1"
    ]


def test_header_of_many_files_is_short_and_counts_all(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02d}.log").write_text("no time here\n" * 2)
    lines = show.header(read_table([tmp_path]))
    assert len(lines) == 11
    assert lines[0].endswith("00.log: 2 lines, no times")
    assert lines[-1] == "and 2 more files; 24 lines in all"


def omitted(lines: int, total: int, shortened: int = 0) -> Evidence:
    counts = {"lines": lines, "lines_total": total, "templates": 2, "templates_total": 9, "shortened": shortened}
    return Evidence("", [("a", n) for n in range(total - lines)], counts, 1234)


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (omitted(0, 8), "The model saw 8 of 8 lines (1,234 tokens): all of the log."),
        (
            omitted(4000, 4100),
            "The model saw 100 of 4,100 lines (1,234 tokens); left out: 4,000 lines, 2 of 9 templates.",
        ),
        (
            omitted(0, 8, 1),
            "The model saw 8 of 8 lines (1,234 tokens); left out: 0 lines, 2 of 9 templates; 1 long lines were cut.",
        ),
    ],
)
def test_left_out(evidence: Evidence, text: str) -> None:
    assert show.left_out(evidence) == text


@given(st.text())
def test_nothing_that_drives_a_terminal_comes_through(text: str) -> None:
    for encoding in ("utf-8", "ascii", "shift_jis", None):
        clean = show.cleaner(encoding)(text)
        clean.encode(encoding or "utf-8")
        assert not any(each < " " and each not in "\n\t" for each in clean)
        assert not {"\x7f", "\x9b", "\u202e", "\u2066"} & set(clean)


def test_ordinary_text_is_untouched() -> None:
    text = "ディスク full 🚀\n\tcafé"
    assert show.cleaner("utf-8")(text) == text
    assert show.cleaner("utf-8")("a\x1b[31mb\r\x00") == "a\ufffd[31mb\ufffd\ufffd"


def test_marks_fit_the_encoding() -> None:
    assert show.marks("utf-8")["supported"] == "✓"
    assert show.marks("ascii")["supported"] == "+"
    assert show.marks(None)["contradicted"] == "✗"
