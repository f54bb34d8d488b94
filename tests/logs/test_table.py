"""The table on disk against `read_table` and `mine` on the same input, wherever blocks end and however a log grows."""

import bz2
import codecs
import contextlib
import datetime
import gzip
import io
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.logs import cache, manifest, shards, table
from loglore.logs.reader import read_table
from loglore.logs.templates import mine

EXAMPLES = Path(__file__).parents[2] / "examples" / "logs"
TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 3, in b\n    c()\nValueError: no\n'
PIECES = st.sampled_from(
    [
        "2026-11-22 10:00:00,000 ERROR shop.http: order 17 failed for 10.0.0.7\n",
        "2026-11-22 10:00:01 INFO shop.http: order 18 done\n",
        "Dec 31 23:59:58 web01 sshd[12]: Failed password for root from 10.0.0.7 port 22\n",
        "Jan  1 00:00:03 web01 sshd[12]: session opened for user ann\n",
        "Jan  1 00:00:09 web02 sshd[14]: session opened for user bob\n",
        "2026-11-22 20:02:11.123 UTC [211] shop@shop ERROR:  duplicate key\n",
        "2026-11-22 20:02:11.123 UTC [211] shop@shop DETAIL:  Key (id)=(1) already exists.\n",
        "Nov 22, 2026 8:08:58 PM org.apache.Catalina start\n",
        "Nov 22, 2026 8:08:58 PM org.apache.Catalina start\nSEVERE: no port 80\n",
        "#Fields: date time cs-method sc-status\n2026-11-22 10:00:03 GET 500\n",
        "2026-11-22 10:00:02 GET 404\n",
        "23:59:58 [main] ERROR c.e.shop.Cart - order 17 failed\n00:00:01 [main] INFO c.e.shop.Cart - order 18 done\n",
        "CEF:0|Acme|Gate|1.0|100|scan|8|src=10.0.0.1 spt=17\n",
        "2026-11-22T10:00:03Z stdout P 2026-11-22 10:00:03 ERROR shop: order 17 \n",
        "2026-11-22T10:00:03Z stdout F   at a.b.c\n",
        "\x1b[31m2026-11-22 10:00:04 ERROR shop: order 19 lost\x1b[0m\n",
        "VM Paused\n",
        "VM Resumed\n",
        TRACEBACK,
        "During handling of the above exception, another exception occurred:\n",
        "\n",
        "   \n",
        "  indented é\n",
        "plain words only\r\n",
        "no line end",
        "bad \x00 byte\n",
        "ログに残る 12 件\n",
    ]
)


def small(folder: Path, content: bytes, name: str = "app.log") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def assert_same(found: table.LogTable, paths: Sequence[Path]) -> None:
    """The table on disk and the one in memory: every column, and every template."""
    expected = mine(read_table(paths))
    assert found.mined().table.equals(expected.table)
    assert found.templates == expected.templates
    assert found.height == expected.table.height


@settings(max_examples=25)
@given(st.lists(PIECES, min_size=1, max_size=14), st.lists(PIECES, max_size=4), st.sampled_from([1, 7, 64, 1000]))
@example(["Jan  1 00:00:03 web01 sshd[12]: a\n", "Dec 31 23:59:58 web01 sshd[12]: b\n"] * 3, [], 40)
@example(["x\n", TRACEBACK, "\n", TRACEBACK, TRACEBACK], [], 9)
def test_blocks_of_any_size_give_the_table_that_is_read_at_once(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str], block: int
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    paths = [small(folder, "".join(first).encode(), "a.log")]
    if second:
        paths.append(small(folder, "".join(second).encode(), "b.log"))
    assert_same(table.index(paths, folder / "table", block_bytes=block), paths)


MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@settings(max_examples=15)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=8).map(b"\n".join).filter(bool), st.sampled_from([1, 5]))
@example(codecs.BOM_UTF8, 1)
@example(codecs.BOM_UTF8 + b"after the mark\n", 1)
@example(codecs.BOM_UTF16_LE, 5)
def test_any_bytes_are_accounted_for(tmp_path_factory: pytest.TempPathFactory, content: bytes, block: int) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    path = small(folder, content)
    try:
        found = table.index([path], folder / "table", block_bytes=block)
    except InputError as fault:
        assert "binary" in str(fault) or (str(fault) == f"{path}: empty" and content in MARKS)
        return
    assert found.frame().collect()["text"].to_list() == read_table([path])["text"].to_list()


