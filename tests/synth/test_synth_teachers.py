"""The chat and NLPLog jobs with endpoints as teachers, over a real local server."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support_teacher as teachers
from support_storm import Storm, StormServer

from loglore.data.formats import to_messages
from loglore.data.frame import log_of
from loglore.errors import InputError
from loglore.jobs import runner
from loglore.runs.folder import RunFolder
from loglore.synth import chat, nlplog

ALL = ["root_cause", "summary", "patterns", "comparison", "conversation", "alert"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of answers of the test's own."""
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[StormServer]:
    started = StormServer(Storm())
    started.storm.reply = teachers.good
    started.storm.keep_bodies = True
    yield started
    started.close()


def spec_for(logs: Path, server: StormServer, **changes: Any) -> chat.ChatSpec:
    values: dict[str, Any] = {
        "logs": [str(logs)], "seed": 5, "smallest": 4, "largest": 6, "test_chunks": 2, "validation_chunks": 2,
        "tasks": ALL,
        "test_rows": 6, "validation_rows": 6, "train_rows": 12, "max_answer_tokens": 800,
        "teacher": {"url": server.url, "model": "storm", "price_in": 1.0, "price_out": 2.0},
    }  # fmt: skip
    return chat.ChatSpec.parse({**values, **changes}, "recipe")


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_rows_of_every_task_with_their_making(logs: Path, server: StormServer, tmp_path: Path) -> None:
    result = chat.run(spec_for(logs, server), RunFolder(tmp_path / "run", {}))
    assert result["rows"] == {"test": 6, "validation": 6, "train": 12}
    assert result["removed"] == {}
    assert not result["unfinished"]
    seen = Counter()
    for name in chat.SPLITS:
        for row in rows_of(tmp_path / "run", f"{name}.jsonl"):
            meta, messages = row["meta"], to_messages(row)
            seen[meta["task"]] += 1
            assert meta["teacher"] == "storm"
            assert meta["prompt"].startswith(f"{meta['task']}.v1:")
            assert meta["grounding"]["contradicted"] == 0
            assert meta["tokens"]["prompt"] > 100
            assert meta["cost"] == pytest.approx(
                (meta["tokens"]["prompt"] + 2 * meta["tokens"]["completion"]) / 1e6, rel=1e-4
            )
            assert len(messages) == (8 if meta["task"] == "conversation" else 2)
            shown = log_of(messages[0]["content"])
            assert shown.startswith("L") == (meta["task"] == "alert")
            # The student never sees the teacher's instructions.
            assert "site reliability" not in messages[0]["content"]
    assert set(seen) == set(ALL)
    prompts = [body["messages"][0]["content"] for body in server.storm.bodies]
    assert all("\nL1|" in text or "|" in text for text in prompts)
    assert sum("never mention a line number" in text for text in prompts) == 24 - seen["alert"]
    assert result["teaching"]["cost"] == pytest.approx(sum(
        row["meta"]["cost"] for name in chat.SPLITS for row in rows_of(tmp_path / "run", f"{name}.jsonl")
    ), abs=1e-6)  # fmt: skip


def test_contradicted_answers_are_repaired_or_removed(logs: Path, server: StormServer, tmp_path: Path) -> None:
    server.storm.reply = teachers.mixed(teachers.good, teachers.repaired, teachers.inventive, teachers.broken)
    result = chat.run(spec_for(logs, server), RunFolder(tmp_path, {}))
    told = result["teaching"]
    removed = rows_of(tmp_path, "removed.jsonl")
    assert told["repaired"] > 0
    assert told["rejected"] == len(removed) == sum(result["removed"].values()) > 0
    assert told["accepted"] + told["rejected"] == 24 == sum(result["rows"].values()) + len(removed)
    assert {row["kind"] for row in removed} == {"form", "claim"}
    invented = [row for row in removed if row["kind"] == "claim"]
    assert all("the reactor core melted down" in row["reason"] for row in invented)
    for name in chat.SPLITS:
        text = (tmp_path / f"{name}.jsonl").read_text()
        assert "reactor" not in text
        assert "Sorry" not in text
    repairs = [body["messages"][2]["content"] for body in server.storm.bodies if len(body["messages"]) == 3]
    assert any("the reactor core melted down" in text for text in repairs)
    assert any("parts were asked for" in text or "not one JSON object" in text for text in repairs)
    repaired = [row for name in chat.SPLITS for row in rows_of(tmp_path, f"{name}.jsonl") if row["meta"]["repaired"]]
    assert len(repaired) == told["repaired"]


