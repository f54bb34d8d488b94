"""Versions in the database, without storage: numbers, order, and what refuses."""

from dataclasses import replace

import pytest

from loglore.errors import InputError, JobError
from loglore.store import jobs, scores, uses, versions
from loglore.store.database import Database
from loglore.store.objects import OBJECTS, Object
from loglore.store.versions import NewVersion

CONTENT = Object("a" * 64, 3)


@pytest.fixture
def new(database: Database) -> NewVersion:
    with database.begin() as connection:
        connection.execute(OBJECTS.insert().values(sha256=CONTENT.sha256, bytes=3, created=1.0))
    return NewVersion("model", "tuned", "1", {"a": CONTENT}, {"lineage": {"x": [1, None]}})


def test_the_newest_is_what_was_added_last_whatever_the_clock_said(database: Database, new: NewVersion) -> None:
    assert versions.newest(database, "model") is None
    versions.add(database, replace(new, name="future", created=4e9))
    last = versions.add(database, replace(new, created=5.0))
    assert versions.newest(database, "model") == last
    versions.add(database, replace(new, kind="dataset"))
    assert versions.newest(database, "model") == last
    assert last.facts == {"lineage": {"x": [1, None]}}


def test_numbers_are_per_name_and_kind(database: Database, new: NewVersion) -> None:
    made = [versions.add(database, replace(new, digest=str(n))) for n in range(3)]
    assert [each.number for each in made] == [1, 2, 3]
    assert versions.add(database, replace(new, kind="dataset")).number == 1
    assert versions.add(database, replace(new, digest="at", number=9)).number == 9
    assert versions.add(database, replace(new, digest="taken", number=9)).number == 10
    assert [each.number for each in versions.versions(database, "model", "tuned", limit=2, offset=1)] == [2, 3]
    with pytest.raises(InputError, match="tuned has versions 1 to 10"):
        versions.find(database, "model", "tuned@4")


def test_what_was_collected_cannot_be_referred_to(database: Database, new: NewVersion) -> None:
    gone = replace(new, manifest={"a": Object("b" * 64, 3)})
    with pytest.raises(JobError, match="collected meanwhile"):
        versions.add(database, gone)
    assert versions.versions(database, "model") == []
    assert versions.add(database, new).number == 1, "what failed took no number"


def test_scores_point_at_versions(database: Database, new: NewVersion) -> None:
    model = versions.add(database, new)
    data = versions.add(database, replace(new, kind="dataset"))
    first = scores.add(database, model.id, "logs@1", {"bleu": {"mean": 0.3}}, data.id, "job-1")
    second = scores.add(database, model.id, "arc", {"acc": 0.5})
    assert scores.scores(database, model.id) == [first, second]
    for wrong in ((data.id, "none"), ("none", data.id)):
        with pytest.raises(InputError, match="is not there"):
            scores.add(database, wrong[0], "x", {}, wrong[1])
    versions.remove(database, data)
    assert [each.dataset_id for each in scores.scores(database, model.id)] == [None, None]
    versions.remove(database, model)
    assert scores.scores(database, model.id) == []


@pytest.mark.parametrize(
    ("state", "goes"), [("queued", False), ("paused", False), ("succeeded", True), ("failed", True)]
)
def test_inputs_of_a_job_that_is_over_may_be_deleted(
    database: Database, new: NewVersion, state: str, goes: bool
) -> None:
    made = versions.add(database, new)
    values = {"id": "ftjob-1", "kind": "train", "spec": {}, "spec_version": 1, "created": 1.0, "folder": "f"}
    with database.begin() as connection:
        jobs.insert(connection, {**values, "state": state})
        uses.keep(connection, "ftjob-1", [made.id])
    if goes:
        versions.remove(database, made)
        assert versions.versions(database, "model") == []
    else:
        with pytest.raises(InputError, match="ftjob-1 depends on it"):
            versions.remove(database, made)
