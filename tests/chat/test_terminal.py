"""The terminal chat as a process: one-shot, piped, on a real terminal, with its own engine."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support_serving import ScriptedServer

from loglore.chat.terminal import chat
from loglore.errors import InputError, JobError

RUN = """
import json, sys
from pathlib import Path
from loglore.chat.terminal import chat
options = json.loads(sys.argv[1])
chat([Path(log) for log in options.pop("logs")], **options)
"""


def command(**options: object) -> list[str]:
    import json

    return [sys.executable, "-c", RUN, json.dumps(options)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text(
        "2026-11-22 10:14:01 INFO up\n"
        "2026-11-22 10:14:02 ERROR No space left on device\n"
        "2026-11-22 10:14:03 INFO \x1b[31mred\n"
    )
    return path


@pytest.fixture
def server(scripted: ScriptedServer) -> ScriptedServer:
    scripted.answer = 'Line 2 says "No space left on device". It says "Connection refused" at 11:59:59.'
    scripted.cards[0]["max_model_len"] = 2000
    return scripted


def test_one_shot_shows_answer_verdicts_lines_and_omissions(
    server: ScriptedServer, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat([log], endpoint=server.url, question="What failed?")
    out = capsys.readouterr().out
    assert f"{log}: 3 lines, 2026-11-22 10:14:01 to 2026-11-22 10:14:03 UTC, error 1, info 2" in out
    assert f"Model: scripted at {server.url}" in out
    assert server.answer in out
    assert "The model saw 3 of 3 lines" in out
    assert '✓ quote: "No space left on device"' in out
    assert "L2| 2026-11-22 10:14:02 ERROR No space left on device" in out
    assert '✓ quote: "Connection refused"' not in out
    assert "tokens/s, first after" in out


def test_piped_questions_make_a_whole_transcript(server: ScriptedServer, log: Path) -> None:
    done = subprocess.run(
        command(logs=[str(log)], endpoint=server.url),
        input="/rootcause\n\n/evidence\n/new\n/sumary\n/help\nWhy?\n/quit\nnever asked\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    asked = [request["messages"][-1]["content"] for request in server.requests]
    assert len(asked) == 2
    assert asked[0].startswith("Find the root cause of the problems in this log.\n\nLog content:\n")
    assert asked[1].startswith("Why?")
    assert "> /rootcause" in done.stdout
    assert "L1|2026-11-22 10:14:01 INFO up" in done.stdout
    assert "No command /sumary; did you mean /summary?" in done.stdout
    assert "Started over." in done.stdout
    assert "/patterns" in done.stdout
    assert "\x1b" not in done.stdout
    assert "Traceback" not in done.stderr


def test_commands_look_into_the_log_without_a_model(server: ScriptedServer, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text(
        "".join(f"2026-11-22 10:{n // 60:02}:{n % 60:02} INFO step {n} done\n" for n in range(200)) + "odd one\n"
    )
    saved = tmp_path / "kept.md"
    commands = [
        "/lines 120-122", "/lines 201", "/lines 9-3", "/lines x", "/templates", "/template T2", "/template T99",
        "/save", f"/save {saved}", "/compare 10:00..10:01 10:01..10:02", "/compare 10:00", "/risk", f"/save {saved}",
    ]  # fmt: skip
    process = subprocess.run(
        command(logs=[str(log)], endpoint=server.url),
        input="\n".join(commands[:2] + commands[4:6] + commands[8:10] + commands[11:13]) + "\n",
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    out = process.stdout
    assert "L120| 2026-11-22 10:01:59 INFO step 119 done\nL121| " in out
    assert "L201| odd one" in out
    assert "200 × step <*> done" in out
    assert "T2: 1 line, L201 to L201: odd one" in out
    assert "Nothing to save yet." in out
    assert "Compared: 2026-11-22 10:00:00 to 2026-11-22 10:01:00 (60 lines)" in out
    asked = [request["messages"][-1]["content"] for request in server.requests]
    assert [text.split("\n")[0] for text in asked] == [
        "Compare the two windows of time: what changed?",
        "Should I be alerted? Reply as JSON with risk_score, should_alert_user, messages and summary.",
    ]
    kept = saved.read_text()
    assert "```\nCompare the two windows" in kept
    assert "✓ quote" in kept or "? quote" in kept or "✗" in kept
    for wrong, why in (
        (commands[2], "ends before"),
        (commands[3], "expected numbers"),
        (commands[6], "T1 to T2"),
        (commands[10], "two spans"),
    ):
        broken = subprocess.run(
            command(logs=[str(log)], endpoint=server.url), input=f"{wrong}\n", capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert broken.returncode != 0
        assert why in broken.stderr


def test_one_answer_as_json_for_scripts(server: ScriptedServer, log: Path) -> None:
    import json

    arguments = command(logs=["-"], endpoint=server.url, question="What failed?", as_json=True)
    done = subprocess.run(arguments, input=log.read_bytes(), capture_output=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert found["answer"] == server.answer
    assert found["verdicts"]["supported"] >= 1
    with pytest.raises(InputError, match="--ask"):
        chat([log], endpoint=server.url, as_json=True)


def test_an_ascii_terminal_gets_ascii(server: ScriptedServer, log: Path) -> None:
    server.answer = 'ディスク: Line 2 says "No space left on device".'
    done = subprocess.run(
        command(logs=[str(log)], endpoint=server.url, question="x"),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert b"????: Line 2 says" in done.stdout
    assert b"  + quote: " in done.stdout


def test_a_log_on_standard_input(server: ScriptedServer, log: Path) -> None:
    arguments = command(logs=["-"], endpoint=server.url, question="What failed?")
    done = subprocess.run(arguments, input=log.read_bytes(), capture_output=True, timeout=60, check=True)
    assert b"3 lines" in done.stdout
    nothing_to_ask = command(logs=["-"], endpoint=server.url)
    done = subprocess.run(
        nothing_to_ask, input=log.read_bytes(), capture_output=True, timeout=60, check=False, start_new_session=True
    )
    assert b"ask with --ask" in done.stderr


def test_failures_end_a_one_shot_and_a_pipe(server: ScriptedServer, log: Path) -> None:
    server.status = 400
    with pytest.raises(InputError, match="scripted refusal"):
        chat([log], endpoint=server.url, question="x")
    server.status, server.break_after = 200, 1
    with pytest.raises(JobError, match="broke off"):
        chat([log], endpoint=server.url, question="x")
    done = subprocess.run(
        command(logs=[str(log)], endpoint=server.url), input=b"x\n", capture_output=True, timeout=60, check=False
    )
    assert done.returncode != 0


def test_bad_input(server: ScriptedServer, log: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not both"):
        chat([log], endpoint=server.url, model="x")
    with pytest.raises(InputError, match="at least one log"):
        chat([], endpoint=server.url)
    with pytest.raises(InputError, match=r"missing\.log"):
        chat([tmp_path / "missing.log"], endpoint=server.url, question="x")
    with pytest.raises(InputError, match="not in the hub"):
        chat([log], model="missing", question="x")


def test_its_own_engine_answers_and_is_gone_afterwards(tiny_gguf: Path, log: Path) -> None:
    import psutil

    before = {child.pid for child in psutil.Process().children()}
    done = subprocess.run(
        command(logs=[str(log)], model=str(tiny_gguf), question="What failed?", max_tokens=10),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Model: tiny at http://127.0.0.1:" in done.stdout
    assert "10 tokens (cut at the length limit)" in done.stdout
    assert {child.pid for child in psutil.Process().children()} == before
    assert not [
        each for each in psutil.process_iter(["cmdline"]) if str(tiny_gguf) in " ".join(each.info["cmdline"] or [])
    ]


class Terminal:
    """A chat on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.execv(arguments[0], arguments)
        self.text = ""
        self.seen = 0

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def until(self, text: str, within_s: float = 30) -> str:
        """What came since the last call, up to and with `text`."""
        deadline = time.monotonic() + within_s
        while text not in self.text[self.seen :]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text[self.seen :]!r}"
            if select.select([self.screen], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.screen, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        start, self.seen = self.seen, self.text.index(text, self.seen) + len(text)
        return self.text[start : self.seen]

    def end(self, within_s: float = 30) -> int:
        deadline = time.monotonic() + within_s
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            select.select([], [], [], 0.05)
        os.close(self.screen)
        return os.waitstatus_to_exitcode(ended[1])


def test_on_a_terminal(server: ScriptedServer, log: Path) -> None:
    prompt = "\r\n> "
    terminal = Terminal(*command(logs=[str(log)], endpoint=server.url))
    terminal.until("(also Ctrl-D)")
    # What is typed before the prompt stands can be thrown away when line editing begins.
    terminal.until(prompt)
    terminal.type("/summary\n")
    shown = terminal.until(prompt)
    assert "tokens/s" in shown
    assert "\x1b[32m  ✓ quote" in shown, "verdicts are in colour on a terminal"
    assert "\x1b[31mred" not in shown
    server.status = 400
    terminal.type("why?\n")
    terminal.until("error:")
    terminal.until(prompt)
    server.status = 200
    terminal.type("why?\n")
    terminal.until("tokens/s, first")
    terminal.until(prompt)
    terminal.type("\x04")
    assert terminal.end() == 0
