"""`loglore logs …` as a process: what it prints, what it says on standard error, and its exit codes."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loglore.cli.logs import app
from loglore.models.load import load_tokenizer

LINES = [
    "2026-11-22 10:00:00 INFO shop: order 1 done",
    "2026-11-22 10:00:01 ERROR shop: order 2 refused by 10.0.0.5",
    "2026-11-22 10:00:02 INFO shop: order 3 done",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text("\n".join(LINES) + "\n")
    return path


def loglore(*arguments: object, stdin: str | None = None, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loglore", "logs", *map(str, arguments)],
        env={**os.environ, "LOGLORE_HOME": str(home / "home")},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_search(log: Path, tmp_path: Path) -> None:
    done = loglore("search", log, "refused 10.0.0.5", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"L2|{LINES[1]}\n")
    assert done.stderr.splitlines()[-1] == "all 1 match"
    done = loglore(
        "search", log, "order", "--limit", 1, "--level", "info", "--from", "10:00:01", "--json", home=tmp_path
    )
    found = json.loads(done.stdout)
    assert (found["matches"], found["shown"]) == (2, 1)
    assert found["rows"][0]["text"] == LINES[1]
    assert found["rows"][0]["variables"] == [{"type": "number", "value": "2"}, {"type": "ip", "value": "10.0.0.5"}]
    assert {one["template"]: one["matches"] for one in found["templates"]} == {"T1": 1, "T2": 1}
    assert len(list((tmp_path / "home" / "logs").glob("[!.]*"))) == 1


def test_every_verb_takes_any_log(log: Path, tmp_path: Path) -> None:
    archive = tmp_path / "cut.log.gz"
    noise = "".join(f"{number * 7919 % 10007} word\n" for number in range(3000))
    archive.write_bytes(gzip.compress(noise.encode())[:-30])
    done = loglore("templates", archive, "--index", tmp_path / "index", "--json", home=tmp_path)
    assert json.loads(done.stdout)[0]["text"] == "<*> word"
    assert "partial: damaged or truncated .gz archive" in done.stderr
    assert (tmp_path / "index" / "manifest.json").exists()
    done = loglore("evidence", log, "--budget", 500, "--json", home=tmp_path)
    assert json.loads(done.stdout)["omitted"]["lines"] == 0
    windows = ("--before", "10:00:00..10:00:01", "--after", "10:00:01..10:00:03")
    assert "Compared: 2026-11-22 10:00:00 to" in loglore("evidence", log, *windows, home=tmp_path).stdout
    done = loglore("chunk", log, "--smallest", 1, "--largest", 2, home=tmp_path)
    assert [line for row in done.stdout.splitlines() for line in json.loads(row)["lines"]] == LINES
    done = loglore(
        "check", log, "--text", "-", "--json", stdin='Line 2: "order 2 refused". 10.0.0.6 was seen.', home=tmp_path
    )
    assert [one["verdict"] for one in json.loads(done.stdout)] == ["supported", "supported", "contradicted"]
    done = loglore("search", "-", "done", stdin="\n".join(LINES), home=tmp_path)
    assert done.stdout.splitlines() == [f"L1|{LINES[0]}", f"L3|{LINES[2]}"]
    packed = tmp_path / "packed.log.gz"
    packed.write_bytes(gzip.compress("\n".join(LINES).encode()))
    command = f'"{sys.executable}" -m loglore logs search'
    environment = {**os.environ, "LOGLORE_HOME": str(tmp_path / "home")}
    for shell in (f"cat {packed} | {command} - refused", f"{command} <(cat {packed}) refused"):
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True, env=environment)
        assert done.stdout == f"L2|{LINES[1]}\n"


def test_evidence_keeps_to_the_tokens_of_the_model(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("".join(f"{line.replace('order', f'order {at}')}\n" for at in range(90) for line in LINES))
    arguments = ["evidence", path, "--index", tmp_path / "index", "--budget", 300, "--json", "--tokenizer", tiny_model]
    found = json.loads(CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False).stdout)
    counted = len(load_tokenizer(tiny_model).encode(found["text"], add_special_tokens=False))
    assert 150 < found["tokens"] == counted <= 300
    assert found["omitted"]["lines"] > 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "app.log", '"open'), "quotation mark without its partner"),
        (("search", "app.log", "x", "--level", "loud"), "expected one of trace, debug"),
        (("search", "app.log", "x", "--from", "noon"), "expected 2026-11-22"),
        (("search", "app.log", "x", "--field", "host"), "expected name=value"),
        (("search", "app.log", "x", "--template", "T77"), "the log has T1 to T2"),
        (("evidence", "app.log", "--before", "10:00..11:00"), "give both"),
        (("templates", "empty.log"), "empty.log: empty"),
        (("templates", sys.executable), "binary"),
        (("templates", "nowhere"), "nowhere: no such file or folder"),
        (("templates", "hollow"), "hollow: the folder holds no files"),
        (("templates", "packed.log"), "packed.log: compressed: a name that ends in .gz is needed"),
        (("check", "app.log", "--text", "nowhere.txt"), "--text nowhere.txt: No such file"),
        (("check", "app.log", "--text", "packed.log"), "--text packed.log: expected a text in UTF-8; byte 1"),
        (("levels", "app.log", "--png", "nowhere/a.png"), "nowhere/a.png: there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.log").touch()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "packed.log").write_bytes(gzip.compress(b"x"))
    done = loglore(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
