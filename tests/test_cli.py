"""The command as a user meets it: a real process, its exit code, and one line on stderr."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOGLORE = [sys.executable, "-m", "loglore"]


def loglore(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LOGLORE, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "missing.yaml"), "loglore: missing.yaml: no such file"),
        (("logs", "templates", "missing.log"), "missing.log"),
        (("models", "delete", "nothing"), "not in the hub"),
        (("serve", "nothing-here"), "not in the hub"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = loglore(*arguments, LOGLORE_HOME=str(tmp_path))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_debug_shows_a_traceback(tmp_path: Path) -> None:
    done = loglore("--debug", "run", "missing.yaml", LOGLORE_HOME=str(tmp_path))
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_quickstart_outside_a_clone_says_what_is_missing(tmp_path: Path) -> None:
    done = loglore("quickstart", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "loglore: recipes/quickstart.yaml: no such file\n")
    assert list(tmp_path.iterdir()) == []


def test_dry_run_prints_the_plan_of_the_published_run_and_starts_nothing(tmp_path: Path) -> None:
    done = loglore("run", str(ROOT / "recipes" / "llama-3.1-8b-cpt.yaml"), "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "106 optimizer steps of 128 rows, 111,000,000 tokens" in done.stdout
    assert "not on this machine" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_and_log_verbs_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom loglore.cli import main\nsys.argv = ['loglore', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'streamlit', 'matplotlib', 'openai', 'sacrebleu'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    log = ROOT / "tests" / "conftest.py"
    for arguments in (
        ["--help"],
        ["logs", "templates", str(log)],
        ["run", "recipes/llama-3.1-8b-cpt.yaml", "--dry-run"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            env={**os.environ, "LOGLORE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("raised", "file"),
    [
        ("OSError(28, 'No space left on device', 'model.safetensors')", "model.safetensors"),
        # As safetensors said it on a real full disk.
        ("ValueError('Error while serializing: I/O error: No space left on device (os error 28)')", "a file"),
    ],
)
def test_full_disk_is_one_line_with_what_to_do(raised: str, file: str) -> None:
    code = f"from loglore import cli\ndef full(): raise {raised}\ncli.app = full\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == f"loglore: disk full while writing {file}: free some space, then run the same command again\n"


def test_missing_extra_is_named_with_the_way_to_install_it(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom loglore import cli\n"
        "sys.argv = ['loglore', 'test', 'spec.yaml', '--out', 'run']\ncli.main()"
    )
    (tmp_path / "spec.yaml").write_text("model: m\ndataset: rows.jsonl\n")
    (tmp_path / "m").mkdir()
    (tmp_path / "rows.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "loglore: torch is not installed; this command needs an extra: pip install 'loglore[all]'"
    )
