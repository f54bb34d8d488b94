import re
from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.synth import analyst, prompts

GOOD = "version: 1\nanswer: markdown\nteacher: 'Explain {log}'\nstudent: {en: [Why]}\n"


def test_every_built_in_task_has_wordings_in_both_languages() -> None:
    tasks = prompts.tasks()
    assert set(tasks) == set(analyst.WRITES)
    for task in tasks.values():
        if task.answer != "conversation":
            assert len(set(task.student["en"])) >= 8
            assert len(set(task.student["ja"])) == len(task.student["en"])
            assert all(not wording.isascii() for wording in task.student["ja"])
        text = task.prompt("L1|x {not} a placeholder", "ja", True, 10)
        assert text.endswith("L1|x {not} a placeholder")
        assert "日本語" in text
        assert "{" not in text.replace("{not}", "").replace('{"', "")
        assert prompts.CITE["ja"] in text
        english = task.prompt("L1|x", "en", False, 10)
        assert prompts.NO_NUMBERS["en"] in english
        assert english.isascii() or task.name == "conversation"
        # Both ask for the same: the same fields, as many parts.
        assert re.findall(r'"[a-z_]+":', english) == re.findall(r'"[a-z_]+":', text)
        assert re.findall(r"^[1-9]\.", english, re.MULTILINE) == re.findall(r"^[1-9]\.", text, re.MULTILINE)


def test_one_text_serves_both_languages_and_names_them() -> None:
    task = prompts.parse("t", GOOD.replace("Explain {log}", "In {language}, {references} {log}"), "t.yaml")
    assert task.prompt("x", "ja", True, 2) == f"In Japanese, {prompts.CITE['en']} x"
    both = GOOD.replace("'Explain {log}'", "{ja: '説明: {log} {references}', en: 'Explain {log}'}")
    task = prompts.parse("t", both, "t.yaml")
    assert task.prompt("x", "ja", True, 2) == f"説明: x {prompts.CITE['ja']}"
    assert task.prompt("x", "en", True, 2) == "Explain x"
    alone = prompts.parse("t", GOOD.replace("'Explain {log}'", "{ja: '{language}: {log}'}"), "t.yaml")
    assert alone.prompt("x", "en", True, 2) == "English: x"


def test_a_conversation_of_ten_pairs() -> None:
    task = prompts.tasks()["conversation"]
    assert "exactly 10 questions" in task.prompt("L1|x", "en", True, 10)
    turns = task.answer_schema(10)["properties"]["turns"]  # type: ignore[index]
    assert (turns["minItems"], turns["maxItems"]) == (10, 10)


def test_the_version_changes_with_the_text() -> None:
    one, two = prompts.parse("t", GOOD, "t.yaml"), prompts.parse("t", GOOD + "# a note\n", "t.yaml")
    assert one.version.startswith("v1:")
    assert one.version != two.version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("{log}", "the log"), r"t\.yaml: the teacher's prompt has no placeholder \{log\}"),
        (
            GOOD.replace("{log}", "{log} {lnaguage}"),
            r"t\.yaml: unknown placeholder `lnaguage`; did you mean `language`",
        ),
        (GOOD.replace("markdown", "conversation"), r"no placeholder \{turns\}"),
        (GOOD.replace("'Explain {log}'", "{en: '{log}', ja: 'x'}"), r"no placeholder \{log\}"),
        (GOOD.replace("'Explain {log}'", "{fr: '{log}'}"), "`teacher"),
        (GOOD.replace("'Explain {log}'", "{}"), "teacher is empty"),
        (GOOD.replace("markdown", "json"), "expected the key `schema`"),
        (GOOD.replace("markdown", "json") + "schema: {type: 7}", "`schema` is no JSON schema"),
        (GOOD + "setcions: 3", "unknown key `setcions`; did you mean `sections`"),
        (GOOD.replace("version: 1", "version: 0"), "`version`"),
        ("teacher: {", "not YAML"),
        ("[1]", "found list"),
    ],
)
def test_faults_name_file_and_key(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as fault:
        prompts.parse("t", text, "t.yaml")
    assert "\n" not in str(fault.value)


def test_a_folder_adds_and_replaces(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no task file"):
        prompts.tasks(tmp_path)
    (tmp_path / "summary.yaml").write_text(GOOD)
    (tmp_path / "own.yaml").write_text(GOOD)
    tasks = prompts.tasks(tmp_path)
    assert set(tasks) == {*analyst.WRITES, "own"}
    assert tasks["summary"].student["en"] == ("Why",)
    (tmp_path / "mute.yaml").write_text("version: 1\nanswer: markdown\nteacher: '{log}'\n")
    with pytest.raises(InputError, match=r"mute\.yaml: expected wordings"):
        prompts.tasks(tmp_path)
    with pytest.raises(InputError, match="expected a folder"):
        prompts.tasks(tmp_path / "own.yaml")