@settings(max_examples=10)
@given(st.text(max_size=60), st.sampled_from(["utf-16-le", "utf-16-be"]), st.sampled_from([1, 3, 16]))
def test_utf16(tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str, block: int) -> None:
    folder = tmp_path_factory.mktemp("wide")
    mark = codecs.BOM_UTF16_LE if encoding.endswith("le") else codecs.BOM_UTF16_BE
    path = small(folder, mark + f"x{text}".encode(encoding, "surrogatepass"))
    found = table.index([path], folder / "table", block_bytes=block)
    assert found.frame().collect()["text"].to_list() == read_table([path])["text"].to_list()


def test_the_example_logs(tmp_path: Path) -> None:
    found = table.index([EXAMPLES], tmp_path / "table", block_bytes=20_000)
    assert len(found.manifest.shards) > 40
    assert_same(found, [EXAMPLES])


def test_drain_on_disk_is_drain_in_memory(tmp_path: Path) -> None:
    paths = sorted(EXAMPLES.glob("*.log"))[:6]
    found = table.index(paths, tmp_path / "table", block_bytes=20_000)
    assert found.drain_templates() == mine(read_table(paths), "drain").templates
    assert found.drain_templates() != found.templates


def test_line_numbers_are_those_of_sed(tmp_path: Path) -> None:
    path = small(tmp_path, b"one\r\n\ntwo \x0b\x0c \xe2\x80\xa8 still two\n" * 40 + b"last without end")
    frame = table.index([path], tmp_path / "table", block_bytes=50).frame().collect()
    assert frame["line"].to_list() == list(range(1, 122))
    for number in (1, 2, 3, 60, 119, 121):
        shown = subprocess.run(["sed", "-n", f"{number}p", path], capture_output=True, check=True).stdout
        assert shown.removesuffix(b"\n").removesuffix(b"\r").decode() == frame["text"][number - 1]


def test_layouts_beyond_the_sample_limit_are_those_of_the_reader(tmp_path: Path) -> None:
    lines = [f"2026-11-22 10:00:00 INFO a: step {number} of many" for number in range(30_000)]
    lines[3::17] = ["Nov 22 20:20:15 web01 sshd[12]: hello" for _ in lines[3::17]]
    path = small(tmp_path, "\n".join(lines).encode())
    assert_same(table.index([path], tmp_path / "table", block_bytes=100_000), [path])


COMPRESSED = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_compressed_and_truncated(tmp_path: Path, suffix: str) -> None:
    content = "".join(f"line {number} of a file {number * 7919 % 10007}\n" for number in range(70_000)).encode()
    path = small(
        tmp_path, COMPRESSED[suffix](content[:900_000]) + COMPRESSED[suffix](content[900_000:]), f"a.log{suffix}"
    )
    found = table.index([path], tmp_path / "whole", block_bytes=64_000)
    assert_same(found, [path])
    assert found.notes == []
    damaged = small(tmp_path, COMPRESSED[suffix](content)[:-40], f"cut.log{suffix}")
    part = table.index([damaged], tmp_path / "part", block_bytes=64_000)
    lines = part.frame().collect()["text"].to_list()
    # The last line may be torn where the archive is.
    assert lines[:-1] == content.decode().splitlines()[: len(lines) - 1]
    assert part.facts()["fault"][0]
    assert any("partial" in note and "damaged or truncated" in note for note in part.notes)


