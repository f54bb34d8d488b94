"""`loglore data …`: rows checked, converted, split, mixed and fetched; needs no model but for counting tokens."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loglore.cli import cluster, data_tokens, datasets
from loglore.cli.output import AsJson, say

if TYPE_CHECKING:
    from loglore.data.faults import Skipped

app = typer.Typer(help="Check, convert, split, mix, count, pack, fetch and keep datasets.", no_args_is_help=True)
app.add_typer(data_tokens.app)
app.add_typer(datasets.app)

DataPath = Annotated[str, typer.Argument(help="File, folder, ZIP archive or s3:// URL.")]
OutPath = Annotated[
    str, typer.Argument(help="File to write; its name says the kind: rows.jsonl, rows.parquet, rows.csv.gz, …")
]
OnError = Annotated[
    Literal["fail", "skip"], typer.Option(help="Faulty rows: stop at the first, or leave them out and list them.")
]
SideFile = Annotated[
    Path | None, typer.Option("--skipped", help="Where skipped rows are listed; default beside the output.")
]
LongRows = Literal["shorten_log", "cut_after_turn", "refuse"]
FormatName = Literal["corpus", "alpaca", "sharegpt", "sharegpt-dpo", "nlplog", "openai-chat"]


@app.command("check")
def data_check(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="FILE…", help="Files, or corpus=FILE, train=FILE, validation=FILE, test=FILE."),
    ],
    on_error: OnError = "fail",
    skipped: SideFile = None,
    near_duplicates: Annotated[bool, typer.Option(help="Also look for rows that share most of their text.")] = True,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", "-t", help="Model folder or GGUF: also count tokens, find long rows.")
    ] = None,
    max_sequence_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens a row may have; needs --tokenizer, default then 8192.")
    ] = None,
    long_rows: Annotated[
        LongRows | None, typer.Option(help="What training does to longer chat rows; needs --tokenizer.")
    ] = None,
    good: Annotated[
        str | None, typer.Option(help="Write the rows without errors here; one FILE, with --on-error skip.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Rows shown of each kind of problem.")] = 5,
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    storage: Annotated[
        Path | None, typer.Option(help="With --executor ray: a folder that all nodes see; default: this one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with data before GPU time: faults by row, duplicates, damage, leaks between files."""
    from loglore.data import check, writing
    from loglore.data.faults import Skipped
    from loglore.errors import InputError

    if good and (len(inputs) > 1 or on_error == "fail"):
        raise InputError("--good writes the rows of one FILE that are left under --on-error skip")
    wish = _checked(inputs, near_duplicates, tokenizer, max_sequence_length, long_rows, examples)
    given = [check.parse_input(text) for text in inputs]
    # Reading goes on after a fault under either policy: a report shows all of them, the policy decides the exit code.
    paths = [one.path for one in given]
    side_file = skipped or (_beside(good) if good else None)
    with Skipped("skip", side_file) as faulty, _progress("check", paths, 2 if good else 1) as on_bytes:
        if executor == "ray":
            found = _check_by_all_nodes(wish, address, storage or Path(), faulty)
        else:
            cluster.refuse_without_ray(address=address, storage=storage)
            found = _check_here(wish, faulty, on_bytes)
        if good:
            written = writing.write_rows(good, check.good_rows(paths[0], faulty.places, on_bytes))
            say(f"{good}: {written:,} rows")
    if as_json:
        print(json.dumps({**found["json"], "skipped": faulty.count}, indent=2, ensure_ascii=False))
    else:
        print("\n".join(found["lines"]))
    if on_error == "skip":
        _say_skipped(faulty)
    elif found["errors"]:
        raise typer.Exit(2)


def _checked(
    given: list[str],
    near_duplicates: bool,
    tokenizer: Path | None,
    capacity: int | None,
    policy: LongRows | None,
    examples: int,
) -> dict[str, Any]:
    """What is wished of a check, as `cluster.checking.CheckSpec` has it."""
    from loglore.errors import InputError

    if tokenizer is None and (capacity or policy):
        raise InputError("--max-sequence-length and --long-rows need --tokenizer: whose tokens")
    limit = {"max_sequence_length": capacity or 8192, "long_rows": policy or "shorten_log"}
    path = str(tokenizer.absolute()) if tokenizer else None
    return {"given": given, "near_duplicates": near_duplicates, "examples": examples, "tokenizer": path, **limit}


