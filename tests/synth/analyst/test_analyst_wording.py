import datetime
import doctest

from hypothesis import given
from hypothesis import strategies as st

from loglore.synth.analyst import entities, wording
from loglore.synth.analyst.wording import Wording


def test_doctests() -> None:
    for module in (wording, entities):
        assert doctest.testmod(module).failed == 0


def test_a_phrase_with_an_unknown_slot_is_passed_over() -> None:
    words = Wording("chunk")
    phrases = ["from {ip}", "no address"]
    assert words.say("who", phrases, {"ip": None}) == "no address"
    assert words.say("who", phrases[:1], {}) == ""


def test_a_capital_slot_raises_its_value() -> None:
    assert Wording("x").say("a", ["{Title}!"], {"title": "a full disk"}) == "A full disk!"


def test_braces_in_a_value_are_not_a_slot() -> None:
    assert Wording("x").say("a", ["{quote}"], {"quote": "{broken} {0}"}) == "{broken} {0}"


def test_phrases_are_not_repeated_while_others_are_left() -> None:
    words = Wording("chunk")
    said = [words.say(f"step/{number}", ["a", "b", "c"], {}) for number in range(3)]
    assert sorted(said) == ["a", "b", "c"]


def test_choice_depends_on_the_seed_and_the_name_only() -> None:
    phrases = [str(number) for number in range(50)]
    assert Wording("one").say("n", phrases, {}) == Wording("one").say("n", phrases, {})
    chosen = {Wording(f"chunk {number}").say("n", phrases, {}) for number in range(200)}
    assert len(chosen) > 40


@given(st.text(max_size=200), st.integers(1, 80), st.integers(0, 50))
def test_a_shortened_text_is_a_part_of_the_text(text: str, limit: int, start: int) -> None:
    part = wording.shortened(text, limit, start)
    assert part in text
    assert len(part) <= limit


@given(st.integers(0, 10**7))
def test_durations_add_up(seconds: int) -> None:
    words = wording.duration(seconds).split()
    if seconds < 1:
        assert words == ["less", "than", "a", "second"]
        return
    units = {"s": 1, "min": 60, "h": 3600}
    total = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert 0 <= seconds - total < (60 if "h" in words else 1)


def test_seconds_are_subtracted_as_a_reader_does() -> None:
    first = datetime.datetime(2026, 11, 22, 10, 0, 0, 900_000)
    last = datetime.datetime(2026, 11, 22, 10, 0, 2, 100_000)
    assert wording.whole_seconds(first, last) == 2