def test_gzip_keeps_the_lines_before_the_damage(tmp_path: Path) -> None:
    content = "".join(f"line {number} of a file {number * 7919 % 10007}\n" for number in range(60_000)).encode()
    packed = bytearray(gzip.compress(content))
    packed[len(packed) * 2 // 3 : len(packed) * 2 // 3 + 50] = bytes(50)
    part = table.index([small(tmp_path, bytes(packed), "a.gz")], tmp_path / "table")
    assert 10_000 < part.height < 60_000
    lines = part.frame().collect()["text"].to_list()
    assert sum(a == b for a, b in zip(lines, content.decode().splitlines(), strict=False)) > 10_000


def test_what_is_no_log_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(tmp_path, b"", "empty.log")
    small(tmp_path, bytes(range(256)) * 50, "program.bin")
    small(tmp_path, b"\x00a" * 500, "nul.bin")
    for name, why in (("empty.log", "empty"), ("program.bin", "binary"), ("nul.bin", "50% of its first bytes are NUL")):
        with pytest.raises(InputError, match=f"{name}: .*{why}"):
            table.index([tmp_path / name], tmp_path / "t")
        assert not (tmp_path / "t").exists()
    small(tmp_path, b"a line\n", "good.log")
    found = table.index([tmp_path], tmp_path.parent / f"{tmp_path.name}-table")
    assert found.sources == [str(tmp_path / "good.log")]
    assert [Path(path).name for path, _ in found.manifest.skipped] == ["empty.log", "nul.bin", "program.bin"]
    assert len(found.notes) == 3 and all("left out" in note for note in found.notes)
    with pytest.raises(InputError, match="no such file"):
        table.index([tmp_path / "absent.log"], tmp_path / "t")

    def refused(self: Path, *rest: object) -> io.BytesIO:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises((InputError, PermissionError), match="Permission denied"):
        table.index([tmp_path / "good.log"], tmp_path / "t")


def test_a_second_index_of_unchanged_files_reads_nothing(tmp_path: Path) -> None:
    path = small(tmp_path, b"one\ntwo\n")
    first = table.index([path], tmp_path / "table")
    calls: list[float] = []
    again = table.index([path], tmp_path / "table", lambda done, total: calls.append(done))
    assert calls == []
    assert again.manifest == first.manifest == table.open_table(tmp_path / "table").manifest


@settings(max_examples=20)
@given(st.lists(st.lists(PIECES, max_size=6), min_size=2, max_size=4), st.sampled_from([5, 80, 1 << 20]))
def test_a_growing_log_is_followed(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]], block: int
) -> None:
    folder = tmp_path_factory.mktemp("grow")
    path = small(folder, ("2026-11-22 10:00:00 INFO a: start\n" + "".join(parts[0])).encode())
    found = table.index([path], folder / "table", block_bytes=block)
    before = {template.example: template.id for template in found.templates}
    for part in parts[1:]:
        with path.open("ab") as log:
            log.write("".join(part).encode())
        found = found.update(block_bytes=block)
        text = found.frame().collect()
        assert text["text"].to_list() == read_table([path])["text"].to_list()
        assert text["line"].to_list() == list(range(1, found.height + 1))
        assert sum(template.count for template in found.templates) == text["template"].count()
        counted = dict(text["template"].drop_nulls().value_counts().iter_rows())
        assert counted == {template.id: template.count for template in found.templates}
        # An id stays with the template of its first line (or with the one that took this in).
        for template in found.templates:
            if template.example in before and "no line end" not in template.example:
                assert int(template.id[1:]) <= int(before[template.example][1:])
        before = {template.example: template.id for template in found.templates}


def test_an_id_stays_when_its_template_generalises(tmp_path: Path) -> None:
    path = small(tmp_path, b"start of service\nsession opened for user ann by root\nthe end comes\n")
    found = table.index([path], tmp_path / "table")
    assert [(one.id, one.text) for one in found.templates][1] == ("T2", "session opened for user ann by root")
    with path.open("ab") as log:
        log.write(b"session opened for user bob by root\nsomething quite new\n")
    found = found.update()
    assert [(one.id, one.text, one.count) for one in found.templates] == [
        ("T1", "start of service", 1),
        ("T2", "session opened for user <*> by root", 2),
        ("T3", "the end comes", 1),
        ("T4", "something quite new", 1),
    ]
    assert found.frame().collect()["template"].to_list() == ["T1", "T2", "T3", "T2", "T4"]


def test_a_line_that_was_not_finished_is_read_again(tmp_path: Path) -> None:
    path = small(tmp_path, b"one\nhalf a li")
    found = table.index([path], tmp_path / "table")
    assert found.frame().collect()["text"].to_list() == ["one", "half a li"]
    with path.open("ab") as log:
        log.write(b"ne\nthree\n")
    found = found.update()
    assert found.frame().collect()["text"].to_list() == ["one", "half a line", "three"]
    assert [template.text for template in found.templates] == ["one", "half a line", "three"]


