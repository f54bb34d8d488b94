"""The analyst on the example logs: nothing contradicted, wording varied, answers that a small model can learn."""

import re
from collections import Counter
from pathlib import Path

import pytest

from loglore.logs import chunks, grounding, reader, templates
from loglore.synth.analyst import TASKS, converse
from loglore.synth.analyst.facts import facts_of

LOGS = Path(__file__).parents[2] / "examples" / "logs"
PER_SOURCE = 9


@pytest.fixture(scope="module")
def answers() -> list[tuple[str, str, str]]:
    """(task, chunk text, answers) over the chunks of all logs, with the claims checked on the way."""
    mined = templates.mine(reader.read_table([LOGS]))
    patterns = {template.key: template.text for template in mined.templates}
    found = []
    for chunk in chunks.cut(mined.table, 8, 15, seed=11, limit_per_source=PER_SOURCE):
        table = chunk.table(mined.table)
        facts, index = facts_of(table, patterns), grounding.LogIndex(table)
        for task in TASKS:
            said = "\n".join(answer for _, answer in converse(task, facts, 4))
            wrong = [claim for claim in grounding.check(said, index) if claim.verdict == "contradicted"]
            assert not wrong, (chunk.id, task, [said[claim.start : claim.end + 40] for claim in wrong])
            found.append((task, chunk.text, said))
    return found


def test_quotations_are_verbatim(answers: list[tuple[str, str, str]]) -> None:
    for _, chunk, said in answers:
        for quote in re.findall(r"`([^`\n]+)`", said):
            assert quote in chunk or quote.lower() in chunk.lower()


@pytest.mark.parametrize("task", TASKS)
def test_wording_varies(answers: list[tuple[str, str, str]], task: str) -> None:
    texts = [said for name, _, said in answers if name == task]
    assert len(texts) > 100
    sentences = Counter(
        sentence
        for said in texts
        for sentence in set(re.split(r"(?<=[.!?])\s+|\n+", said))
        if len(sentence) > 12 and not sentence.startswith("**")
    )
    assert len(sentences) / sum(sentences.values()) > 0.5
    sentence, count = sentences.most_common(1)[0]
    assert count / len(texts) < 0.2, sentence


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_compact(answers: list[tuple[str, str, str]], task: str) -> None:
    words = sorted(len(said.split()) for name, _, said in answers if name == task)
    assert 60 <= words[len(words) // 2] <= 160
    assert words[-1] <= 240
