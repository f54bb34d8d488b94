"""A run that machines hand to each other by a bucket (moto's server): whole or not at all, the mark last."""

import json
from pathlib import Path

import pytest

from loglore import settings
from loglore.cluster import mirrored, places, submission
from loglore.cluster.mirrored import Mirrored
from loglore.cluster.order import Order
from loglore.data.sources import s3
from loglore.errors import InputError, JobError
from loglore.runs import files
from loglore.train.job import TrainSpec


@pytest.fixture
def machines(s3_bucket: str, tmp_path: Path) -> tuple[Mirrored, Mirrored]:
    """Two machines with a copy of one run."""
    url = f"s3://{s3_bucket}/prefix/runs/0"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    return Mirrored(url, tmp_path / "one"), Mirrored(url, tmp_path / "two")


def write(folder: Path, **content: str) -> None:
    for name, text in content.items():
        path = folder / name.replace("__", "/").replace("step_", "step-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def there(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def test_the_next_machine_has_what_the_last_one_handed_on(machines: tuple[Mirrored, Mirrored]) -> None:
    one, two = machines
    write(one.folder, metrics="1", checkpoints__step_5__state="five", model__weights="w", workers__error="none")
    kept = there(one.folder)
    # Of this machine alone: packed tokens, the order, half a checkpoint.
    write(one.folder, packed__ids="0", cluster__pulse="1", checkpoints__writing__state="half")
    one.send_run()
    assert two.steps() == [5]
    two.fetch_run(".")
    assert there(two.folder) == kept
    # Nothing is sent twice; the next machine does not send back what it fetched.
    before = s3().find(one.text, detail=True)
    two.send_run()
    one.send_run()
    assert s3().find(one.text, detail=True) == before


def test_what_has_a_successor_goes(machines: tuple[Mirrored, Mirrored]) -> None:
    one, two = machines
    write(one.folder, checkpoints__step_5__state="five", best__weights="worse")
    one.send_run()
    two.fetch_run(".")
    for name in ("checkpoints/step-5/state", "checkpoints/step-5"):
        (one.folder / name).unlink() if (one.folder / name).is_file() else (one.folder / name).rmdir()
    write(one.folder, checkpoints__step_10__state="ten", best__weights="better")
    one.send_run()
    assert two.steps() == [10]
    two.fetch_run("checkpoints/|best")
    assert there(two.folder) == {"checkpoints/step-10/state": "ten", "best/weights": "better"}
    assert len(s3().ls(f"{one.text}/trees/best")) == 1
    one.end()
    assert s3().find(one.text) == []


def test_half_a_folder_is_none_and_a_damaged_one_is_told(machines: tuple[Mirrored, Mirrored]) -> None:
    one, two = machines
    write(one.folder, checkpoints__step_5__state="five")
    one.send_run()
    s3().pipe_file(f"{one.text}/trees/checkpoints/step-9/0/state", b"its mark never came")
    two.fetch_run(".")
    assert two.steps() == [5] and list(there(two.folder)) == ["checkpoints/step-5/state"]
    write(one.folder, checkpoints__step_9__state="nine", model__weights="w")
    one.send_run()
    for name in ("checkpoints/step-9", "model"):
        (found,) = (key for key in s3().find(f"{one.text}/trees/{name}") if not key.endswith("/0/state"))
        s3().pipe_file(found, b"other")
    # There is a checkpoint before a damaged one; a model there is only once.
    two.fetch_trees("checkpoints/")
    assert two.steps() == [5] and list(there(two.folder)) == ["checkpoints/step-5/state"]
    with pytest.raises(JobError, match=r"^s3://.+/runs/0: model is damaged"):
        two.fetch_trees("model")


def test_every_machine_hands_on_its_part_of_a_checkpoint(machines: tuple[Mirrored, Mirrored]) -> None:
    one, two = machines

    def written(step: int) -> None:
        write(two.folder, **{f"checkpoints__checkpoint-{step}__shard-1": f"theirs, {step}"})
        parts = two.send_parts(two.folder / "checkpoints" / f"checkpoint-{step}")
        write(one.folder, **{f"checkpoints__step_{step}__shard-0": f"ours, {step}"})
        files.write_json(one.folder / "checkpoints" / f"step-{step}" / places.PARTS, parts)
        one.send_run()

    written(5)
    written(10)
    two.fetch_trees("checkpoints/")
    found = there(two.folder)
    assert found["checkpoints/step-10/shard-0"] == "ours, 10" and found["checkpoints/step-10/shard-1"] == "theirs, 10"
    # Whoever has all of it hands on and fetches nothing again; one that has only its own part fetches the other.
    before = s3().find(one.text, detail=True)
    Mirrored(two.text, two.folder).send_run()
    Mirrored(one.text, one.folder).send_run()
    assert s3().find(one.text, detail=True) == before
    one.fetch_trees("checkpoints/")
    assert there(one.folder) == found
    # A damaged part is a damaged checkpoint; what is not needed any more goes, parts too.
    (key,) = s3().find(f"{one.text}/parts/checkpoint-10")
    s3().pipe_file(key, b"other")
    (one.folder / "checkpoints" / "step-10" / "shard-1").unlink()
    one.fetch_trees("checkpoints/")
    assert one.steps() == [5] and not s3().find(f"{one.text}/parts/checkpoint-10")
    assert there(one.folder)["checkpoints/step-5/shard-1"] == "theirs, 5"


def test_a_run_that_began_on_this_machine_goes_on_from_its_checkpoint(machines: tuple[Mirrored, Mirrored]) -> None:
    one, two = machines
    write(one.folder, checkpoints__step_5__state="five")
    one.fetch_run()
    one.send_run()
    assert two.steps() == [5]
    one.fetch_run("adapter|model|published/")
    assert "checkpoints/step-5/state" in there(one.folder)
    one.end()
    assert there(one.folder) == {}


def test_files_are_fetched_when_they_changed_and_go_when_they_are_taken_away(
    machines: tuple[Mirrored, Mirrored],
) -> None:
    one, two = machines
    write(one.folder, cluster__pulse="1")
    one.send("cluster/pulse", "cluster/none")
    two.fetch("cluster/pulse", "cluster/none")
    assert there(two.folder) == {"cluster/pulse": "1"}
    write(two.folder, cluster__pulse="untouched while the other is the same")
    two.fetch("cluster/pulse")
    assert there(two.folder)["cluster/pulse"].startswith("untouched")
    write(one.folder, cluster__pulse="22")
    one.send("cluster/pulse")
    two.fetch("cluster/pulse")
    assert there(two.folder) == {"cluster/pulse": "22"}
    one.remove("cluster")
    (two.folder / "cluster" / "pulse").unlink()
    two.fetch("cluster/pulse")
    assert there(two.folder) == {}


def test_inputs_are_known_by_their_content(
    machines: tuple[Mirrored, Mirrored], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machines
    monkeypatch.setattr(mirrored, "scratch", lambda: tmp_path / "scratch")
    write(tmp_path, model__config="{}", model__parts__a="a", model__parts__b="b", rows="[]", h=json.dumps({}))
    values = {
        "stage": "cpt",
        "model": tmp_path / "model",
        "train": tmp_path / "rows",
        "hyperparameters": tmp_path / "h",
    }
    spec = TrainSpec.parse(values, "test")
    asked = Order("train", {}, 2, 0, 1, 45.0, "/nowhere", "attempt", one.inputs(spec))
    found = two.placed(spec, asked)
    assert there(found.model) == {"config": "{}", "parts/a": "a", "parts/b": "b"}
    assert found.model.name == "model" and found.train.read_text() == "[]"
    assert found.model.is_relative_to(tmp_path / "scratch") and found.stage == "cpt"
    before = s3().find(one.text.rsplit("/runs/")[0], detail=True)
    assert one.inputs(spec) == asked.inputs and s3().find(one.text.rsplit("/runs/")[0], detail=True) == before
    monkeypatch.setattr(mirrored, "scratch", lambda: tmp_path / "other")
    (key,) = [key for key in before if key.endswith("/rows")]
    s3().pipe_file(key, b"[ ]")
    with pytest.raises(JobError, match=r"^s3://.+/rows is damaged"):
        two.placed(spec, asked)


def test_a_run_folder_keeps_its_place_in_the_bucket(tmp_path: Path) -> None:
    first, again = (places.of_run(tmp_path / "run", "s3://bucket/prefix/") for _ in range(2))
    assert first.text == again.text and first.text.startswith("s3://bucket/prefix/runs/")
    assert places.of_run(tmp_path / "other", "s3://bucket/prefix").text != first.text
    assert places.at(first.text).folder.name == first.text.rsplit("/", 1)[1]
    assert places.of_run(tmp_path / "run", None).text == str(tmp_path / "run")


def test_what_a_bucket_cannot_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_CLUSTER_STORAGE", "/shared")
    with pytest.raises(InputError, match=r"^LOGLORE_CLUSTER_STORAGE=/shared: expected s3://bucket/prefix"):
        settings.load()
    (tmp_path / "h.json").write_text(json.dumps({"distributed_backend": "deepspeed"}))
    values = {"stage": "cpt", "model": tmp_path, "train": tmp_path, "hyperparameters": tmp_path / "h.json"}
    with pytest.raises(InputError, match=r"^`distributed_backend`: deepspeed needs a run folder that all machines see"):
        submission._refuse_deepspeed(TrainSpec.parse(values, "test"))