def test_rotation_is_said_and_keeps_what_was_read(tmp_path: Path) -> None:
    path = small(tmp_path, b"one\ntwo\nthree\n")
    found = table.index([path], tmp_path / "table")
    path.write_bytes(b"four\n")
    found = found.update()
    assert found.notes == [f"{path}: shrank from 14 to 5 bytes (rotated?): read from its start as a new log"]
    rows = found.frame().select("source", "line", "text").collect().rows()
    assert rows == [(f"{path}#1", number, text) for number, text in ((1, "one"), (2, "two"), (3, "three"))] + [
        (str(path), 1, "four")
    ]
    path.write_bytes(b"another log, longer than the one before\n")
    found = found.update()
    assert "has other content than before" in found.notes[0]
    assert found.sources == [f"{path}#1", f"{path}#2", str(path)]
    # A new index is about the file as it is.
    path.write_bytes(b"x\n")
    found = table.index([path], tmp_path / "table")
    assert found.notes == [f"{path}: shrank from 40 to 2 bytes (rotated?): read again from the start"]
    assert_same(found, [path])
    path.unlink()
    gone = found.update()
    assert gone.notes == [f"{path}: is gone: its lines are kept"]
    assert gone.height == 1


def test_a_file_that_shrinks_while_it_is_read_is_marked_partial(tmp_path: Path) -> None:
    path = small(tmp_path, b"2026-11-22 10:00:00 INFO a: order 1 done\n" * 2000)

    def shrink(done: float, total: float) -> None:
        if path.stat().st_size > 41_000:
            os.truncate(path, 41_000)

    found = table.index([path], tmp_path / "table", shrink, block_bytes=10_000)
    assert found.height == 1000
    assert found.notes == [
        f"{path}: partial: it shrank from 82,000 to 41,000 bytes while it was read; the lines before it are here"
    ]
    assert "shrank from 82,000 to 41,000 bytes" in table.index([path], tmp_path / "table").notes[0]


def test_a_folder_gets_a_new_file(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    small(logs, b"one\n", "a.log")
    found = table.index([logs], tmp_path / "table")
    small(logs, b"two\n", "b.log")
    found = found.update()
    assert found.frame().collect()["text"].to_list() == ["one", "two"]
    assert table.index([logs], tmp_path / "table").manifest == found.manifest


def test_a_compressed_log_that_grew_is_read_anew(tmp_path: Path) -> None:
    path = small(tmp_path, gzip.compress(b"one\n"), "a.log.gz")
    found = table.index([path], tmp_path / "table")
    with path.open("ab") as log:
        log.write(gzip.compress(b"two\none\n"))
    found = found.update()
    assert found.frame().collect()["text"].to_list() == ["one", "two", "one"]
    assert [(one.text, one.count) for one in found.templates] == [("one", 2), ("two", 1)]


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path))

    class Piped:
        buffer = io.BytesIO(b"from a pipe\nwith two lines")

    monkeypatch.setattr(sys, "stdin", Piped)
    found = table.index([Path("-")])
    assert found.frame().select("source", "line", "text").collect().rows() == [
        ("-", 1, "from a pipe"),
        ("-", 2, "with two lines"),
    ]


def test_more_distinct_messages_than_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.Kinds.__init__, "__defaults__", (20,))
    words = [
        f"{chr(97 + number % 26)}{chr(97 + number // 26)}q word w{chr(97 + number % 26)}x tail" for number in range(500)
    ]
    path = small(tmp_path, "\n".join(words).encode())
    found = table.index([path], tmp_path / "table", block_bytes=500)
    assert sum(template.count for template in found.templates) == 500
    assert found.kinds.height <= 2 * 20 + 1
    assert "distinct masked messages" in found.notes[0]


def test_the_cache_forgets_what_was_used_longest_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    folders = []
    for number in range(3):
        folders.append(table.index([small(tmp_path, b"a line\n", f"{number}.log")]).folder)
        os.utime(folders[-1], (number, number))
    assert all(folder.parent == tmp_path / "home" / "logs" for folder in folders)
    size = sum(file.stat().st_size for file in folders[0].iterdir())
    cache.trim(folders[0], most_bytes=2 * size + size // 2)
    assert [folder.exists() for folder in folders] == [True, False, True]


def test_a_killed_index_leaves_the_table_before_or_none(tmp_path: Path) -> None:
    path = small(tmp_path, b"".join(b"2026-11-22 10:00:00 INFO a: line %d\n" % number for number in range(300_000)))
    folder = tmp_path / "table"
    paths = f"[Path({str(path)!r})], Path({str(folder)!r})"
    code = f"from pathlib import Path; from loglore.logs import table; table.index({paths}, block_bytes=100_000)"
    for wait in (0, 3, 20):
        running = subprocess.Popen([sys.executable, "-c", code])
        partial = folder.with_name(".table.partial")
        deadline = time.monotonic() + 60
        while running.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):  # it was renamed between two looks
                if partial.exists() and len(list(partial.glob("shard-*"))) >= wait:
                    break
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not (folder / manifest.NAME).exists() or table.open_table(folder).height == 300_000
    found = table.index([path], folder, block_bytes=1_000_000)
    assert found.height == 300_000
    assert not partial.exists()