def _check_here(wish: dict[str, Any], faulty: "Skipped", on_bytes: Callable[[int], None]) -> dict[str, Any]:
    from loglore.data import check
    from loglore.data.render import Renderer
    from loglore.data.too_long import Limit

    limit = None
    if wish["tokenizer"]:
        from loglore.models.load import load_tokenizer

        renderer = Renderer(load_tokenizer(Path(wish["tokenizer"])))
        limit = Limit(renderer, wish["max_sequence_length"], wish["long_rows"])
    given = [check.parse_input(text) for text in wish["given"]]
    report = check.check(given, wish["near_duplicates"], limit, faulty, on_bytes, wish["examples"])
    return {"json": check.as_json(report), "lines": check.lines(report), "errors": report.errors}


def _check_by_all_nodes(wish: dict[str, Any], address: str | None, storage: Path, faulty: "Skipped") -> dict[str, Any]:
    from loglore.cluster import checking
    from loglore.data.faults import Fault
    from loglore.runs.files import read_json, read_jsonl_log

    with cluster.by_all_nodes("check", wish, address, storage) as (folder, _):
        if (folder / checking.FAULTS).exists():
            for row in read_jsonl_log(folder / checking.FAULTS):
                faulty(Fault(**row))
        return dict(read_json(folder / checking.REPORT))


@app.command("convert")
def data_convert(
    source: DataPath,
    out: OutPath,
    to: Annotated[
        FormatName | None, typer.Option(help="Format of the rows; without it only the file is converted.")
    ] = None,
    on_error: OnError = "fail",
    skipped: SideFile = None,
) -> None:
    """Rows from one format or kind of file to another; `meta` and unknown fields are carried along."""
    from loglore.data import convert, sources, writing

    formats: Counter[str] = Counter()
    listing = sources.find(source)
    _say_listing(listing)
    with _skipping(on_error, skipped, out) as faulty, _progress("convert", [source]) as on_bytes:
        written = writing.write_rows(out, convert.rows(listing, to, faulty, on_bytes, formats))
    _say_skipped(faulty)
    found = ", ".join(f"{name} {count:,}" for name, count in formats.most_common())
    say(f"{out}: {written:,} rows" + (f" of {to} (read as {found or 'none'})" if to else ""))


@app.command("split")
def data_split(
    source: DataPath,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for train, validation and test.")],
    validation: Annotated[float, typer.Option(min=0, help="Rows of each task; below 1 a share of the sources.")] = 100,
    test: Annotated[float, typer.Option(min=0, help="Rows of each task; below 1 a share of the sources.")] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    by: Annotated[str | None, typer.Option(help="Field that must not stand on two sides, such as meta.source.")] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Leave out rows whose text occurred before.")] = False,
    kind: Annotated[str, typer.Option(help="Ending of the files' names: jsonl, json, parquet, jsonl.gz, …")] = "jsonl",
    on_error: OnError = "fail",
    skipped: SideFile = None,
    as_json: AsJson = False,
) -> None:
    """Split by source: no log chunk stands on two sides, whatever the order of the rows."""
    from loglore.data import split

    quotas = split.Quotas(validation, test)
    wanted = {"train": 1.0, "validation": validation, "test": test}
    paths = {side: f"{out.rstrip('/')}/{side}.{kind}" for side in split.SIDES if wanted[side]}
    readings = 1 + len(paths)
    with (
        _skipping(on_error, skipped, f"{out.rstrip('/')}/rows") as faulty,
        _progress("split", [source], readings) as on_bytes,
    ):
        outcome = split.split(source, paths, quotas, seed, by, unique, faulty, on_bytes)
    if as_json:
        print(json.dumps({**vars(outcome), "skipped": faulty.count, "paths": paths}, indent=2, ensure_ascii=False))
    else:
        for side, path in paths.items():
            tasks = ", ".join(f"{task or '(no task)'} {count:,}" for task, count in outcome.by_task[side].items())
            print(f"{path}: {outcome.rows[side]:,} rows of {outcome.groups[side]:,} sources ({tasks})")
        print("\n".join(f"left out: {count:,} rows, {reason}" for reason, count in outcome.left_out.items()), end="")
        print("\n" if outcome.left_out else "", end="")
    for missing in outcome.short:
        say(f"quota not met: {missing}")
    _say_skipped(faulty)


