"""What answers state is recomputed here from the raw lines, with code that shares nothing with the analyst."""

import re
from collections import Counter
from functools import cache
from itertools import combinations, pairwise

import pytest
import support_analyst
from hypothesis import HealthCheck, given, settings
from support_analyst import mined_of
from support_logs import LOGS

from loglore.errors import InputError
from loglore.logs import chunks, grounding
from loglore.synth.analyst import TASKS, converse
from loglore.synth.analyst.facts import facts_of

QUOTE = re.compile(r"`([^`\n]+)`")
CLOCK = re.compile(r"\b\d{1,2}:\d{2}:\d{2}\b")
NUMBER = re.compile(r"(?<![\w.:/-])\d+(?![\w:/]|\.\d)")
HEADS = {"root_cause": 3, "summary": 3, "patterns": 3, "comparison": 6}


def windows(text: str, size: int) -> list[str]:
    lines = text.rstrip("\n").split("\n")
    return ["\n".join(lines[first : first + size]) for first in range(0, max(len(lines) - size // 2, 1), size // 2)]


CHUNKS = [chunk for name, text in LOGS.items() if name != "plain" for size in (6, 10) for chunk in windows(text, size)]


facts_and_table = cache(support_analyst.facts_and_table)


def answers(chunk: str, task: str) -> list[str]:
    facts, _ = facts_and_table(chunk)
    return [answer for _, answer in converse(task, facts, 6)]


def containing(quote: str, chunk: str) -> int:
    wanted = " ".join(quote.split()).lower()
    return sum(wanted in " ".join(line.split()).lower() for line in chunk.split("\n"))


@pytest.mark.parametrize("task", TASKS)
def test_quotations_and_their_counts(task: str) -> None:
    checked = 0
    for chunk in CHUNKS:
        for answer in answers(chunk, task):
            for quote in QUOTE.findall(answer):
                assert containing(quote, chunk), (quote, chunk)
            for sentence in re.split(r"(?<=[.;:]) |\n", answer):
                quotes, counts = QUOTE.findall(sentence), re.findall(r"\b(\d+) lines?\b", QUOTE.sub("q", sentence))
                if len(quotes) == 1 and len(counts) == 1 and not re.search(r" of \d|these|these|in all", sentence):
                    assert int(counts[0]) == containing(quotes[0], chunk), (sentence, chunk)
                    checked += 1
    assert checked > 15 or task == "comparison"


@pytest.mark.parametrize("task", TASKS)
def test_times_stand_in_the_log(task: str) -> None:
    for chunk in CHUNKS:
        for answer in answers(chunk, task):
            for clock in CLOCK.findall(answer):
                assert clock in chunk


def seconds_of(clock: str) -> int:
    hours, minutes, seconds = map(int, clock.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def clocks_of(chunk: str) -> list[int]:
    found = [re.search(r"(?<!\d)\d{2}:\d{2}:\d{2}", line) for line in chunk.split("\n")]
    return [seconds_of(one[0]) for one in found if one]


@pytest.mark.parametrize("task", TASKS)
def test_lengths_of_time_are_differences_of_logged_times(task: str) -> None:
    checked = 0
    for chunk in CHUNKS:
        clocks = clocks_of(chunk)
        gaps = {later - earlier for earlier, later in combinations(clocks, 2)}
        for answer in answers(chunk, task):
            plain = QUOTE.sub("q", answer)
            for minutes, seconds in re.findall(r"\b(?:(\d+) min )?(\d+) s\b", plain):
                assert int(minutes or 0) * 60 + int(seconds) in gaps, (plain, chunk)
                checked += 1
    assert checked > 5


@pytest.mark.parametrize("task", TASKS)
def test_every_number_can_be_explained(task: str) -> None:
    for chunk in CHUNKS:
        lines = chunk.split("\n")
        sizes = set(range(len(lines) + 1))  # a count of lines or events; exact ones are checked above
        in_log = {int(number) for number in re.findall(r"\d+", chunk)}
        gaps = {later - earlier for earlier, later in combinations(clocks_of(chunk), 2)}
        explained = sizes | in_log | gaps | {gap // 60 for gap in gaps} | {gap % 60 for gap in gaps}
        for answer in answers(chunk, task):
            for number in NUMBER.findall(QUOTE.sub("q", answer)):
                assert int(number) in explained, (number, answer)


def test_level_counts_are_those_of_the_log() -> None:
    chunk = LOGS["nginx-error"].rstrip("\n")
    words = Counter(re.findall(r"\[(\w+)\] \d+#", chunk))
    expected = {
        "info": words["notice"],
        "error": words["error"],
        "warning": words["warn"],
        "fatal": words["crit"] + words["emerg"],
    }
    facts, _ = facts_and_table(chunk)
    assert dict(facts.levels) == expected
    overview = converse("summary", facts, 2)[0][1]
    assert re.search(r"3 fatal messages, 3 errors and 1 warning|\*\*(Levels|Severity|Level counts)\*\*", overview)


def test_halves_are_counted_apart() -> None:
    good = [f"2026-11-22 10:00:{second:02d} INFO worker: job {second} finished" for second in range(6)]
    bad = [f"2026-11-22 10:01:{second:02d} ERROR worker: connection refused by db{second}" for second in range(6)]
    facts, _ = facts_and_table("\n".join(good + bad))
    answer = converse("comparison", facts, 2)[0][1]
    assert re.search(r"from 0 to 6 messages|6 messages after 0", answer)
    assert "first 6 lines" in answer


@pytest.mark.parametrize("task", [task for task in TASKS if task != "conversation"])
def test_structure(task: str) -> None:
    for chunk in CHUNKS:
        (answer,) = answers(chunk, task)
        heads = re.findall(r"^\*\*[^*]+\*\*$", answer, re.MULTILINE)
        assert len(heads) == HEADS[task], answer
        assert not re.search(r"  |\n\n\n|\{|None(?! of)|\.\.|\*\*: *$| [.,;]", QUOTE.sub("q", answer)), answer
        if task in ("root_cause", "summary", "patterns"):
            numbers = [int(number) for number in re.findall(r"^(\d+)\. ", answer, re.MULTILINE)]
            assert numbers[0] == 1
            assert all(two in (one + 1, 1) for one, two in pairwise(numbers))


def test_conversations_have_the_turns_asked_for() -> None:
    for chunk in CHUNKS:
        facts, _ = facts_and_table(chunk)
        for turns in (2, 4, 6):
            pairs = converse("conversation", facts, turns)
            assert len(pairs) == turns
            assert len({question for question, _ in pairs}) == turns


def test_a_cause_that_is_not_logged_is_called_a_hypothesis(logs) -> None:
    facts, _ = facts_and_table("2026-11-22 10:00:00 ERROR shop: upload failed with code x\n" * 3)
    answer = converse("root_cause", facts, 2)[0][1]
    assert re.search(r"does not state|Hypothesis|not proven|Presumably|may be|to check", answer)
    assert "As logged" not in answer


def test_a_logged_cause_is_quoted() -> None:
    facts, _ = facts_and_table("2026-11-22 10:00:00 ERROR shop: write of /srv/a failed: No space left on device\n")
    answer = converse("root_cause", facts, 2)[0][1]
    assert "`No space left on device`" in answer


def test_a_chunk_without_problems_says_so() -> None:
    facts, _ = facts_and_table(LOGS["mqtt"])
    answer = converse("root_cause", facts, 2)[0][1]
    assert re.search(r"[Nn]o (error|fault|issue|sign)|Nothing in|no fault", answer)
    assert "Hypothesis" not in answer


@pytest.mark.parametrize("prefixed", [False, True])
def test_no_claim_is_contradicted_by_the_log(prefixed: bool) -> None:
    tally = Counter()
    for chunk in CHUNKS:
        facts, table = facts_and_table(chunk, prefixed)
        index = grounding.LogIndex(table)
        for task in TASKS:
            for _, answer in converse(task, facts, 6):
                tally.update(grounding.tally(grounding.check(answer, index)))
    assert tally["contradicted"] == 0
    assert tally["supported"] > 3 * tally["unverifiable"] / 2


def test_line_numbers_are_cited_only_when_the_student_sees_them() -> None:
    for chunk in CHUNKS:
        plain, numbered = facts_and_table(chunk)[0], facts_and_table(chunk, prefixed=True)[0]
        assert not re.search(r"\bL\d+\b", converse("root_cause", plain, 2)[0][1])
        assert re.search(r"\(L\d+", converse("root_cause", numbered, 2)[0][1])


def test_answers_depend_on_the_chunk_alone() -> None:
    facts, _ = facts_and_table(LOGS["sshd"])
    alone = [converse(task, facts, 4) for task in TASKS]
    converse("summary", facts_and_table(LOGS["shop"])[0], 4)
    again = [converse(task, facts_and_table(LOGS["sshd"])[0], 4) for task in reversed(TASKS)]
    assert alone == again[::-1]


def test_wording_varies_over_chunks() -> None:
    mined = mined_of("".join(LOGS[name] for name in ("sshd", "nginx-error", "postgresql", "shop")) * 12)
    patterns = {template.key: template.text for template in mined.templates}
    cut = chunks.cut(mined.table, 8, 15, seed=3)
    for task in TASKS:
        sentences: Counter[str] = Counter()
        for chunk in cut:
            said = "\n".join(text for _, text in converse(task, facts_of(chunk.table(mined.table), patterns), 4))
            sentences.update(
                {one for one in re.split(r"(?<=[.!?])\s+|\n+", said) if len(one) > 12 and "**" not in one[:2]}
            )
        assert len(sentences) / sum(sentences.values()) > 0.4, task
        assert max(sentences.values()) / len(cut) < 0.25, (task, sentences.most_common(3))


def test_an_unknown_task_and_a_blank_chunk_are_bad_input() -> None:
    facts, _ = facts_and_table(LOGS["sshd"])
    with pytest.raises(InputError, match="root_cause"):
        converse("poem", facts, 4)
    blank, _ = facts_and_table("\n\n  \n")
    with pytest.raises(InputError, match="blank"):
        converse("summary", blank, 4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(support_analyst.odd_lines(14))
def test_odd_logs_get_whole_answers(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    facts, table = support_analyst.facts_and_table(text)
    if not facts.spoken:
        return
    index = grounding.LogIndex(table)
    for task in TASKS:
        pairs = converse(task, facts, 4)
        assert all(question and answer for question, answer in pairs)
        claims = [claim for _, answer in pairs for claim in grounding.check(answer, index)]
        assert not [claim for claim in claims if claim.verdict == "contradicted"]


def test_a_longer_log_gets_more_points() -> None:
    text = LOGS["nginx-error"] + LOGS["sshd"] + LOGS["postgresql"]
    filler = "".join(f"2026-11-22 11:00:{number:02d} INFO shop: request {number} served\n" for number in range(60))
    for task in ("root_cause", "summary", "patterns"):
        for language in ("en", "ja"):
            short, long = (
                converse(task, support_analyst.facts_and_table(log)[0], 2, (), language)[0][1]
                for log in (text, text + filler)
            )
            assert len(re.findall(r"^\d+\. \*\*", long, re.MULTILINE)) > len(
                re.findall(r"^\d+\. \*\*", short, re.MULTILINE)
            )


def test_all_at_one_time_is_said_of_one_time_alone() -> None:
    clocks = ["10:00:00", "10:00:07", "10:00:00"]
    lines = [f"Nov {20 + day} {clock} host app[1]: tick of the timer" for day, clock in enumerate(clocks)]
    for text, single in ((lines * 3, False), (lines[:2] * 5, False), (lines[:1] * 7, True)):
        for size in range(3, len(text) + 1):
            log = "\n".join(text[:size]) + "\n"
            for task in ("summary", "patterns", "root_cause"):
                answer = converse(task, support_analyst.facts_and_table(log)[0], 2)[0][1]
                said = re.findall(r"(?:, all at|date from|lines? all at|lines? at) (?=1)", answer)
                assert single or not said, (log, answer)