def test_an_update_that_was_killed_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small(tmp_path, b"one\n")
    found = table.index([path], tmp_path / "table")
    with path.open("ab") as log:
        log.write(b"two\n")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(manifest, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            found.update()
    assert table.open_table(tmp_path / "table").frame().collect()["text"].to_list() == ["one"]
    assert found.update().frame().collect()["text"].to_list() == ["one", "two"]


def test_rows_of_some_places(tmp_path: Path) -> None:
    found = table.index([EXAMPLES], tmp_path / "table", block_bytes=20_000)
    frame = found.frame().collect()
    some = frame.gather_every(97)
    places = list(some.select("source", "line").iter_rows())
    assert found.rows([*places, ("absent", 3), (places[0][0], 10**9)]).equals(some)


def test_an_older_format_is_refused(tmp_path: Path) -> None:
    table.index([small(tmp_path, b"one\n")], tmp_path / "table")
    path = tmp_path / "table" / manifest.NAME
    path.write_text(path.read_text().replace(f'"format": {manifest.FORMAT}', '"format": 0'))
    with pytest.raises(InputError, match="another version"):
        table.open_table(tmp_path / "table")
    with pytest.raises(InputError, match="no log table"):
        table.open_table(tmp_path)


def test_facts(tmp_path: Path) -> None:
    paths = [small(tmp_path, b"Dec 31 23:59:58 web sshd[1]: a\nJan  1 00:00:03 web sshd[1]: b\n", "a.log")]
    paths.append(small(tmp_path, b"2026-01-01 00:00:05 INFO started\n2026-01-01 00:00:06 ERROR bad\n", "b.log"))
    found = table.index(paths, tmp_path / "table").facts()
    assert found["lines"].to_list() == [2, 2]
    assert [str(time) for time in found["first"]] == ["2025-12-31 23:59:58", "2026-01-01 00:00:05"]
    assert [str(time) for time in found["last"]] == ["2026-01-01 00:00:03", "2026-01-01 00:00:06"]
    assert found["levels"].to_list() == [{}, {"info": 1, "error": 1}]
    assert pl.Series(found["fault"]).to_list() == ["", ""]


def test_a_table_of_another_version_is_made_anew(tmp_path: Path) -> None:
    log = small(tmp_path, b"one\ntwo\n")
    table.index([log], tmp_path / "table")
    path = tmp_path / "table" / "manifest.json"
    path.write_text(path.read_text().replace(f'"format": {manifest.FORMAT}', '"format": 0'))
    assert table.index([log], tmp_path / "table").height == 2


def test_a_log_that_grows_between_the_two_lines_of_a_record(tmp_path: Path) -> None:
    first, second = b"Nov 22, 2026 8:08:58 PM org.apache.Catalina start\n", b"SEVERE: no port 80\n"
    log = small(tmp_path, first + second + first)
    found = table.index([log], tmp_path / "table")
    assert found.height == 3
    with log.open("ab") as more:
        more.write(second)
    found = found.update()
    rows = found.frame().select("event", "level").collect().rows()
    assert rows == [(1, None), (1, "error"), (3, None), (3, "error")]
    assert found.frame().collect()["time"].null_count() == 0


def test_times_without_a_date_are_left_out_beside_dated_ones_and_a_note_says_so(tmp_path: Path) -> None:
    clocks = small(tmp_path, b"23:59:58 [main] INFO shop.Cart - a\n00:00:03 [main] INFO shop.Cart - b\n", "a.log")
    alone = table.index([clocks], tmp_path / "alone")
    assert [str(time) for time in alone.frame().collect()["time"]] == ["1970-01-01 23:59:58", "1970-01-02 00:00:03"]
    assert alone.notes == [] and alone.counts().axis.timed
    dated = small(tmp_path, b"2026-11-22 10:00:00 INFO shop: c\n", "b.log")
    both = table.index([clocks, dated], tmp_path / "both")
    assert both.frame().collect()["time"].drop_nulls().len() == 1
    assert both.notes == [f"{clocks}: its times have no date and are left out"]
    assert both.facts()["first"].to_list() == [None, datetime.datetime(2026, 11, 22, 10)]
