"""A packed dataset on disk: memory-mapped arrays under a content key, built once, shared by every process.

    <root>/<key>/tokens.npy    int32 [tokens]      all samples, one after the other, in the order of their rows
                 mask.npy      bool  [tokens]      True where a token counts for the loss
                 starts.npy    int64 [samples + 1] where each sample starts, and the end
                 members.npy   int64 [samples]     samples in the order of the packed rows
                 bounds.npy    int64 [rows + 1]    row r holds members[bounds[r]:bounds[r + 1]]
                 packing.json  fill, counts, settings, hashes

The key is a hash of the rows' file, tokenizer, chat template and settings: the same question finds the same folder, any
other one builds another. A row is gathered from its samples when it is asked for (0.1 ms for 8,192 tokens); targets
and positions follow from mask and starts and would more than double the 5 bytes a token.

Samples are written in one streaming pass, because the number of samples fits in memory and the tokens need not. Folders
appear by rename under a lock: of several processes that start at once one builds and the others wait and map. Opening
reads every byte once against its checksum (2 GB/s); a damaged folder is built again, and `packing.json` says why.
"""

import contextlib
import fcntl
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from loglore.atomic import replacing_folder
from loglore.data.long_rows import Limit, Policy
from loglore.data.packing import Numbers, PackedRow, Packing, best_fit_decreasing, flatten, pack_shuffled, split_long
from loglore.data.render import Rendered, Renderer, fast_tokenizer
from loglore.data.samples import PlacedRows, Stage, render_rows
from loglore.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 1  # part of the key: a change of the arrays' meaning must not find old folders
ARRAYS = {"tokens": "<i4", "mask": "|b1", "starts": "<i8", "members": "<i8", "bounds": "<i8"}
BLOCK = 1 << 22
Render = Callable[[PlacedRows, Stage, Renderer, Limit], Iterator[list[Rendered]]]


@dataclass(frozen=True)
class PackSettings:
    """How rows become packed rows.

    stage: `cpt` (texts, long ones are cut into pieces) or `sft` (conversations, never cut apart).
    capacity: tokens a packed row. long_rows: what happens to longer conversations (`data.long_rows`).
    max_tokens: use rows from the start of the file up to this many tokens; None for all.
    shuffle_seed: of the order before packing; None keeps the file's.
    """

    stage: Stage
    capacity: int
    long_rows: Policy = "shorten_log"
    max_tokens: int | None = None
    shuffle_seed: int | None = None


@dataclass(frozen=True)
class Source:
    """Rows to pack: name of their file, hash of its content, and how to read them (place, row) if it comes to that."""

    name: str
    digest: str
    open: Callable[[], PlacedRows]


