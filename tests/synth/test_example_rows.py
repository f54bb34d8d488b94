"""The shipped NLPLog rows are what our generator writes from the shipped logs, today."""

from pathlib import Path

from loglore.jobs import runner

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_shipped_rows_are_the_generators(tmp_path: Path) -> None:
    runner.run_spec("nlplog", EXAMPLES / "nlplog.yaml", tmp_path / "run", lambda text: None)
    made = (tmp_path / "run" / "nlplog.jsonl").read_bytes()
    assert made == (EXAMPLES / "nlplog.jsonl").read_bytes(), (
        "make them again: loglore synth nlplog examples/nlplog.yaml"
    )
