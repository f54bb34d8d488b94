from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.jobs import plan, recipes
from loglore.jobs.kinds import KINDS, function, spec_class
from loglore.train import hyperparameters

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    recipe = recipes.load(path)
    # A place for every output, so that specs can be checked without running anything.
    outputs = {
        job.name: {
            name: Path("out") for name in ("run", *{o for j in recipe.jobs for t, o in j.references() if t == job.name})
        }
        for job in recipe.jobs
    }
    for job in recipe.jobs:
        spec = spec_class(job.kind, "test").parse(recipes.resolve(job, recipe, outputs), f"{path}: {job.name}")
        if job.kind == "train":
            hyperparameters.load(spec.hyperparameters)  # type: ignore[attr-defined]
    assert plan.plan(recipe)


def test_every_kind_has_a_spec_and_a_function() -> None:
    for kind in KINDS:
        assert spec_class(kind, "test").model_fields
        assert callable(function(kind))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs: {", "not YAML"),
        ("- a\n- b", "expected a mapping of keys, found list"),
        ("name: x\nstages: {}", "unknown key `stages`"),
        ("name: x", "expected `name`"),
        ("name: x\njobs: {a: {model: m}}", "job a: expected a mapping with the key `kind`"),
        ("name: x\njobs: {a: {kind: trian}}", "job a: unknown kind `trian`; did you mean `train`"),
        ("name: x\njobs: {a: {kind: import, modle: m}}", "job a: unknown key `modle`; did you mean `model`"),
        ("name: x\njobs: {'a b': {kind: import, model: m}}", "letters, digits"),
        (
            "name: x\njobs: {a: {kind: export, model: '${b.model}', to: [gguf]}, b: {kind: import, model: m}}",
            r"job a: \$\{b\.model\} refers to no earlier job; earlier: none",
        ),
    ],
)
def test_faults_name_file_job_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as fault:
        recipes.load(path)
    assert "recipe.yaml" in str(fault.value)


def test_paths_are_looked_up_beside_the_recipe_and_references_resolved(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "recipe.yaml").write_text(
        "name: x\njobs:\n  a: {kind: import, model: m}\n"
        "  b: {kind: train, stage: cpt, model: '${a.model}', train: rows.jsonl, hyperparameters: missing.json}\n"
    )
    recipe = recipes.load(tmp_path / "recipe.yaml")
    values = recipes.resolve(recipe.jobs[1], recipe, {"a": {"run": Path("r/a"), "model": Path("r/a/model")}})
    assert values["model"] == "r/a/model"
    assert values["train"] == str(tmp_path / "rows.jsonl")
    assert values["hyperparameters"] == "missing.json"
    with pytest.raises(InputError, match=r"\$\{a\.model\}: job a has the outputs adapter, run"):
        recipes.resolve(recipe.jobs[1], recipe, {"a": {"run": Path("r/a"), "adapter": Path("x")}})


def test_globs_are_looked_up_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "app.log").write_text("x\n")
    (tmp_path / "deep" / "recipe.yaml").write_text(
        "name: x\njobs:\n  a: {kind: nlplog, logs: ['*.log']}\n  b: {kind: nlplog, logs: ['*.gz']}\n"
    )
    recipe = recipes.load(Path("deep/recipe.yaml"))
    assert recipes.resolve(recipe.jobs[0], recipe, {})["logs"] == ["deep/*.log"]
    assert recipes.resolve(recipe.jobs[1], recipe, {})["logs"] == ["*.gz"]
