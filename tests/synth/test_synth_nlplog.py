import datetime
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from loglore.data.corpus import held_out_templates
from loglore.data.formats import to_corpus
from loglore.errors import InputError
from loglore.logs import grok, masking, reader, templates
from loglore.runs.files import write_jsonl
from loglore.runs.folder import RunFolder
from loglore.synth import nlplog
from loglore.synth.analyst import event
from loglore.synth.analyst.occurrences import WINDOW_S, events


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "nlplog.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def done(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("nlplog")
    return folder, nlplog.run(nlplog.NlplogSpec(logs=[logs]), RunFolder(folder, {}))


def test_rows_have_nlplogs_fields(done: tuple[Path, dict]) -> None:
    rows = rows_of(done[0])
    for row in rows:
        assert set(row) == {"instruction", "log", "output", "domain", "meta"}
        assert row["log"].strip() in row["instruction"]
        assert row["meta"]["template"] in row["meta"]["templates"]
        assert to_corpus(row).startswith("Human: ")
        assert not re.search(r"None(?! of)|\{\w+\}(?!:)|  \.", re.sub(r"`[^`]*`", "", row["output"]))
    assert len(rows) == done[1]["rows"]
    assert {row["meta"]["question"] for row in rows} == {"grok", "insight", "root_cause", "components", "forecast"}
    assert len({row["instruction"].replace(row["log"], "") for row in rows}) >= 20


def test_every_type_of_variable_has_a_name() -> None:
    assert set(masking.TYPES) <= set(event.TYPES)


def test_grok_patterns_match_every_line_of_their_event(done: tuple[Path, dict], logs: Path) -> None:
    mined = templates.mine(reader.read_table([logs]))
    checked = 0
    for row in rows_of(done[0]):
        if row["meta"]["question"] == "grok":
            (pattern,) = [line for line in row["output"].split("\n") if line and grok_matches(line, row["log"])]
            key = row["meta"]["template"]
            for text in mined.table.filter(mined.table["key"] == key)["text"]:
                assert grok.match(pattern, text) is not None
                checked += 1
            for value in grok.match(pattern, row["log"]).values():
                assert str(value) in row["output"]
    assert checked > 50


def grok_matches(pattern: str, line: str) -> bool:
    try:
        return "%{" in pattern and grok.match(pattern, line) is not None
    except InputError:
        return False


def test_neighbours_are_those_of_a_brute_force_count(logs: Path) -> None:
    mined = templates.mine(reader.read_table([logs / "nginx-access.log", logs / "sshd.log"]))
    rows = list(mined.table.iter_rows(named=True))
    for one in events(mined.table, mined.templates):
        before, after = Counter(), Counter()
        for here in rows:
            if here["key"] != one.template.key:
                continue
            near = [other for other in rows if other["source"] == here["source"] and other["key"] != here["key"]]
            window = datetime.timedelta(seconds=WINDOW_S)
            later = [other for other in near if other["line"] > here["line"] and other["time"] - here["time"] <= window]
            early = [other for other in near if other["line"] < here["line"] and here["time"] - other["time"] <= window]
            after.update({other["key"] for other in later})
            before.update({other["key"] for other in early})
        assert one.after.counts == after
        assert one.before.counts == before


def test_counts_in_answers_are_those_of_the_log(done: tuple[Path, dict], logs: Path) -> None:
    mined = templates.mine(reader.read_table([logs]))
    total = Counter(mined.table["key"].drop_nulls().to_list())
    checked = 0
    for row in rows_of(done[0]):
        for said in re.findall(r"of (\d+) cases|(?:in|its|With) (\d+) occurrences?", row["output"]):
            assert int(said[0] or said[1]) == total[row["meta"]["template"]]
            checked += 1
        for said in re.findall(r"(?:contains it|logged|occurs|writes it,) (\d+) times", row["output"]):
            assert int(said) == total[row["meta"]["template"]]
            checked += 1
    assert checked > 20


