"""Bad input, input by input: what it is -> what is said. Exit 2 (a full disk: 1), and the target untouched."""

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import zstandard

GOOD = {"instruction": "Why?", "input": "", "output": "Disk full."}
LINE = json.dumps(GOOD).encode() + b"\n"


def zipped(members: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return raw.getvalue()


def overlapping_zip() -> bytes:
    """Two members whose headers point at the same bytes, each as large as the archive."""
    content = b"x" * 5000
    raw = bytearray(zipped({"a.jsonl": os.urandom(4000), "b.jsonl": content}))
    place = raw.rfind(b"PK\1\2")
    raw[place + 20 : place + 24] = (4100).to_bytes(4, "little")
    return bytes(raw)


def encrypted_zip() -> bytes:
    raw = bytearray(zipped({"a.jsonl": LINE}))
    for sign, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = raw.find(sign) + offset
        raw[place] |= 1
    return bytes(raw)


def damaged_zip() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.jsonl", LINE)
    return raw.getvalue().replace(b"Disk full.", b"Disk fulk.")


def bomb() -> bytes:
    """A gigabyte and a bit of zeros, deflated once and stored five times over: 1 MB that would be 1.1 GB."""
    raw = io.BytesIO()
    with (
        zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("a.jsonl", "w", force_zip64=True) as member,
    ):
        block = b"\0" * (1 << 24)
        for _ in range(70):
            member.write(block)
    return raw.getvalue()


def parquet(frame: pl.DataFrame) -> bytes:
    raw = io.BytesIO()
    frame.write_parquet(raw)
    return raw.getvalue()


def table(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


MANY = LINE * 20_000

TABLE: list[tuple[str, str, Callable[[], bytes], str]] = [
    (
        "truncated array",
        "a.json",
        lambda: b"[" + LINE.strip() + b", " + LINE[:20],
        "row 2: the file ends inside the array",
    ),
    ("truncated line", "a.jsonl", lambda: LINE + LINE[:20], "row 2: not JSON"),
    (
        "one object over many lines",
        "a.json",
        lambda: json.dumps({"data": [GOOD]}, indent=1).encode(),
        "row 1: not JSON: unexpected end of data at character 2 of the row; expected one array of objects, or",
    ),
    ("one bad line", "a.jsonl", lambda: MANY + b'{"instruction": }\n' + MANY, "row 20001: not JSON"),
    (
        "one wrong type",
        "a.jsonl",
        lambda: MANY + LINE.replace(b'"Disk full."', b"7"),
        "row 20001: `output`: expected a text",
    ),
    ("no object", "a.jsonl", lambda: LINE + b"[1]\n", "row 2: expected an object, found list"),
    (
        "duplicate key",
        "a.jsonl",
        lambda: LINE + b'{"output": "a", "output": "b"}',
        "row 2: `output`: the key 'output' stands twice",
    ),
    ("Latin-1", "a.jsonl", lambda: LINE + LINE.replace(b"Disk", b"\xc9t\xe9"), "row 2: not UTF-8 at byte"),
    ("UTF-16", "a.json", lambda: json.dumps([GOOD]).encode("utf-16"), "UTF-16 or UTF-32 text; expected UTF-8"),
    ("other fields", "a.jsonl", lambda: LINE + b'{"question": "x"}\n', "row 2: fields ['question'] fit no format"),
    (
        "image row",
        "a.jsonl",
        lambda: b'{"conversations": [], "images": ["a.png"]}',
        "row 1: `images`: a ShareGPT_Image row",
    ),
    (
        "CSV, other header",
        "a.csv",
        lambda: table([["question", "answer"], ["a", "b"]]),
        "row 1: fields ['answer', 'question'] fit",
    ),
    (
        "CSV, name twice",
        "a.csv",
        lambda: table([["output", "output"], ["a", "b"]]),
        "header: the name 'output' stands twice",
    ),
    (
        "CSV, cell missing",
        "a.csv",
        lambda: table([["instruction", "output"], ["a", "b"], ["a"]]),
        "row 2: 1 cells; expected 2",
    ),
    ("CSV, open quote", "a.csv", lambda: b'instruction,output\na,b\na,"b', "row 2: not CSV: unexpected end of data"),
    ("CSV, Latin-1", "a.csv", lambda: b"instruction,output\na,b\n\xe9,b\n", "row 2: `instruction`: not UTF-8"),
    ("CSV, empty", "a.csv", lambda: b"", "no header in the first line"),
    (
        "Parquet, other columns",
        "a.parquet",
        lambda: parquet(pl.DataFrame({"q": ["x"]})),
        "row 1: fields ['q'] fit no format",
    ),
    ("Parquet, bytes", "a.parquet", lambda: parquet(pl.DataFrame({"text": [b"x"]})), "column `text` holds Binary"),
    (
        "Parquet, numbers",
        "a.parquet",
        lambda: parquet(pl.DataFrame({"text": [1, 2]})),
        "row 1: `text`: expected a text",
    ),
    (
        "Parquet, NaN",
        "a.parquet",
        lambda: parquet(pl.DataFrame({"text": ["a"], "w": [float("nan")]})),
        "row 1: `w`: NaN",
    ),
    (
        "Parquet, cut off",
        "a.parquet",
        lambda: parquet(pl.DataFrame({"text": ["x"] * 99}))[:300],
        "damaged Parquet file",
    ),
    ("no Parquet", "a.parquet", lambda: b"PAR1 is not enough", "damaged Parquet file"),
    ("gzip, cut off", "a.jsonl.gz", lambda: gzip.compress(MANY)[:-9], "damaged gzip file"),
    (
        "gzip, damaged",
        "a.jsonl.gz",
        lambda: gzip.compress(MANY)[:60] + b"xx" + gzip.compress(MANY)[62:],
        "damaged gzip file",
    ),
    (
        "Zstandard, cut off",
        "a.jsonl.zst",
        lambda: zstandard.compress(MANY)[:-2],
        "damaged Zstandard file: it is cut off",
    ),
    ("Zstandard, damaged", "a.jsonl.zst", lambda: zstandard.compress(MANY)[:9] + b"xxxxxxxx", "damaged Zstandard file"),
    ("ZIP, outside", "a.zip", lambda: zipped({"../a.jsonl": LINE}), "member '../a.jsonl' points outside the archive"),
    ("ZIP, absolute", "a.zip", lambda: zipped({"/etc/a.jsonl": LINE}), "points outside the archive"),
    ("ZIP, drive", "a.zip", lambda: zipped({"C:\\a.jsonl": LINE}), "points outside the archive"),
    (
        "ZIP in ZIP",
        "a.zip",
        lambda: zipped({"b.zip": zipped({"a.jsonl": LINE})}),
        "'b.zip' is an archive inside an archive",
    ),
    ("ZIP bomb", "a.zip", bomb, "taken for a ZIP bomb"),
    ("ZIP, overlapping", "a.zip", overlapping_zip, "its members overlap"),
    ("ZIP, encrypted", "a.zip", encrypted_zip, "is encrypted"),
    ("ZIP, wrong checksum", "a.zip", damaged_zip, "a.jsonl: damaged ZIP member: Bad CRC-32"),
    ("ZIP, cut off", "a.zip", lambda: zipped({"a.jsonl": MANY})[:-30], "damaged ZIP archive"),
    ("ZIP, no data", "a.zip", lambda: zipped({"README.md": b"x"}), "no data file in it"),
    ("text, Latin-1", "a.txt", lambda: b"one\n\ntw\xf6\n", "row 2: `text`: not UTF-8 at byte 3"),
]


def convert(source: str | Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loglore", "data", "convert", str(source), str(out), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(("name", "content", "message"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_bad_input_is_one_line_and_the_target_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: Callable,
    message: str,
) -> None:
    from loglore import cli

    (tmp_path / name).write_bytes(content())
    target = tmp_path / "out.jsonl"
    target.write_text("as it was\n")
    to = "corpus" if name in ("a.txt", "a.parquet") else "sharegpt"
    monkeypatch.setattr(sys, "argv", ["loglore", "data", "convert", str(tmp_path / name), str(target), "--to", to])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert said.startswith(f"loglore: {tmp_path / name}") and message in said
    assert target.read_text() == "as it was\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "out.jsonl"])


def test_a_missing_path_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    done = convert(tmp_path / "none.jsonl", tmp_path / "out.jsonl")
    assert done.returncode == 2 and done.stderr.endswith("none.jsonl: no such file\n")
    done = convert(tmp_path, tmp_path / "out.jsonl")
    assert done.returncode == 2 and "no data file in it" in done.stderr


def test_a_large_array_in_one_line_is_streamed_under_a_memory_cap(tmp_path: Path) -> None:
    """300 MB in one line; the process may have 200 MB more than it has after the imports."""
    path = tmp_path / "big.json"
    row = json.dumps({"text": 'a "quoted" \\ {[' * 1000}).encode()
    with path.open("wb") as stream:
        stream.write(b"[" + row)
        for _ in range(300):
            stream.write((b"," + row) * 60)
        stream.write(b"]")
    assert path.stat().st_size > 300e6
    code = (
        "import resource, sys\n"
        "from loglore.data import files, tables\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)\n"
        "print(sum(1 for _ in files.open_rows(sys.argv[1])))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == "18001\n", done.stderr


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv.gz", "out.zip"])
def test_a_disk_that_fills_ends_in_one_line_and_the_target_stays(tmp_path: Path, name: str) -> None:
    """A real file system of 1 MB, in namespaces of this test's own; without these, a limit on file sizes."""
    (tmp_path / "in.jsonl").write_bytes(
        b"".join(LINE.replace(b"full", os.urandom(400).hex().encode()) for _ in range(4000))
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    namespaces = shutil.which("unshare") and not subprocess.run(["unshare", "-rm", "true"], check=False).returncode
    prepare = f"mount -t tmpfs -o size=1m tmpfs {disk}" if namespaces else "ulimit -f 1024"
    script = (
        f"{prepare} && echo old > {disk}/{name} && {{ TMPDIR={disk} {sys.executable} -m loglore data convert "
        f"{tmp_path}/in.jsonl {disk}/{name}; echo $?; ls -A {disk}; cat {disk}/{name}; }}"
    )
    command = ["unshare", "-rm", "bash", "-c", script] if namespaces else ["bash", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == f"1\n{name}\nold\n", done.stderr
    assert "disk full while writing" in done.stderr or "File too large" in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_that_cannot_be_read_are_skipped_and_listed_when_asked(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE + b"{oops\n" + LINE + b'{"instruction": "x", "output": ""}\n')
    out = tmp_path / "out.jsonl"
    done = convert(tmp_path / "a.jsonl", out, "--to", "sharegpt", "--on-error", "skip")
    assert done.returncode == 0, done.stderr
    assert "2 rows skipped (bad-json 1, empty 1); listed in" in done.stderr
    listed = [json.loads(line) for line in (tmp_path / "out.jsonl.skipped.jsonl").read_text().splitlines()]
    assert [(one["row"], one["kind"], one["field"]) for one in listed] == [(2, "bad-json", ""), (4, "empty", "output")]
    assert len(out.read_text().splitlines()) == 2
    assert convert(tmp_path / "a.jsonl", out, "--to", "sharegpt").returncode == 2
    assert len(out.read_text().splitlines()) == 2
