"""Claims of an answer against the log in its prompt, numbered or not."""

import numpy as np
import pytest

from loglore.evaluate import grounded

LOG = "10:00:01 db[812]: ERROR disk full\n10:00:02 db[812]: FATAL cannot write"


def test_quotes_are_checked_against_the_log_shown() -> None:
    found = grounded.count('The log says "disk full" and "connection refused".', LOG)
    assert found["supported"] == 1
    assert sum(found.values()) == 2


def test_line_numbers_are_those_shown() -> None:
    numbered = "\n".join(f"L{number}|{line}" for number, line in enumerate(LOG.split("\n"), 41))
    claim = '"disk full" stands on line {}.'
    assert grounded.count(claim.format(41), numbered)["supported"] == 2
    assert grounded.count(claim.format(1), LOG)["supported"] == 2
    assert grounded.count(claim.format(1), numbered)["supported"] == 1


def test_a_digest_is_not_taken_for_the_log() -> None:
    digest = "Log of 33 lines in 1 file.\nT1 ×33 L1–L33: disk <*>\nL7|10:00:01 db[812]: ERROR disk full\n…"
    assert grounded.count('"disk full" is in 33 lines.', digest) == {}


def test_an_answer_without_claims_counts_for_nothing() -> None:
    assert grounded.count("Hello!", LOG) == dict.fromkeys(grounded.VERDICTS, 0)
    assert grounded.shares(np.zeros((3, 3)), ["a", "b", "c"], 100, 0) == dict.fromkeys(grounded.VERDICTS)


def test_shares_are_of_all_claims_not_means_of_rows() -> None:
    counts = np.array([[9.0, 1, 0], [0, 0, 0], [0, 1, 9]])
    found = grounded.shares(counts, ["a", "b", "c"], 500, 0)
    assert [share and share.value for share in found.values()] == pytest.approx([9 / 20, 2 / 20, 9 / 20])
    assert all(share and 0 <= share.low <= share.value <= share.high <= 1 for share in found.values())
