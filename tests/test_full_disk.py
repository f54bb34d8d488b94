"""A disk that really fills: a small tmpfs in a mount namespace of its own, then the same command with room enough."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support_disk import namespaces
from support_tiny import TEXTS

from loglore.runs import files, fingerprint

ROOT = Path(__file__).parents[1]
# Mounts the small disk, runs the command, gives the disk room, runs the command again, and keeps what both said. With
# FILL_AT somebody else fills the disk as soon as the run has written that file.
SCRIPT = """
mount -t tmpfs -o size=$SMALL tmpfs "$DISK"
if [ -n "$FILL_AT" ]; then
  {
    until [ -e "$DISK/$FILL_AT" ] || [ -e first.code ]; do sleep 0.01; done
    cat /dev/zero >"$DISK/filler"
  } 2>filler.err &
fi
"$@" >first.out 2>first.err; echo $? >first.code
find "$DISK" -name 'model.safetensors' -size 0 >empty.txt
mount -o remount,size=64m "$DISK"
"$@" >second.out 2>second.err; echo $? >second.code
cp -r "$DISK/run" kept
"""


needs_namespaces = pytest.mark.skipif(not namespaces(), reason="no mount namespaces for users here")


def run_on_small_disk(folder: Path, size: str, *arguments: str, fill_at: str = "") -> Path:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(
        ["unshare", "-rm", "sh", "-c", SCRIPT, "sh", sys.executable, "-m", "loglore", *arguments],
        cwd=folder,
        env={**os.environ, "SMALL": size, "DISK": str(disk), "FILL_AT": fill_at},
        check=True,
        timeout=200,
    )
    return folder / "kept"


def check(folder: Path) -> None:
    lines = (folder / "first.err").read_text().splitlines()
    assert (folder / "first.code").read_text().strip() == "1", lines
    last = lines[-1]
    assert last.startswith("loglore: disk full while writing ") and last.endswith(
        ": free some space, then run the same command again"
    )
    assert not any("Traceback" in line for line in lines)
    assert (folder / "empty.txt").read_text() == ""
    assert (folder / "second.code").read_text().strip() == "0", (folder / "second.err").read_text()


@needs_namespaces
def test_synthesis_says_that_the_disk_is_full_and_ends_as_if_it_never_was(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    log = ROOT / "examples" / "logs" / "redis.log"
    spec.write_text(
        f"logs: [{log}]\ntest_chunks: 2\nvalidation_chunks: 1\ntest_rows: 5\nvalidation_rows: 2\ntrain_rows: 60\n"
    )
    kept = run_on_small_disk(tmp_path, "60k", "synth", "chat", str(spec), "--out", str(tmp_path / "disk" / "run"))
    check(tmp_path)
    subprocess.run(
        [sys.executable, "-m", "loglore", "synth", "chat", str(spec), "--out", str(tmp_path / "roomy")],
        check=True,
        capture_output=True,
        timeout=100,
    )
    for name in ("chunks.jsonl", "train.jsonl", "test.jsonl"):
        assert (kept / name).read_bytes() == (tmp_path / "roomy" / name).read_bytes()


@needs_namespaces
def test_training_says_that_the_disk_is_full_and_then_saves_a_whole_model(tmp_path: Path, tiny_model: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    files.write_jsonl(corpus, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    (tmp_path / "hyperparameters.json").write_text(
        json.dumps(
            {"batch_size": 2, "max_sequence_length": 256, "mixed_precision": "none", "checkpoint_strategy": "no"}
        )
    )
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"stage: cpt\nmodel: {tiny_model}\ntrain: {corpus}\nhyperparameters: hyperparameters.json\n"
        "general_text: false\n"
    )
    # What the run needs is free when it starts (that is checked before); then somebody else takes it.
    arguments = ("train", str(spec), "--out", str(tmp_path / "disk" / "run"))
    kept = run_on_small_disk(tmp_path, "24m", *arguments, fill_at="run/perplexity-before.json")
    check(tmp_path)
    report = files.read_json(kept / "report.json")
    assert report["job"]["outputs"]["model"] == fingerprint.of_path(kept / "model")
