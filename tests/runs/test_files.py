import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.runs import files

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def test_failing_writer_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "value.json"
    files.write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), files.replacing(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("old", "new"):
        with files.replacing_folder(target) as folder:
            (folder / name).write_text(name)
    assert [file.name for file in target.iterdir()] == ["new"]
    with pytest.raises(RuntimeError), files.replacing_folder(target) as folder:
        (folder / "torn").write_text("")
        raise RuntimeError
    assert [file.name for file in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


@given(rows=st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=5), cut=st.integers(0, 40))
def test_torn_last_line_is_left_out_and_repaired(
    tmp_path_factory: pytest.TempPathFactory, rows: list, cut: int
) -> None:
    log = tmp_path_factory.mktemp("log") / "events.jsonl"
    for row in rows:
        files.append_jsonl(log, row)
    torn = json.dumps({"torn": "x" * 40})[:cut]
    with log.open("a") as stream:
        stream.write(torn)
    assert files.read_jsonl_log(log) == rows
    files.repair_jsonl_log(log)
    files.append_jsonl(log, {"next": 1})
    assert files.read_jsonl_log(log) == [*rows, {"next": 1}]


def test_killed_writer_never_shows_half_a_file(tmp_path: Path) -> None:
    target = tmp_path / "numbers.json"
    files.write_json(target, [0] * 50_000)
    code = (
        "import sys, pathlib, itertools\nfrom loglore.runs import files\n"
        "for n in itertools.count():\n files.write_json(pathlib.Path(sys.argv[1]), [n] * 50_000); print(n, flush=True)"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert len(set(json.loads(target.read_text()))) == 1


def test_broken_json_names_the_file(tmp_path: Path) -> None:
    broken = tmp_path / "hyperparameters.json"
    broken.write_text('{"a": ')
    with pytest.raises(InputError, match=r"hyperparameters\.json: not JSON"):
        files.read_json(broken)
    with pytest.raises(InputError, match="no such file"):
        files.read_json(tmp_path / "missing.json")
