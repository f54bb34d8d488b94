"""`loglore data tokens` and `loglore data pack`: a dataset in tokens, before any GPU time."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loglore.cli import cluster
from loglore.cli.output import AsJson

if TYPE_CHECKING:
    from loglore.data.packed import PackedDataset

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
    from loglore.models.pack import name_of, placed
    from loglore.runs.files import write_bytes

    name = name_of(rows)
    stage = samples.stage_of(placed_rows(rows), name)
    rendered = samples.render_rows(placed(rows), stage, Renderer(load_tokenizer(tokenizer)))
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
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    as_json: AsJson = False,
) -> None:
    """Tokenize and pack once; training maps the result. A second call with the same content finds it."""
    if executor == "ray":
        limits = {"max_sequence_length": max_sequence_length, "long_rows": long_rows, "seed": seed}
        dataset = _by_all_nodes(rows, tokenizer, out, limits, address)
    else:
        from loglore.models.pack import pack

        cluster.refuse_without_ray(address=address)
        dataset = pack(rows, tokenizer, out, max_sequence_length, long_rows, seed)
    if as_json:
        print(json.dumps({"folder": str(dataset.folder), **dataset.report}, indent=2, ensure_ascii=False))
        return
    print("\n".join(dataset.lines()))


def _by_all_nodes(
    rows: str, tokenizer: Path, out: Path, limits: dict[str, Any], address: str | None
) -> "PackedDataset":
    from loglore.data.packed import PackedDataset

    out.mkdir(parents=True, exist_ok=True)
    asked = {"rows": rows, "tokenizer": str(tokenizer.absolute()), "out": str(out.absolute()), **limits}
    with cluster.by_all_nodes("pack", asked, address, out) as (_, result):
        return PackedDataset(out / result["folder"])