def test_values_of_variables_stand_in_the_log(done: tuple[Path, dict], logs: Path) -> None:
    everything = "\n".join(path.read_text() for path in logs.glob("*.log"))
    for row in rows_of(done[0]):
        if row["meta"]["question"] == "insight":
            for low, high in re.findall(r"between (\d+) and (\d+)", row["output"]):
                assert low in everything
                assert high in everything
                assert int(low) < int(high)


def test_mentioned_templates_are_listed(done: tuple[Path, dict], logs: Path) -> None:
    mined = templates.mine(reader.read_table([logs]))
    texts = {template.key: template.text for template in mined.templates}
    for row in rows_of(done[0]):
        quotes = re.findall(r"`([^`\n]{12,})`", row["output"]) if row["meta"]["question"] != "grok" else []
        for quote in quotes:
            named = [key for key, text in texts.items() if quote in text]
            assert not named or set(named) & set(row["meta"]["templates"]) or quote in row["log"], (quote, row)


def test_held_out_events_are_neither_described_nor_mentioned(
    logs: Path, tmp_path: Path, done: tuple[Path, dict]
) -> None:
    mined = templates.mine(reader.read_table([logs]))
    keys = [template.key for template in mined.templates][::3]
    chunks = [
        {"id": "a", "source": "x", "lines": [1, 2], "split": "test", "templates": keys[: len(keys) // 2]},
        {"id": "b", "source": "x", "lines": [3, 4], "split": "validation", "templates": keys[len(keys) // 2 :]},
        {"id": "c", "source": "x", "lines": [5, 6], "split": "train", "templates": [t.key for t in mined.templates]},
    ]
    write_jsonl(tmp_path / "chunks.jsonl", chunks)
    assert held_out_templates(tmp_path / "chunks.jsonl") == set(keys)
    spec = nlplog.NlplogSpec(logs=[logs], held_out=tmp_path / "chunks.jsonl")
    result = nlplog.run(spec, RunFolder(tmp_path / "run", {}))
    assert result["events_held_out"] == len(keys)
    for row in rows_of(tmp_path / "run"):
        assert not set(keys) & set(row["meta"]["templates"])
    assert 0 < result["rows"] < done[1]["rows"]


def test_a_cap_keeps_every_event(logs: Path, tmp_path: Path, done: tuple[Path, dict]) -> None:
    whole = rows_of(done[0])
    by_domain = Counter(row["domain"] for row in whole)
    domain, count = by_domain.most_common(1)[0]
    cap = count - 5
    result = nlplog.run(nlplog.NlplogSpec(logs=[logs], per_domain=cap), RunFolder(tmp_path, {}))
    assert result["rows_by_domain"][domain] == cap
    kept = {row["meta"]["template"] for row in rows_of(tmp_path)}
    assert kept == {row["meta"]["template"] for row in whole}


def test_a_tight_cap_spreads_over_events_and_questions(logs: Path, tmp_path: Path) -> None:
    nlplog.run(nlplog.NlplogSpec(logs=[logs], per_domain=6), RunFolder(tmp_path, {}))
    rows = rows_of(tmp_path)
    for domain in ("nginx-error", "postgresql", "sshd"):
        assert len({row["meta"]["template"] for row in rows if row["domain"] == domain}) == 6
    assert len({row["meta"]["question"] for row in rows}) == 5


def test_a_rerun_writes_the_same_bytes(done: tuple[Path, dict], logs: Path, tmp_path: Path) -> None:
    nlplog.run(nlplog.NlplogSpec(logs=[logs]), RunFolder(tmp_path, {}))
    assert (tmp_path / "nlplog.jsonl").read_bytes() == (done[0] / "nlplog.jsonl").read_bytes()


def test_ordinary_events_get_no_invented_cause(done: tuple[Path, dict]) -> None:
    for row in rows_of(done[0]):
        if row["domain"] == "mqtt":
            assert row["meta"]["question"] != "root_cause"


def test_an_empty_log_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "empty.log").write_text("\n\n")
    with pytest.raises(InputError, match=r"empty\.log"):
        nlplog.run(nlplog.NlplogSpec(logs=[tmp_path / "empty.log"]), RunFolder(tmp_path / "run", {}))
