"""Where rows come from: files, folders, ZIP archives, gzip and Zstandard, here or on S3; nothing is unpacked to disk.

The kind of a file is told by its first bytes, then by its name, and is stated to the user. Archives are refused that
try to leave their folder (`../`), that hold archives, or that grow more than 100-fold to more than 1 GiB (a bomb;
Fifield, "A better zip bomb", WOOT 2019: members may overlap, so their sizes together are compared with the archive's).
"""

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

from loglore.data.streams import DAMAGE, DataFile, Kind, Opener, is_damage
from loglore.errors import InputError

SUFFIXES: dict[str, Kind] = {
    ".jsonl": "JSON",
    ".jsonlines": "JSON",
    ".json": "JSON",
    ".csv": "CSV",
    ".parquet": "Parquet",
    ".txt": "text",
}
BOMB_RATIO = 100
BOMB_BYTES = 1 << 30
S3 = "s3://"


@dataclass(frozen=True)
class Listing:
    """What a path holds: `files` to read, in the order of their names, and names that are `left_out` as no data."""

    files: list[DataFile]
    left_out: list[str]


def find(path: Path | str) -> Listing:
    """The data files behind a path: a file, a folder (everything below), a ZIP archive, or `s3://bucket/key`.

    Raises:
        InputError: nothing there, nothing readable in it, or an archive that is damaged or refused.
    """
    if str(path).startswith(S3):
        return _find_s3(str(path))
    path = Path(path)
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.is_file()]
        return _pick(str(path), [(_relative(file, path), file) for file in found])
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic == b"PK\3\4" or magic == b"PK\5\6":
        return _find_zip(str(path), lambda: path.open("rb"))
    return Listing([_local(str(path), path, magic)], [])


def _relative(file: Path, folder: Path) -> PurePosixPath:
    return PurePosixPath(file.relative_to(folder).as_posix())


def _pick(folder: str, found: list[tuple[PurePosixPath, Path]]) -> Listing:
    files, left_out = [], []
    for name, path in found:
        if _hidden(name) or _kind_by_name(name) is None:
            left_out.append(str(name))
            continue
        with path.open("rb") as stream:
            magic = stream.read(4)
        files.append(_local(str(path), path, magic))
    return _not_empty(folder, files, left_out)


def _not_empty(name: str, files: list[DataFile], left_out: list[str]) -> Listing:
    if not files:
        seen = f"; found {', '.join(left_out[:5])}" if left_out else ""
        raise InputError(
            f"{name}: no data file in it (expected {', '.join(SUFFIXES)}, or one of these with .gz or .zst){seen}"
        )
    return Listing(files, left_out)


def _hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)


def _kind_by_name(name: PurePosixPath) -> Kind | None:
    plain = name.with_suffix("") if name.suffix in (".gz", ".zst") else name
    return SUFFIXES.get(plain.suffix.lower())


def _local(name: str, path: Path, magic: bytes) -> DataFile:
    kind, compression = _kind(PurePosixPath(path.name), magic)
    return DataFile(name, kind, compression, path.stat().st_size, lambda: path.open("rb"), path)


def _kind(name: PurePosixPath, magic: bytes) -> tuple[Kind, Literal["", "gz", "zst"]]:
    if magic == b"PAR1":
        return "Parquet", ""
    compression: Literal["", "gz", "zst"] = ""
    if magic[:2] == b"\x1f\x8b":
        compression = "gz"
    elif magic == b"\x28\xb5\x2f\xfd":
        compression = "zst"
    return _kind_by_name(name) or "JSON", compression


def _find_zip(name: str, open_archive: Opener) -> Listing:
    with open_archive() as stream, _archive(stream, name) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            _check_member(name, member)
        _check_bomb(name, members, archive)
        files, left_out = [], []
        for member in sorted(members, key=lambda member: member.filename):
            inner = PurePosixPath(member.filename)
            if _hidden(inner) or _kind_by_name(inner) is None:
                left_out.append(member.filename)
                continue
            with archive.open(member) as opened:
                kind, compression = _kind(inner, _first_bytes(opened, name, member.filename))
            reader = _member_opener(open_archive, member.filename)
            files.append(DataFile(f"{name}/{member.filename}", kind, compression, member.file_size, reader))
    return _not_empty(name, files, left_out)


def _first_bytes(stream: object, name: str, member: str) -> bytes:
    try:
        return cast(BinaryIO, stream).read(4)
    except DAMAGE as fault:
        if not is_damage(fault):
            raise
        raise InputError(f"{name}: {member}: damaged ZIP member: {fault}") from None


def _member_opener(open_archive: Opener, member: str) -> Opener:
    @contextmanager
    def opened() -> Iterator[Any]:
        with open_archive() as stream, zipfile.ZipFile(stream) as archive, archive.open(member) as inner:
            yield inner

    return opened


