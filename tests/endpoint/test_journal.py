import os
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from loglore.endpoint.journal import Journal, digest

VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.lists(st.tuples(st.integers(0, 5), VALUES)))
def test_is_a_dictionary_on_disk(writes: list[tuple[int, object]]) -> None:
    import tempfile

    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j.jsonl"
        with Journal(path) as journal:
            for number, value in writes:
                clean = _clean(value)
                journal.put(digest(number), clean)
                expected[digest(number)] = clean
        for _ in range(2):
            with Journal(path) as journal:
                assert {key: journal.get(key) for key in journal} == expected
                assert len(journal) == len(expected)
                assert digest("never written") not in journal
                assert journal.get(digest("never written")) is None


def _clean(value: object) -> object:
    """Lone surrogates are not text that a file can hold; they become question marks."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(each) for key, each in value.items()}
    return value


def test_a_torn_line_is_skipped_and_the_next_value_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.put(digest("a"), {"text": "one"})
        journal.put(digest("b"), {"text": "two"})
    for cut in range(1, 60):
        whole = path.read_bytes()
        torn = tmp_path / f"torn{cut}.jsonl"
        torn.write_bytes(whole[:-cut])
        with Journal(torn) as journal:
            assert journal.get(digest("a")) == {"text": "one"}
            assert journal.get(digest("b")) is None
            journal.put(digest("c"), 3)
        with Journal(torn) as journal:
            assert (journal.get(digest("a")), journal.get(digest("c"))) == ({"text": "one"}, 3)


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as one, Journal(tmp_path / "j.jsonl") as two:
        for number in range(50):
            one.put(digest(["one", number]), number)
            two.put(digest(["two", number]), -number)
        assert all(one.get(digest(["one", number])) == number for number in range(50))
        assert all(two.get(digest(["two", number])) == -number for number in range(50))
    with Journal(tmp_path / "j.jsonl") as journal:
        assert len(journal) == 100


def test_what_was_put_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from loglore.endpoint.journal import Journal, digest\n"
        "journal = Journal(Path(sys.argv[1])); number = 0\n"
        "while True:\n    journal.put(digest(number), 'x' * 3000); print(number, flush=True); number += 1\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "j.jsonl")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        text=True,
    )
    assert process.stdout is not None
    seen = -1
    while seen < 40:
        seen = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Journal(tmp_path / "j.jsonl") as journal:
        assert all(journal.get(digest(number)) == "x" * 3000 for number in range(seen + 1))


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    Journal(tmp_path / "j.jsonl").close()
    assert (tmp_path / "j.jsonl").stat().st_mode & 0o077 == 0
