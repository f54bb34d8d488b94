"""`loglore data tokens` and `loglore data pack`: a dataset in tokens, before any GPU time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loglore.cli.output import AsJson

if TYPE_CHECKING:
    from loglore.data.files import Place, Row

app = typer.Typer(help="Datasets in tokens.", no_args_is_help=True)

Rows = Annotated[str, typer.Argument(help="File, folder, ZIP archive or s3:// URL.")]
ModelWithTokenizer = Annotated[Path, typer.Option("--tokenizer", "-t", help="Model folder or GGUF with the tokenizer.")]
Limit = Annotated[int, typer.Option("--max-sequence-length", min=2, help="Tokens a packed row.")]
LongRows = Annotated[
    Literal["shorten_log", "cut_after_turn", "refuse"], typer.Option(help="What happens to longer chat rows.")
]


@app.command("tokens")
def data_tokens(
    rows: Rows,
    tokenizer: ModelWithTokenizer,
    max_sequence_length: Limit = 8192,
    step: Annotated[int, typer.Option(min=1, help="Packed rows (CPT) or samples (SFT) a step, over all GPUs.")] = 64,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    png: Annotated[Path | None, typer.Option(help="Write the histogram here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Totals, quantiles, histogram, fill rate, what a limit cuts off, optimizer steps."""
    from loglore.data import samples, stats
    from loglore.data.files import placed_rows
    from loglore.data.render import Renderer
    from loglore.models.load import load_tokenizer
    from loglore.runs.files import write_bytes

    name = _name(rows)
    stage = samples.stage_of(placed_rows(rows), name)
    with _placed(rows) as placed:
        rendered = samples.render_rows(placed, stage, Renderer(load_tokenizer(tokenizer)))
        found = stats.describe(*stats.lengths_of(rendered), stage, max_sequence_length, stats.Step(step, epochs))
    if png:
        write_bytes(png, stats.picture(found, f"{name}: {found.rows:,} samples, {found.tokens:,} tokens"))
    print(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(stats.lines(found, stage)))


@app.command("pack")
def data_pack(
    rows: Rows,
    tokenizer: ModelWithTokenizer,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of packed datasets.")],
    max_sequence_length: Limit = 8192,
    long_rows: LongRows = "shorten_log",
    seed: Annotated[int | None, typer.Option(min=0, help="Shuffle before packing.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tokenize and pack once; training maps the result. A second call with the same content finds it."""
    from loglore.data.files import placed_rows
    from loglore.data.packed import PackSettings, Source, open_or_build
    from loglore.data.samples import stage_of
    from loglore.models.load import load_tokenizer

    name = _name(rows)
    settings = PackSettings(stage_of(placed_rows(rows), name), max_sequence_length, long_rows, None, seed)
    with _placed(rows) as placed:
        source = Source(name, _digest(rows), lambda: placed)
        dataset = open_or_build(out, source, load_tokenizer(tokenizer), settings)
    if as_json:
        print(json.dumps({"folder": str(dataset.folder), **dataset.report}, indent=2, ensure_ascii=False))
        return
    print("\n".join(dataset.lines()))


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _digest(path: str) -> str:
    from loglore.data import sources
    from loglore.runs.fingerprint import of_path

    return sources.s3_version(path) if path.startswith(sources.S3) else of_path(Path(path))


@contextmanager
def _placed(path: str) -> "Iterator[Iterator[tuple[Place, Row]]]":
    """The rows of a path, streamed, with a bar over its bytes."""
    from loglore.data import files, sources
    from loglore.runs.progress import track

    listing = sources.find(path)
    with track(f"tokenize {_name(path)}", sum(file.size for file in listing.files) / 1e6, "MB") as tick:
        yield files.placed_rows(listing, on_bytes=lambda count: tick(count / 1e6))
