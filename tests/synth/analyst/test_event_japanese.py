"""NLPLog answers in Japanese: the same events and facts as the English ones, checked on the raw lines."""

import json
import re
from pathlib import Path

import pytest

from loglore.logs import grok, grounding, masking, reader, templates
from loglore.runs.folder import RunFolder
from loglore.synth import gate, nlplog
from loglore.synth.analyst.japanese import event
from loglore.synth.nlplog_questions import INSTRUCTIONS


def written(logs: Path, folder: Path, language: str) -> list[dict]:
    nlplog.run(nlplog.NlplogSpec(logs=[logs], language=language), RunFolder(folder, {}))
    return [json.loads(line) for line in (folder / "nlplog.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def both(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], list[dict]]:
    folder = tmp_path_factory.mktemp("nlplog")
    return written(logs, folder / "en", "en"), written(logs, folder / "ja", "ja")


def test_the_same_events_are_asked_the_same_questions(both: tuple[list[dict], list[dict]]) -> None:
    keys = [{(row["meta"]["template"], row["meta"]["question"]) for row in rows} for rows in both]
    assert keys[0] == keys[1]
    mentioned = [
        {(row["meta"]["template"], row["meta"]["question"], *row["meta"]["templates"]) for row in rows} for rows in both
    ]
    assert mentioned[1] <= mentioned[0]


def test_texts_are_japanese_and_whole(both: tuple[list[dict], list[dict]]) -> None:
    for row in both[1]:
        said = re.sub(r"`[^`]*`", "q", row["output"])
        assert "。" in said
        if row["meta"]["question"] != "grok":
            assert not re.search(r"None(?! of)|\{\w+\}|  |。。|、。", said), said
            assert gate.language_faults(row["output"], "ja") == []
        assert not row["instruction"].replace(row["log"], "").isascii()
    assert len({row["instruction"].replace(row["log"], "") for row in both[1]}) >= 15


def test_grok_patterns_are_the_english_ones(both: tuple[list[dict], list[dict]]) -> None:
    checked = 0
    for row in both[1]:
        if row["meta"]["question"] == "grok":
            lines = [line for line in row["output"].split("\n") if "%{" in line]
            assert grok.match(lines[0], row["log"]) is not None
            checked += 1
    assert checked > 20


def test_counts_are_those_of_the_english_answer(both: tuple[list[dict], list[dict]]) -> None:
    """What the English tests recount is computed once; the Japanese answer has the same cases of the same events."""
    english: dict[tuple[str, str], str] = {}
    for row in both[0]:
        key = row["meta"]["template"], row["meta"]["question"]
        english[key] = english.get(key, "") + row["output"]
    checked = 0
    for row in both[1]:
        said = english[row["meta"]["template"], row["meta"]["question"]]
        plain, here = (re.sub(r"`[^`]*`", "q", text) for text in (said, row["output"]))
        shares = {(share, total) for share, total in re.findall(r"([0-9]+) of ([0-9]+) cases", plain)}
        assert {(share, total) for total, share in re.findall(r"([0-9]+) 例中 ([0-9]+) 例で、", here)} <= shares, (
            said,
            here,
        )
        if row["meta"]["question"] == "components":
            for total, sides in re.findall(r"([0-9]+) 例中、(.*?)の割合", here):
                for side, word in (("前に", "before it in"), ("後に", "after it in")):
                    for count in re.findall(rf"{side} ([0-9]+) 例", sides):
                        assert re.search(rf"{word} {count}\b[^.;]*of {total} cases", plain), (plain, here)
                        checked += 1
    assert checked > 30


def test_nothing_is_contradicted(both: tuple[list[dict], list[dict]], logs: Path) -> None:
    mined = templates.mine(reader.read_table([logs]))
    parts = mined.table.partition_by("source", maintain_order=True)
    indexes = {Path(part["source"][0]).name: grounding.LogIndex(part) for part in parts}
    for row in both[1]:
        if row["meta"]["question"] != "grok":
            claims = grounding.check(row["output"], indexes[row["meta"]["source"]])
            assert not [claim for claim in claims if claim.verdict == "contradicted"], row["output"]


def test_every_type_and_question_has_words() -> None:
    assert set(masking.TYPES) <= set(event.TYPES)
    assert set(INSTRUCTIONS["ja"]) == set(INSTRUCTIONS["en"]) == set(event.QUESTIONS)
    assert all(text.count("{log}") == 1 for texts in INSTRUCTIONS["ja"].values() for text in texts)