def test_a_changed_spec_pays_for_what_is_new_alone(logs: Path, server: StormServer, tmp_path: Path) -> None:
    chat.run(spec_for(logs, server), RunFolder(tmp_path / "one", {}))
    assert server.storm.stats()["answers"] == 24
    result = chat.run(spec_for(logs, server, train_rows=18), RunFolder(tmp_path / "two", {}))
    assert server.storm.stats()["answers"] == 30
    assert result["teaching"]["paid"] < result["teaching"]["cost"]


def test_failed_rows_are_listed_and_asked_again_by_the_same_command(
    logs: Path, server: StormServer, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec_for(logs, server).model_dump_json())
    server.storm.fault = lambda question, turns, first: "truncated" if "half" in question else ""  # type: ignore
    report = runner.run_spec("synth", spec, tmp_path / "run", lambda text: None)
    failures = rows_of(tmp_path / "run", "failures.jsonl")
    assert report["unfinished"]
    assert {row["task"] for row in failures} == {"comparison"}
    assert all("cut off" in row["reason"] for row in failures)
    answers = server.storm.stats()["answers"]
    server.storm.fault = lambda question, turns, first: ""  # type: ignore[method-assign]
    report = runner.run_spec("synth", spec, tmp_path / "run", lambda text: None)
    assert not report["unfinished"]
    assert rows_of(tmp_path / "run", "failures.jsonl") == []
    assert sum(report["rows"].values()) == 24
    assert server.storm.stats()["answers"] == answers + len(failures)
    before = (tmp_path / "run" / "train.jsonl").read_bytes()
    runner.run_spec("synth", spec, tmp_path / "run", lambda text: None)
    assert server.storm.stats()["answers"] == answers + len(failures)
    assert (tmp_path / "run" / "train.jsonl").read_bytes() == before


def test_a_budget_is_of_the_run_however_often_it_is_started(logs: Path, server: StormServer, tmp_path: Path) -> None:
    for spec, run in (
        (spec_for(logs, server, budget_dollars=0.012), chat.run),
        (nlplog_spec(logs, server, budget_dollars=0.012), nlplog.run),
    ):
        costs = [run(spec, RunFolder(tmp_path / run.__module__, {}))["teaching"]["cost"] for _ in range(3)]
        assert 0 < costs[0] <= costs[-1] <= 0.012


def test_japanese_and_both_languages(logs: Path, server: StormServer, tmp_path: Path) -> None:
    tasks = ["root_cause", "summary"]
    spec = spec_for(logs, server, language="mix", tasks=tasks)
    chat.run(spec, RunFolder(tmp_path / "mix", {}))
    rows = rows_of(tmp_path / "mix", "train.jsonl")
    assert Counter(row["meta"]["language"] for row in rows) == {"en": 6, "ja": 6}
    for row in rows:
        question, said = row["conversations"][0]["value"].split("\n")[0], row["conversations"][1]["value"]
        assert ("。" in said) == (row["meta"]["language"] == "ja")
        assert question.isascii() == (row["meta"]["language"] == "en")
    server.storm.reply = lambda asked: teachers.answer({"messages": [{"content": "x"}]}, "x")
    result = chat.run(spec_for(logs, server, language="ja", tasks=tasks, seed=6), RunFolder(tmp_path / "ja", {}))
    assert set(result["removed"]) == {"gate: language"}


def test_logs_too_long_for_the_teacher_are_shown_as_digests(logs: Path, server: StormServer, tmp_path: Path) -> None:
    spec = spec_for(
        logs, server, tasks=["summary"], max_answer_tokens=200,
        smallest=10, largest=20, test_chunks=1, validation_chunks=0,
        teacher={"url": server.url, "model": "storm", "context_tokens": 1200},
    )  # fmt: skip
    result = chat.run(spec, RunFolder(tmp_path, {}))
    assert result["notes"]["too_long_for_the_teacher"] > 0
    assert "logs too long for the teacher were shown as digests" in result["summary"]
    for body in server.storm.bodies:
        assert len(body["messages"][0]["content"].encode()) / 2 <= 1200 - 200
    with pytest.raises(InputError, match="no room for a log beside max_answer_tokens"):
        tight = {"url": server.url, "model": "storm", "context_tokens": 256}
        chat.run(spec_for(logs, server, teacher=tight), RunFolder(tmp_path / "b", {}))


