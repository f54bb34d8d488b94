"""A bucket between machines is named by a flag as by the variable, on every verb that runs jobs on a cluster."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from loglore import settings
from loglore.cli import app
from loglore.cli.cluster import on_ray
from loglore.errors import InputError

VERBS = {
    "run": ["run", "recipe.yaml"], "train": ["train", "spec.yaml"], "test": ["test", "spec.yaml"],
    "nlplog": ["synth", "nlplog", "spec.yaml", "--out", "run"], "chat": ["synth", "chat", "spec.yaml", "--out", "run"],
    "worker": ["worker"], "studio": ["studio"],
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_it_is_of_a_cluster(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*VERBS[verb], "--storage", "s3://bucket/prefix"])
    assert isinstance(done.exception, InputError), done.output
    assert str(done.exception) == "--storage is of a cluster: add --executor ray"
    done = CliRunner().invoke(app, [*VERBS[verb], "--storage", "/shared", "--executor", "ray"])
    assert str(done.exception).startswith("--storage /shared: expected s3://bucket/prefix")


def test_it_is_in_the_variable_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_CLUSTER_STORAGE", "s3://other/place")
    assert on_ray("ray", "http://head:8265", None) is not None
    assert settings.load().cluster_storage == "s3://other/place"
    assert on_ray("ray", "http://head:8265", "s3://bucket/prefix") is not None
    assert settings.load().cluster_storage == "s3://bucket/prefix"
