"""Rows of a path to a packed dataset on disk, with a model's tokenizer: what `loglore data pack` does."""

from collections.abc import Iterator
from pathlib import Path

from loglore.data import files, sources
from loglore.data.files import Place, Row
from loglore.data.long_rows import Policy
from loglore.data.packed import PackedDataset, PackSettings, Render, Source, open_or_build
from loglore.data.samples import render_rows, stage_of
from loglore.models.load import load_tokenizer
from loglore.runs.fingerprint import of_path
from loglore.runs.progress import track


def pack(
    rows: str,
    tokenizer: Path,
    out: Path,
    capacity: int,
    long_rows: Policy = "shorten_log",
    seed: int | None = None,
    render: Render = render_rows,
) -> PackedDataset:
    """Tokenize and pack rows under `out`, or open what was packed from the same content before.

    Args:
        rows: file, folder, archive or `s3://` URL; its first row says whether it is for pretraining or fine-tuning.
        tokenizer: model folder or GGUF with the tokenizer.
        out: folder of packed datasets.
        capacity: tokens of a packed row.
        long_rows: what happens to longer chat rows.
        seed: of the order before packing; None keeps the file's.
        render: makes samples of rows, in their order.

    Raises:
        InputError: as `data.packed.open_or_build`.
    """
    name = name_of(rows)
    settings = PackSettings(stage_of(files.placed_rows(rows), name), capacity, long_rows, None, seed)
    digest = sources.s3_version(rows) if rows.startswith(sources.S3) else of_path(Path(rows))
    source = Source(name, digest, lambda: placed(rows))
    return open_or_build(out, source, load_tokenizer(tokenizer), settings, render)


def name_of(path: str) -> str:
    """The last part of a path or URL."""
    return path.rstrip("/").rpartition("/")[2]


def placed(path: str) -> Iterator[tuple[Place, Row]]:
    """The rows of a path, streamed, with a bar over its bytes."""
    listing = sources.find(path)
    with track(f"tokenize {name_of(path)}", sum(file.size for file in listing.files) / 1e6, "MB") as tick:
        yield from files.placed_rows(listing, on_bytes=lambda count: tick(count / 1e6))