@contextmanager
def _archive(stream: BinaryIO, name: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(stream) as archive:
            yield archive
    except DAMAGE as fault:
        if isinstance(fault, InputError) or not is_damage(fault):
            raise
        raise InputError(f"{name}: damaged ZIP archive: {fault}") from None


def _check_member(name: str, member: zipfile.ZipInfo) -> None:
    inner = PurePosixPath(member.filename)
    if inner.is_absolute() or ".." in inner.parts or "\\" in member.filename or ":" in member.filename.split("/")[0]:
        raise InputError(f"{name}: member {member.filename!r} points outside the archive: not read")
    if member.flag_bits & 1:
        raise InputError(f"{name}: member {member.filename!r} is encrypted; unpack it first")
    if inner.suffix.lower() in (".zip", ".tar", ".tgz", ".7z", ".rar", ".xz", ".bz2"):
        raise InputError(
            f"{name}: member {member.filename!r} is an archive inside an archive; unpack the outer one first"
        )


def _check_bomb(name: str, members: list[zipfile.ZipInfo], archive: zipfile.ZipFile) -> None:
    stored = sum(member.compress_size for member in members)
    unpacked = sum(member.file_size for member in members)
    stream = cast(BinaryIO, archive.fp)
    size = stream.seek(0, 2)
    if stored > size:
        raise InputError(f"{name}: its members overlap ({stored:,} bytes in a file of {size:,}): a ZIP bomb, not read")
    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * max(size, 1):
        raise InputError(
            f"{name}: {size:,} bytes would unpack to {unpacked:,}, more than {BOMB_RATIO} times as many: taken for a "
            "ZIP bomb; unpack it yourself if it is none"
        )


def _find_s3(url: str) -> Listing:
    with s3_errors(url):
        system = s3()
        key = url.removeprefix(S3).rstrip("/")
        if _s3_kind(system, url, key) == "file":
            magic = _s3_magic(system, key)
            if magic == b"PK\3\4":
                return _find_zip(url, lambda: system.open(key, "rb"))
            return Listing([_remote(key, magic)], [])
        files, left_out = [], []
        for found in sorted(system.find(key)):
            inner = PurePosixPath(found.removeprefix(f"{key}/"))
            if _hidden(inner) or _kind_by_name(inner) is None:
                left_out.append(str(inner))
            else:
                files.append(_remote(found, _s3_magic(system, found)))
    return _not_empty(url, files, left_out)


def _s3_kind(system: Any, url: str, key: str) -> str:
    try:
        return str(system.info(key)["type"])
    except FileNotFoundError:
        bucket = key.split("/")[0]
        try:
            system.call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            raise InputError(f"{url}: no such bucket {bucket!r}") from None
        raise InputError(f"{url}: no such object") from None


def _s3_magic(system: Any, key: str) -> bytes:
    with system.open(key, "rb") as stream:
        return bytes(stream.read(4))


def _remote(key: str, magic: bytes) -> DataFile:
    kind, compression = _kind(PurePosixPath(key), magic)
    system = s3()
    return DataFile(f"{S3}{key}", kind, compression, int(system.size(key)), lambda: system.open(key, "rb"))


def s3_version(url: str) -> str:
    """A hash of what an `s3://` URL holds now, nothing downloaded: names, sizes and ETags of its objects.

    Raises:
        InputError: nothing there.
    """
    with s3_errors(url):
        system = s3()
        key = url.removeprefix(S3).rstrip("/")
        one = _s3_kind(system, url, key) == "file"
        found = {key: system.info(key)} if one else system.find(key, detail=True)
        objects = [f"{name}\0{info['size']}\0{info['ETag']}\n" for name, info in sorted(found.items())]
    return hashlib.sha256("".join(objects).encode("utf-8")).hexdigest()


def s3() -> Any:
    """The S3 file system; credentials, region and `AWS_ENDPOINT_URL` come from the environment, as for every S3 tool.

    Raises:
        InputError: s3fs is not installed.
    """
    try:
        import s3fs
    except ModuleNotFoundError:
        raise InputError("reading s3:// needs the extra s3: pip install 'loglore[s3]'") from None
    return s3fs.S3FileSystem(use_listings_cache=False)


@contextmanager
def s3_errors(url: str) -> Iterator[None]:
    """Turn what S3 libraries raise into one line that names the URL."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{url}: no such bucket or object") from None
    except PermissionError as fault:
        raise InputError(f"{url}: access denied: {fault}") from None
    except (BotoCoreError, ClientError) as fault:
        raise InputError(f"{url}: {fault} (credentials and AWS_ENDPOINT_URL are taken from the environment)") from None
