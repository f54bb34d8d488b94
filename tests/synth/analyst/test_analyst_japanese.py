"""What Japanese answers state is recomputed from the raw lines, as for the English ones."""

import json
import re
import string
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
import support_analyst
from hypothesis import HealthCheck, given, settings
from support_logs import LOGS

from loglore.synth import analyst, gate, prompts
from loglore.synth.analyst.japanese.telling import phrases
from loglore.synth.analyst.knowledge import kinds, topics

TASKS = prompts.tasks()
QUOTE = re.compile(r"`([^`\n]+)`")
CLOCK = re.compile(r"(?<![0-9:])[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?![0-9:])")
HEADS = {"root_cause": 3, "summary": 3, "patterns": 3, "comparison": 6}
SLOTS = {"ip", "endpoint", "port", "user", "path", "name"}

facts_and_table = cache(support_analyst.facts_and_table)


def windows(text: str, size: int) -> list[str]:
    lines = text.rstrip("\n").split("\n")
    return ["\n".join(lines[first : first + size]) for first in range(0, max(len(lines) - size // 2, 1), size // 2)]


CHUNKS = [chunk for name, text in LOGS.items() if name != "plain" for size in (6, 10) for chunk in windows(text, size)]


def said(chunk: str, task: str, prefixed: bool = False) -> list[tuple[str, str]]:
    return analyst.converse(task, facts_and_table(chunk, prefixed)[0], 5, TASKS[task].student.get("ja", ()), "ja")


def containing(quote: str, chunk: str) -> int:
    wanted = " ".join(quote.split()).lower()
    return sum(wanted in " ".join(line.split()).lower() for line in chunk.split("\n"))


@pytest.mark.parametrize("task", analyst.WRITES)
def test_quotations_counts_and_times_are_those_of_the_log(task: str) -> None:
    checked = 0
    for chunk in CHUNKS:
        for _, answer in said(chunk, task, prefixed=task == "alert"):
            text = "\n".join(json.loads(answer)["summary"]) if task == "alert" else answer
            assert all(clock in chunk for clock in CLOCK.findall(QUOTE.sub("", text))), (text, chunk)
            for quote in QUOTE.findall(text):
                assert containing(quote, chunk), (quote, chunk)
            for sentence in re.split(r"。|\n", text):
                quotes, counts = QUOTE.findall(sentence), re.findall(r"([0-9]+) 行", QUOTE.sub("q", sentence))
                if len(quotes) == len(counts) == 1:
                    assert int(counts[0]) == containing(quotes[0], chunk), (sentence, chunk)
                    checked += 1
    assert checked > 15 or task == "comparison"


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("task", analyst.WRITES)
def test_the_gate_passes_every_row(task: str, prefixed: bool) -> None:
    tally: Counter[str] = Counter()
    for chunk in CHUNKS:
        _, table = facts_and_table(chunk, prefixed)
        checked = gate.check_pairs(TASKS[task], said(chunk, task, prefixed), gate.Shown(table, prefixed), "ja")
        assert checked.faults == []
        tally.update(checked.grounding)
    assert tally["supported"] > 3 * tally["unverifiable"]


@pytest.mark.parametrize("task", HEADS)
def test_structure(task: str) -> None:
    for chunk in CHUNKS:
        ((_, answer),) = said(chunk, task)
        heads = re.findall(r"^\*\*[^*]+\*\*$", answer, re.MULTILINE)
        assert len(heads) == HEADS[task], answer
        assert not re.search(r"  |\n\n\n|\{|None|。。|、。|\*\*: *$", QUOTE.sub("q", answer)), answer
        numbers = [int(number) for number in re.findall(r"^([0-9]+)\. ", answer, re.MULTILINE)]
        assert all(two in (one + 1, 1) for one, two in pairwise(numbers))


def test_conversations_ask_in_japanese() -> None:
    for chunk in CHUNKS:
        pairs = said(chunk, "conversation")
        assert 2 <= len(pairs) <= 5
        assert len({question for question, _ in pairs}) == len(pairs)
        assert gate.language_faults("\n".join(question for question, _ in pairs), "ja") == []
        texts = facts_and_table(chunk)[0].lines
        assert pairs[0][0] == analyst.question("conversation", [line.text for line in texts], (), "ja")


def test_an_alert_has_the_numbers_of_the_english_one() -> None:
    for chunk in CHUNKS:
        facts, _ = facts_and_table(chunk, prefixed=True)
        one, two = (json.loads(analyst.converse("alert", facts, 2, (), language)[0][1]) for language in ("en", "ja"))
        assert {**one, "summary": 0} == {**two, "summary": 0}


@pytest.mark.parametrize(("name", "known"), [("problems.toml", kinds()), ("topics.toml", topics())])
def test_phrases_exist_for_every_kind(name: str, known: tuple) -> None:
    assert set(phrases(name)) == {kind.name for kind in known}
    for entry in phrases(name).values():
        for part, texts in entry.items():
            assert texts
            for text in texts:
                fields = {field for _, field, _, _ in string.Formatter().parse(text) if field}
                assert fields <= SLOTS
                assert not re.search(r"[0-9`]", text), "a number or quotation that was not computed"
                assert text.endswith("。") == (part in ("meanings", "steps"))
            # One phrase at least can be said when nothing is named.
            assert any("{" not in text for text in texts)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(support_analyst.odd_lines(10))
def test_odd_logs_get_whole_answers(lines: list[str]) -> None:
    facts, table = support_analyst.facts_and_table("\n".join(lines) + "\n")
    if not facts.spoken:
        return
    for task in analyst.WRITES:
        pairs = analyst.converse(task, facts, 4, TASKS[task].student.get("ja", ()), "ja")
        assert all(question and answer for question, answer in pairs)
        checked = gate.check_pairs(TASKS[task], pairs, gate.Shown(table, False), "ja")
        assert checked.grounding["contradicted"] == 0
