"""Where an answer begins to go in circles, against plain construction of such answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.endpoint.repeats import ALTOGETHER, ROUNDS, first_round

WORDS = st.lists(st.text("abcdefg", min_size=2, max_size=9), min_size=6, max_size=40, unique=True).map(" ".join)


@given(before=st.text("uvwxyz \n", max_size=300), paragraph=WORDS, rounds=st.integers(1, 12))
def test_the_first_round_is_kept(before: str, paragraph: str, rounds: int) -> None:
    block = f"{paragraph}.\n\n"
    found = first_round(before + block * rounds)
    circles = rounds >= ROUNDS and rounds * len(block) >= ALTOGETHER and len(block) >= 24
    if not circles:
        # A little less than a round may be enough where what stands before happens to end as the round does.
        assert found is None or rounds * len(block) + 9 >= ALTOGETHER
        return
    assert found is not None
    assert len(before) <= found + 9
    assert (before + block * rounds)[:found].rstrip("\n. ").startswith(before[:found].rstrip("\n. "))
    assert abs(found - len(before) - len(block)) <= 9


def test_numbers_of_a_list_count_on() -> None:
    said = "The server is experiencing a high load, which comes from its number of requests, and more will come."
    text = "Summary\n" + "".join(f"{number}. {said}\n" for number in range(3, 8))
    assert text[: first_round(text)].rstrip() == f"Summary\n3. {said}"


@pytest.mark.parametrize("word", ["can ", "no, ", "disk full; "])
def test_a_word_that_is_said_for_ever_is_kept_once(word: str) -> None:
    text = "Being off, it does so: " + word * 90
    assert text[: first_round(text)].rstrip(" ;,") == "Being off, it does so: " + word.rstrip(" ;,")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no\n" * 50,
        "".join(f"{n}. **The disk is full**: `No space left on device` is logged in 1 line, by sda.\n" for n in "123"),
        "| --- " * 30 + "|",
        "".join(f"L{line}| connection from 10.0.0.{line} refused by the firewall of the shop\n" for line in range(9)),
        "The same line of the log, twice. And more of it to make it long enough to count as one round. " * 2,
    ],
)
def test_what_is_no_circle(text: str) -> None:
    assert first_round(text) is None