def test_the_budget_stops_the_job_and_says_so(logs: Path, server: StormServer, tmp_path: Path) -> None:
    result = chat.run(spec_for(logs, server, budget_dollars=0.012), RunFolder(tmp_path, {}))
    assert result["unfinished"]
    assert "stopped by the budget" in result["summary"]
    unasked = [row for row in rows_of(tmp_path, "failures.jsonl") if "budget" in row["reason"]]
    assert len(unasked) == result["teaching"]["unasked"] > 0


def test_own_tasks(logs: Path, server: StormServer, tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "haiku.yaml").write_text(
        "version: 3\nanswer: markdown\nteacher: 'Write in {language}: {log}'\nstudent: {en: ['A haiku, please.']}\n"
    )
    server.storm.reply = lambda asked: "Old log, silent disk."
    result = chat.run(spec_for(logs, server, prompts=str(folder), tasks=["haiku"]), RunFolder(tmp_path / "run", {}))
    assert result["rows"]["train"] == 11 or result["rows"]["train"] == 12
    row = rows_of(tmp_path / "run", "train.jsonl")[0]
    assert row["meta"]["prompt"].startswith("haiku.v3:")
    assert row["conversations"][0]["value"].startswith("A haiku, please.\n\nLog content:\n")
    with pytest.raises(InputError, match="the analyst cannot write haiku"):
        chat.run(
            spec_for(logs, server, prompts=str(folder), tasks=["haiku"], teacher="analyst"), RunFolder(tmp_path, {})
        )


def test_preview_shows_what_would_be_sent_and_sends_nothing(logs: Path, server: StormServer) -> None:
    teacher = {"url": "https://api.example.com/v1", "model": "m"}
    shown = list(chat.preview(spec_for(logs, server, teacher=teacher), 12))
    text = "\n".join(body["messages"][0]["content"] for _, _, body in shown)
    assert len(shown) == 12
    assert "10.20.1." not in text
    assert "<IP_1>" in text
    assert server.storm.stats()["requests"] == 0
    with pytest.raises(InputError, match="nothing would be sent"):
        list(chat.preview(spec_for(logs, server, teacher="analyst"), 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "analyst", "budget_dollars": 1}, "budget_dollars is for endpoints"),
        ({"teacher": []}, "empty list"),
        ({"teacher": {"url": "ftp://x", "model": "m"}}, "expected one such as"),
        ({"teacher": {"url": "http://x/v1"}}, "model"),
        ({"evidence_share": 1.5}, "evidence_share"),
    ],
)
def test_bad_specs_in_one_line(changes: dict[str, Any], message: str, logs: Path, server: StormServer) -> None:
    with pytest.raises(InputError, match=message) as fault:
        spec_for(logs, server, **changes)
    assert "\n" not in str(fault.value)


def test_an_empty_log_is_bad_input(server: StormServer, tmp_path: Path) -> None:
    (tmp_path / "empty.log").write_text("\n\n")
    with pytest.raises(InputError, match=r"empty\.log: no lines to write about"):
        chat.run(spec_for(tmp_path / "empty.log", server), RunFolder(tmp_path / "run", {}))


def nlplog_spec(logs: Path, server: StormServer, **changes: Any) -> nlplog.NlplogSpec:
    teacher = {"url": server.url, "model": "storm", "price_out": 1.0}
    values = {"logs": [str(logs / "sshd.log"), str(logs / "nginx-error.log")], "teacher": teacher, **changes}
    return nlplog.NlplogSpec.parse(values, "recipe")


def test_nlplog_rows_by_an_endpoint(logs: Path, server: StormServer, tmp_path: Path) -> None:
    def reply(asked: dict[str, Any]) -> str:
        found = teachers.QUOTABLE.search(asked["messages"][0]["content"].split("Lines:\n")[1])
        return teachers.answer(asked, found[0] if found else "x")

    server.storm.reply = reply
    result = nlplog.run(nlplog_spec(logs, server), RunFolder(tmp_path, {}))
    rows = rows_of(tmp_path, "nlplog.jsonl")
    assert result["events"] == server.storm.stats()["answers"] > 10
    assert set(result["rows_by_question"]) == {"grok", "insight", "forecast"}
    for row in rows:
        assert row["log"].strip() in row["instruction"]
        assert row["meta"]["teacher"] == "storm"
        assert row["meta"]["prompt"].startswith("nlplog.v2:")
        assert row["meta"]["template"] in row["meta"]["templates"]


