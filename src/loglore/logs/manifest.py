"""What is known of a log table beside its Parquet files: the file `manifest.json`, replaced whole."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loglore.atomic import replacing
from loglore.errors import InputError
from loglore.logs import shards, stream
from loglore.logs.shards import Shard, State
from loglore.logs.stream import Fingerprint

# Goes up when a table has other columns, or lines are read otherwise.
FORMAT = 2
NAME = "manifest.json"


@dataclass
class Source:
    """A file of the table, or an earlier generation of one.

    name: as `source` in the table. path: of the file, "" when it is an earlier generation. fault: why it is only part
    of the file, else "". cut: lines longer than `stream.LONGEST_LINE`, which were cut. settled: lines and bytes of
    content that a follower need not read again.
    """

    name: str
    path: str
    fingerprint: Fingerprint
    layouts: list[str]
    headed: bool
    state: State
    fault: str = ""
    cut: int = 0
    settled_lines: int = 0
    settled_bytes: int = 0


@dataclass
class Manifest:
    """All that is known of a table. paths: as given. skipped: (path, why) of files that were not taken."""

    paths: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    next_shard: int = 0
    next_template: int = 1
    cut_kinds: int = 0


def is_current(folder: Path) -> bool:
    """Whether there is a manifest in a folder, and of this version."""
    try:
        return bool(json.loads((folder / NAME).read_text(encoding="utf-8")).get("format") == FORMAT)
    except FileNotFoundError:
        return False


def read(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        InputError: there is none, or another version of this package wrote it.
    """
    path = folder / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: no log table here (it has no {NAME})") from None
    if content.pop("format") != FORMAT:
        raise InputError(f"{folder}: a log table of another version; index the log again")
    sources = [
        Source(**{**one, "fingerprint": Fingerprint(**one["fingerprint"]), "state": State(**one["state"])})
        for one in content.pop("sources")
    ]
    parts = [Shard(**{**one, "spans": [tuple(span) for span in one["spans"]]}) for one in content.pop("shards")]
    skipped = [(path, why) for path, why in content.pop("skipped")]
    return Manifest(sources=sources, shards=parts, skipped=skipped, **content)


def write(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a folder."""
    with replacing(folder / NAME) as partial:
        partial.write_text(json.dumps({"format": FORMAT, **asdict(manifest)}, ensure_ascii=False), encoding="utf-8")


def notes(manifest: Manifest) -> list[str]:
    """What a person should know about what the table lacks, a line each."""
    found = [f"{path}: left out: {why}" for path, why in manifest.skipped]
    for source in manifest.sources:
        if source.fault:
            found.append(f"{source.name}: partial: {source.fault}; the lines before it are here")
        if source.cut:
            found.append(f"{source.name}: {source.cut:,} lines longer than {stream.LONGEST_LINE:,} characters were cut")
    if manifest.cut_kinds:
        found.append(
            f"more than {shards.MOST_KINDS:,} distinct masked messages: {manifest.cut_kinds:,} later ones are known by "
            f"their first {shards.FIRST_WORDS} words"
        )
    return found