@app.command("mix")
def data_mix(
    parts: Annotated[
        list[str], typer.Argument(metavar="FILE[=WEIGHT]…", help="Datasets and their shares of the text.")
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="File to write.")],
    characters: Annotated[
        int | None, typer.Option(min=1, help="Size of the mix; default: nothing is repeated.")
    ] = None,
    replay: Annotated[float, typer.Option(min=0, max=0.99, help="Share of general text against forgetting.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    on_error: OnError = "fail",
    skipped: SideFile = None,
    as_json: AsJson = False,
) -> None:
    """Several datasets in one, by weight; the report says what was drawn from where and how often it was repeated."""
    from loglore.data import mix

    given = [mix.parse_part(text) for text in parts]
    with _skipping(on_error, skipped, out) as faulty, _progress("mix", [part.path for part in given]) as on_bytes:
        drawn = mix.mix(given, out, seed, characters, replay, faulty, on_bytes)
    if as_json:
        print(json.dumps([vars(part) for part in drawn], indent=2, ensure_ascii=False))
    else:
        for part in drawn:
            print(
                f"{part.name}: {part.rows:,} rows, {part.characters:,} characters ({part.share:.1%} wanted); "
                f"it has {part.available_rows:,} rows, each used {part.times:g} times"
            )
    _say_skipped(faulty)


@app.command("fetch")
def data_fetch(
    name: Annotated[Literal["nlplog", "loghub", "loghub-2.0", "tutorial-chat"], typer.Argument(help="What to fetch.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to put it in.")] = Path("data"),
    only: Annotated[list[str] | None, typer.Option("--file", help="Only files of this name; globs allowed.")] = None,
    local: Annotated[Path | None, typer.Option("--from", help="File or folder downloaded by other means.")] = None,
) -> None:
    """Download public data, resumed and verified; shows where it is from and its terms first."""
    from loglore.data import fetch

    source = fetch.find(name)
    say(source.notice())
    with _download_bar() as on_progress:
        fetched = fetch.fetch(source, out / name, only or (), local, on_progress)
    for file in fetched:
        print(f"{file.path}: {file.size:,} bytes, {file.verified}")


@contextmanager
def _progress(label: str, paths: Sequence[str], readings: int = 1) -> Iterator[Callable[[int], None]]:
    """A bar over the stored bytes of all paths."""
    from loglore.data import sources
    from loglore.runs.progress import track

    total = readings * sum(file.size for path in paths for file in sources.find(path).files)
    with track(label, total / 1e6, "MB") as tick:
        yield lambda count: tick(count / 1e6)


@contextmanager
def _skipping(on_error: Literal["fail", "skip"], side_file: Path | None, out: str) -> Iterator["Skipped"]:
    from loglore.data.faults import Skipped

    with Skipped(on_error, side_file or _beside(out)) as faulty:
        yield faulty


def _beside(out: str) -> Path:
    """Where skipped rows are listed by default; for a target on S3 in the working directory."""
    path = Path(out.rpartition("/")[2] if "://" in out else out)
    return path.with_name(f"{path.name}.skipped.jsonl")


@contextmanager
def _download_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Progress of one file after the other; each has a bar of its own."""
    from contextlib import ExitStack

    from loglore.runs.progress import track

    bars: dict[str, Any] = {}
    with ExitStack() as stack:

        def on_progress(name: str, there: int, total: int) -> None:
            if name not in bars:
                stack.close()
                bars[name] = [stack.enter_context(track(name, total / 1e6, "MB")), 0]
            tick, before = bars[name]
            tick((there - before) / 1e6)
            bars[name][1] = there

        yield on_progress


def _say_listing(listing: Any) -> None:
    for file in listing.files:
        say(f"reading {file}")
    if listing.left_out:
        say(f"not read (no data): {', '.join(listing.left_out)}")


def _say_skipped(faulty: "Skipped") -> None:
    if faulty.count:
        say(faulty.sentence())
