"""The ask job: a run folder with the answer, its evidence and its checked claims; against a real tiny engine too."""

import json
from pathlib import Path
from typing import Any

import pytest
from support_serving import ScriptedServer

from loglore.ask.job import AskSpec, run
from loglore.errors import InputError
from loglore.runs.folder import RunFolder
from loglore.serve.engine import running


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text("10:14:01 INFO up\n10:14:02 ERROR No space left on device\n")
    return path


def spec(**values: Any) -> AskSpec:
    return AskSpec.parse(values, "test")


def test_answer_is_written_with_evidence_and_verdicts(scripted: ScriptedServer, log: Path, tmp_path: Path) -> None:
    scripted.answer = 'Line 2 reports "No space left on device".'
    wish = spec(endpoint=scripted.url, logs=[log], question="What failed?", context_tokens=1000)
    result = run(wish, RunFolder(tmp_path / "run", {}))
    written = json.loads((tmp_path / "run" / result["outputs"]["answer"]).read_text())
    assert written["answer"] == scripted.answer
    assert written["verdicts"]["supported"] >= 2
    assert written["verdicts"]["contradicted"] == 0
    assert written["evidence"]["lines"] == [[str(log), 1], [str(log), 2]]
    assert {**written, "outputs": result["outputs"]} == result


def test_asking_again_in_the_same_folder_gives_the_same(tiny_gguf: Path, log: Path, tmp_path: Path) -> None:
    with running(tiny_gguf, model_id="tiny") as started:
        wish = spec(endpoint=started.url, model_id="tiny", logs=[log], question="What failed?", max_tokens=20)
        results = [run(wish, RunFolder(tmp_path / "run", {})) for _ in range(2)]
    assert results[0]["answer"] == results[1]["answer"]
    assert results[0]["completion_tokens"] == 20
    assert results[0]["prompt_tokens"] > results[0]["evidence"]["tokens"]
    assert results[0]["tokens_per_second"] > 0


def test_spec_errors(log: Path) -> None:
    with pytest.raises(InputError, match="logs"):
        spec(endpoint="http://127.0.0.1:1/v1", logs=[], question="x")
    with pytest.raises(InputError, match="did you mean `max_tokens`"):
        spec(endpoint="http://127.0.0.1:1/v1", logs=[log], question="x", max_token=3)