def test_nlplog_answers_are_checked_one_by_one(logs: Path, server: StormServer, tmp_path: Path) -> None:
    def reply(asked: dict[str, Any]) -> str:
        value = json.loads(teachers.answer(asked, "reactor core melted down"))
        return json.dumps({**value, "forecast": "A text about what may follow from it, and what to watch."})

    server.storm.reply = reply
    result = nlplog.run(nlplog_spec(logs, server), RunFolder(tmp_path, {}))
    assert set(result["rows_by_question"]) == {"grok", "forecast"}
    assert result["removed"] == {"insight: claim": result["events"]}
    server.storm.reply = lambda asked: json.dumps(
        {"grok": "%{IP:x}", "insight": None, "root_cause": None, "components": None, "forecast": None}
    )
    result = nlplog.run(nlplog_spec(logs, server, seed=1), RunFolder(tmp_path / "b", {}))
    assert result["rows"] == 0
    assert set(result["removed"]) == {"grok: claim"}


def test_a_teacher_may_quote_the_templates_it_was_shown(logs: Path, server: StormServer, tmp_path: Path) -> None:
    def reply(asked: dict[str, Any]) -> str:
        prompt = asked["messages"][0]["content"]
        shown = re.findall(r"(?:Template|cases): (.*)", prompt)[-1]
        return teachers.answer(asked, shown.replace("`", ""))

    server.storm.reply = reply
    result = nlplog.run(nlplog_spec(logs, server), RunFolder(tmp_path, {}))
    assert result["removed"] == {}
    assert any("<*>" in row["output"] for row in rows_of(tmp_path, "nlplog.jsonl"))


def test_what_nlplog_would_send_is_shown_and_not_sent(logs: Path, server: StormServer) -> None:
    teacher = {"url": "https://api.example.com/v1", "model": "m"}
    shown = list(nlplog.preview(nlplog_spec(logs, server, teacher=teacher), 5))
    text = "\n".join(body["messages"][0]["content"] for _, _, body in shown)
    assert len(shown) == 5
    assert "Template: " in text
    assert "10.20.1." not in text
    assert "<IP_1>" in text
    assert shown[0][2]["response_format"]["json_schema"]["schema"]["required"][0] == "grok"
    assert server.storm.stats()["requests"] == 0
    with pytest.raises(InputError, match="nothing would be sent"):
        list(nlplog.preview(nlplog_spec(logs, server, teacher="analyst"), 1))


def test_nlplog_prompts_of_ones_own(logs: Path, server: StormServer, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("version: 1\nanswer: json\nteacher: 'Explain {log}'\nschema: {type: object, properties: {a: {}}}\n")
    with pytest.raises(InputError, match=r"own\.yaml: `schema` has the fields \['a'\]"):
        nlplog.run(nlplog_spec(logs, server, prompt=str(own)), RunFolder(tmp_path / "run", {}))


Run = Callable[..., dict[str, Any]]


def test_tutorial_files(logs: Path, tmp_path: Path) -> None:
    values = {
        "logs": [str(logs)], "smallest": 4, "largest": 6, "seed": 7, "test_chunks": 2, "validation_chunks": 2,
        "test_rows": 10, "validation_rows": 10, "train_rows": 40, "mini_rows": 9, "files": "tutorial",
    }  # fmt: skip
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        result = chat.run(chat.ChatSpec.parse(values, "r"), RunFolder(folder, {}))
        nlplog.run(
            nlplog.NlplogSpec.parse(
                {
                    "logs": [str(logs)],
                    "files": "tutorial",
                    "validation_share": 0.2,
                    "held_out": str(folder / "chunks.jsonl"),
                },
                "r",
            ),
            RunFolder(folder / "nlp", {}),
        )
    names = ["train_no_json.json", "val_no_json.json", "test_no_json.json", "train_no_json_mini.json"]
    loaded = {name: json.loads((folders[0] / name).read_text()) for name in names}
    assert [len(loaded[name]) for name in names] == [40, 10, 10, 9]
    assert all(row in loaded["train_no_json.json"] for row in loaded["train_no_json_mini.json"])
    assert result["rows"]["mini"] == 9
    train, validation = (
        json.loads((folders[0] / "nlp" / f"NLPLog_{name}.json").read_text()) for name in ("train", "val")
    )
    assert {row["meta"]["template"] for row in train} & {row["meta"]["template"] for row in validation} == set()
    assert len(validation) > 0
    for name in (*names, "nlp/NLPLog_train.json", "nlp/NLPLog_val.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
