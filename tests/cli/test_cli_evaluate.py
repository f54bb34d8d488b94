"""`loglore test` and `loglore compare` as a user types them: real processes on a tiny model and a local endpoint."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support_storm import Storm, StormServer

PNG = b"\x89PNG"


def loglore(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loglore", *arguments],
        cwd=cwd,
        env={**os.environ, "LOGLORE_HOME": str(cwd / "home"), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    row = {"instruction": "What failed in {}?", "output": "Run {} failed."}
    texts = [json.dumps({name: text.format(number) for name, text in row.items()}) for number in range(6)]
    path.write_text("\n".join(texts) + "\n")
    return path


def test_a_model_and_an_endpoint_are_tested_and_compared(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    server = StormServer(Storm())
    server.storm.reply = lambda asked: "Run 1 failed."
    try:
        local = loglore(
            "test",
            "--model",
            str(tiny_model),
            "--dataset",
            "test.jsonl",
            "--max-tokens",
            "8",
            "--out",
            "local",
            cwd=tmp_path,
        )
        assert local.returncode == 0, local.stderr
        assert "ROUGE-Lsum" in local.stdout and "General perplexity" in local.stdout
        remote = loglore(
            "test", "--endpoint", server.url, "--model", "storm", "--dataset", "test.jsonl", "--json", cwd=tmp_path
        )
    finally:
        server.close()
    assert remote.returncode == 0, remote.stderr
    assert json.loads(remote.stdout)["measures"]["exact_match"]["value"] == pytest.approx(1 / 6)
    compared = loglore(
        "compare",
        "tiny=local",
        "storm=runs/test-storm-test",
        "--plot",
        "bars.png",
        "--train",
        "test.jsonl",
        cwd=tmp_path,
    )
    assert compared.returncode == 0, compared.stderr
    assert re.search(r"storm against tiny: .*Fuzzy match.* higher|storm against tiny: all six", compared.stdout)
    assert (tmp_path / "bars.png").read_bytes().startswith(PNG)
    assert "nearest training answer" in (tmp_path / "runs" / "compare" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("test",), "expected a spec file, or --model and --dataset"),
        (("test", "--endpoint", "http://127.0.0.1:1/v1", "--dataset", "x"), "--endpoint needs --model"),
        (("test", "--model", "nothing", "--dataset", "test.jsonl"), "not in the hub"),
        (("test", "spec.yaml", "--turns", "last"), "give a spec file or options, not both (turns)"),
        (("compare", "x", "--plot", "x.pdf"), "expected a name that ends in .png or .svg"),
        (("compare", "a/x", "a/x"), "two runs have the label 'a/x'"),
        (("compare", "missing"), "missing: no such file or folder"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str, rows: Path, tmp_path: Path) -> None:
    done = loglore(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
