"""`loglore jobs …` as a user types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loglore.cli import app
from loglore.errors import InputError
from loglore.runs import files

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    files.write_jsonl(tmp_path / "rows.jsonl", [{"text": "disk full"}])
    (tmp_path / "spec.yaml").write_text("rows: rows.jsonl\nvalidation_share: 0\n")


def loglore(*arguments: str) -> str:
    done = RUNNER.invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_job_from_its_queue_to_its_end(tmp_path: Path) -> None:
    (made,) = json.loads(loglore("jobs", "submit", "prepare", str(tmp_path / "spec.yaml"), "--name", "a", "--json"))
    job = made["id"]
    assert made["state"] == "queued" and made["spec"]["rows"] == str(tmp_path / "rows.jsonl")
    assert job in loglore("jobs", "list") and job in loglore("jobs", "list", "--state", "queued")
    assert job not in loglore("jobs", "list", "--kind", "train")
    assert job in loglore("jobs", "list", "--name", "A") and job not in loglore("jobs", "list", "--name", "b")
    assert json.loads(loglore("jobs", "pause", job, "--json"))[0]["state"] == "paused"
    assert json.loads(loglore("jobs", "resume", job, "--json"))[0]["state"] == "queued"
    assert "1 at once" in loglore("worker", "--until-idle")
    shown = json.loads(loglore("jobs", "show", job, "--json"))
    assert shown["state"] == "succeeded" and Path(shown["log"]).is_file() and shown["dollars"] == 0
    assert "state: succeeded" in loglore("jobs", "show", job)
    followed = loglore("jobs", "follow", job, "--after", "1").splitlines()
    assert followed[0].endswith("job paused") and followed[-1].endswith("job succeeded")
    assert json.loads(loglore("jobs", "follow", job, "--json").splitlines()[0])["message"] == "job queued"
    actions = [entry["action"] for entry in json.loads(loglore("jobs", "audit", job, "--json"))]
    assert actions == ["job.resume", "job.pause", "job.create"]
    loglore("jobs", "delete", job)
    assert json.loads(loglore("jobs", "list", "--json")) == []
    assert not Path(shown["folder"]).exists()
    assert json.loads(loglore("jobs", "costs", "--json")) == []


def test_a_recipe_and_its_end(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "name: two\njobs:\n  a: {kind: prepare, rows: rows.jsonl}\n  b: {kind: prepare, rows: '${a.train}'}\n"
    )
    first, second = json.loads(loglore("jobs", "submit", str(tmp_path / "r.yaml"), "--json"))
    loglore("jobs", "cancel", first["id"])
    states = {job["id"]: job["state"] for job in json.loads(loglore("jobs", "list", "--json"))}
    assert states == {first["id"]: "cancelled", second["id"]: "cancelled"}


def test_keys_are_audited() -> None:
    key = loglore("keys", "create", "ci").strip().split("-")[1]
    loglore("keys", "revoke", key)
    (revoked, made) = json.loads(loglore("jobs", "audit", key, "--json"))
    assert (made["action"], revoked["action"]) == ("key.create", "key.revoke")
    assert made["detail"] == {"name": "ci", "scopes": ["chat"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "--state", "done"), "--state done: expected one of queued, running"),
        (("list", "--kind", "trainn"), "--kind trainn: expected one of import"),
        (("show", "job-x"), "job 'job-x': no such id"),
        (("follow", "job-x"), "job 'job-x': no such id"),
        (("cancel", "job-x"), "job 'job-x': no such id"),
        (("submit", "none.yaml"), "none.yaml: no such file"),
        (("submit", "none.yaml", "--publish", "x"), "--name and --publish belong to one job"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RUNNER.invoke(app, ["jobs", *arguments], catch_exceptions=False)