class PackedDataset(Sequence[PackedRow]):
    """Packed rows of a folder, mapped into memory; pickles as its path, so workers map the same pages.

    Attributes:
        folder: where it is.
        report: the content of `packing.json`.
        packing: which samples share a row.
        lengths: int64 [samples], tokens of each sample.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report: dict[str, Any] = json.loads((folder / "packing.json").read_text(encoding="utf-8"))
        self._tokens = _mapped(folder / "tokens.npy")
        self._mask = _mapped(folder / "mask.npy")
        self._starts: Numbers = _mapped(folder / "starts.npy")
        self.packing = Packing(_mapped(folder / "members.npy"), _mapped(folder / "bounds.npy"))
        self.lengths: Numbers = np.diff(self._starts)

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedDataset, (self.folder,)

    def __len__(self) -> int:
        return len(self.packing)

    @overload
    def __getitem__(self, number: int) -> PackedRow: ...
    @overload
    def __getitem__(self, number: slice) -> list[PackedRow]: ...
    def __getitem__(self, number: int | slice) -> PackedRow | list[PackedRow]:
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        return self.row(self.packing[range(len(self))[number]])

    def lines(self) -> list[str]:
        """What `packing.json` says, for a reader."""
        report = self.report
        return [
            f"{self.folder}: {report['samples']:,} samples, {report['tokens']:,} tokens in {len(self):,} rows",
            f"fill {report['fill']:.2%} of {report['settings']['capacity']:,} tokens a row",
            f"loss on {report['counted_tokens']:,} tokens (mask by {report['mask_by']})",
            *(f"{name}: {count:,}" for name, count in report["long_rows"].items() if count),
        ]

    def sample(self, number: int) -> Rendered:
        """One sample; its arrays are views of the mapped files."""
        start, end = self._starts[number], self._starts[number + 1]
        return Rendered(self._tokens[start:end], self._mask[start:end])

    def row(self, samples: Numbers) -> PackedRow:
        """A row of any samples, in memory of its own."""
        return flatten([self.sample(number) for number in samples.tolist()])


def open_or_build(
    root: Path,
    source: Source,
    tokenizer: "PreTrainedTokenizerBase",
    settings: PackSettings,
    render: Render = render_rows,
) -> PackedDataset:
    """The packed dataset of these rows under `root`; built when it is not there yet or damaged.

    Args:
        root: folder of packed datasets.
        source: rows to pack.
        tokenizer: of the model; a fast one.
        settings: how.
        render: makes samples of rows, in their order.

    Raises:
        InputError: a damaged row, or one that cannot be rendered (names file and row), or no rows.
    """
    key = _key(source, tokenizer, settings)
    folder = root / key[:16]
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{key[:16]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        fault = damage(folder)
        if fault:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have built it between the two locks.
            fault = damage(folder)
        if fault:
            existed = folder.exists()
            with replacing_folder(folder) as partial:
                report = _build(partial, source, tokenizer, settings, render)
                head = {"format": FORMAT, "key": key, "built_again_because": fault if existed else None}
                _write_report(partial, {**head, **report})
        return PackedDataset(folder)


def damage(folder: Path) -> str | None:
    """What is wrong with a packed dataset, or None: missing files, sizes or checksums that differ."""
    path = folder / "packing.json"
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        expected = {name: (files[name]["bytes"], files[name]["values"], files[name]["crc32"]) for name in ARRAYS}
    except (OSError, ValueError, KeyError, TypeError) as fault:
        return f"{path.name}: {type(fault).__name__}: {fault}"
    paths = [folder / f"{name}.npy" for name in expected]
    for path, (size, *_) in zip(paths, expected.values(), strict=True):
        found = path.stat().st_size if path.exists() else 0
        if found != size:
            return f"{path.name}: {found} bytes, expected {size}"
    with ThreadPoolExecutor(len(paths)) as pool:
        for path, (_, *content), read in zip(paths, expected.values(), pool.map(_content, paths), strict=True):
            if read != content:
                return f"{path.name}: its content does not match its checksum"
    return None


def _key(source: Source, tokenizer: Any, settings: PackSettings) -> str:
    import tokenizers

    backend = json.loads(fast_tokenizer(tokenizer).backend_tokenizer.to_str())
    # State of the last call, not of the tokenizer.
    del backend["truncation"], backend["padding"]
    parts = {
        "format": FORMAT,
        "data": source.digest,
        "tokenizer": backend,
        "special": tokenizer.special_tokens_map,
        "template": tokenizer.chat_template if settings.stage == "sft" else None,
        "settings": asdict(settings),
        "tokenizers": tokenizers.__version__,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _build(
    folder: Path,
    source: Source,
    tokenizer: "PreTrainedTokenizerBase",
    settings: PackSettings,
    render: Render,
) -> dict[str, Any]:
    """Write the arrays into `folder`; returns what is to say about them."""
    renderer = Renderer(tokenizer)
    limit = Limit(settings.capacity, settings.long_rows)
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        columns = {name: stack.enter_context(_Column(folder / f"{name}.npy", kind)) for name, kind in ARRAYS.items()}
        starts = [0]
        for sample in _samples(source, renderer, settings, limit, counts, render):
            columns["tokens"].append(sample.ids)
            columns["mask"].append(sample.mask)
            starts.append(starts[-1] + len(sample.ids))
            counts["counted_tokens"] += int(np.count_nonzero(sample.mask[1:]))
        if len(starts) == 1:
            raise InputError(f"{source.name}: no rows")
        columns["starts"].append(np.array(starts))
        lengths = np.diff(starts)
        seed = settings.shuffle_seed
        packing = (
            best_fit_decreasing(lengths, settings.capacity)
            if seed is None
            else pack_shuffled(lengths, settings.capacity, seed)
        )
        columns["members"].append(packing.members)
        columns["bounds"].append(packing.bounds)
    return {
        "source": {"name": source.name, "sha256": source.digest},
        "settings": asdict(settings),
        "mask_by": renderer.method if settings.stage == "sft" else "all tokens",
        "rows": counts.pop("rows"),
        "samples": len(lengths),
        "tokens": starts[-1],
        "counted_tokens": counts.pop("counted_tokens"),
        "packed_rows": len(packing),
        "fill": starts[-1] / (len(packing) * settings.capacity),
        "long_rows": {**limit.counts, **counts},
        "files": {name: column.stamp() for name, column in columns.items()},
    }


def _samples(
    source: Source,
    renderer: Renderer,
    settings: PackSettings,
    limit: Limit,
    counts: Counter[str],
    render: Render,
) -> Iterator[Rendered]:
    """All samples up to `max_tokens`, long texts in pieces; `counts` is added to."""
    total = 0
    for batch in render(source.open(), settings.stage, renderer, limit):
        for sample in batch:
            if settings.max_tokens is not None and total and total + len(sample.ids) > settings.max_tokens:
                return
            total += len(sample.ids)
            counts["rows"] += 1
            if len(sample.ids) <= settings.capacity:
                yield sample
                continue
            pieces = split_long(sample, settings.capacity)
            counts["texts cut into pieces"] += 1
            counts["single last tokens left out"] += len(sample.ids) - sum(len(piece.ids) for piece in pieces)
            yield from pieces


class _Column:
    """A one-dimensional `.npy` file that grows: numpy's header leaves room for any length."""

    def __init__(self, path: Path, kind: str) -> None:
        self._stream = path.open("wb")
        self._kind = np.dtype(kind)
        self._count = self._crc = self.bytes = 0
        self._head()

    def append(self, values: npt.NDArray[Any]) -> None:
        data = np.ascontiguousarray(values, dtype=self._kind).view(np.uint8).data
        self._stream.write(data)
        self._crc = zlib.crc32(data, self._crc)
        self._count += len(values)

    def stamp(self) -> dict[str, int]:
        return {"bytes": self.bytes, "values": self._count, "crc32": self._crc}

    def _head(self) -> None:
        self._stream.seek(0)
        fields = {"descr": self._kind.str, "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(self._stream, fields)

    def __enter__(self) -> "_Column":
        return self

    def __exit__(self, *_: object) -> None:
        self._head()
        self._stream.seek(0, 2)
        self.bytes = self._stream.tell()
        self._stream.close()


def _content(path: Path) -> list[int]:
    """Number and checksum of the values, as `_Column` counts them; -1 for a header that is not ours."""
    value = 0
    with path.open("rb") as stream:
        try:
            np.lib.format.read_magic(stream)
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        except ValueError:
            return [-1, -1]
        if kind != np.dtype(ARRAYS[path.stem]):
            return [-1, -1]
        while block := stream.read(BLOCK):
            value = zlib.crc32(block, value)
    return [*shape, value]


def _mapped(path: Path) -> npt.NDArray[Any]:
    return np.asarray(np.load(path, mmap_mode="r"))


def _write_report(folder: Path, report: dict[str, Any]) -> None:
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / "packing.json").write_text(text + "\n", encoding="utf-8")
