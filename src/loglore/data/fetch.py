"""Downloads of public data: resumed where they broke off, verified, and never half there.

A file arrives as `NAME.part` and takes its name when its hash is right. A hash comes from the catalog, from a Git LFS
pointer that stands in the file's place, or from Zenodo's API; without one, the SHA-256 of the first download is written
into `SHA256SUMS` beside the file and later downloads must equal it (trust on first use), and the user is told which of
these it was. Only the standard library is used, so that the light install can fetch.
"""

import errno
import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from loglore.atomic import replacing, sync
from loglore.data.catalog import GITHUB, GITHUB_LFS, SOURCES, ZENODO_API, Remote, Source
from loglore.errors import InputError, JobError

SUMS = "SHA256SUMS"
ATTEMPTS = 6
_BLOCK = 1 << 20
_TIMEOUT_S = 30.0
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"


@dataclass(frozen=True)
class Fetched:
    """A file that is there: `path`, bytes, its hash, how it was verified, and whether it had to be downloaded."""

    path: Path
    size: int
    sha256: str
    verified: str
    downloaded: bool


def find(name: str) -> Source:
    """A data set of the catalog.

    Raises:
        InputError: no such name; lists the known ones.
    """
    if name not in SOURCES:
        raise InputError(f"{name}: no such data set; known are {', '.join(SOURCES)}")
    return SOURCES[name]


def fetch(
    source: Source,
    folder: Path,
    only: Sequence[str] = (),
    local: Path | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> list[Fetched]:
    """Bring the files of a data set into a folder; those that are there and right are left alone.

    Args:
        source: of the catalog (`find`).
        folder: where they go; unfinished downloads there (`*.part`) go on.
        only: names or globs of the files wanted; empty for all.
        local: a file, or a folder of files, already downloaded by other means: verified and copied instead.
        on_progress: told (file name, bytes there, bytes in all or 0) now and then.
        pause: called with seconds between attempts.

    Raises:
        InputError: no file matches, `local` lacks a file, or a hash is wrong.
        JobError: the network cannot be reached, or breaks off again and again; says where to get the file.
    """
    remotes = _wanted(source, only, local, folder)
    folder.mkdir(parents=True, exist_ok=True)
    fetched = []
    for remote in remotes:
        if local is not None:
            fetched.append(_take(remote, local, folder))
        else:
            with _offline(source, remote.name):
                fetched.append(_download(remote, folder, on_progress, pause))
    return fetched


def _wanted(source: Source, only: Sequence[str], local: Path | None, folder: Path) -> list[Remote]:
    remotes = list(source.files)
    if source.zenodo:
        listing = folder / "zenodo.json"
        if local is not None and not listing.exists():
            names = [local.name] if local.is_file() else sorted(path.name for path in local.iterdir() if path.is_file())
            remotes = [Remote(name, "") for name in names if not name.startswith(".")]
        else:
            with _offline(source, "the list of files"):
                remotes = _zenodo(source, listing)
    chosen = [remote for remote in remotes if not only or any(fnmatch(remote.name, glob) for glob in only)]
    if not chosen:
        raise InputError(
            f"{source.name}: no file matches {', '.join(only)}; it has {', '.join(r.name for r in remotes)}"
        )
    if local is not None and local.is_file():
        chosen = [remote for remote in chosen if remote.name == local.name]
        if not chosen:
            raise InputError(
                f"{local}: {source.name} has no file of that name; it has {', '.join(r.name for r in remotes)}"
            )
    return chosen


def _zenodo(source: Source, listing: Path) -> list[Remote]:
    """The files of a record, by Zenodo's API; the answer is kept beside them, so that a record is asked once."""
    if not listing.exists():
        with _opened(f"{ZENODO_API}/{source.zenodo}") as (answer, _):
            content = answer.read()
        _parse_zenodo(content, source)
        with replacing(listing) as partial:
            partial.write_bytes(content)
    return _parse_zenodo(listing.read_bytes(), source)


def _parse_zenodo(content: bytes, source: Source) -> list[Remote]:
    try:
        record = json.loads(content)
        return [Remote(file["key"], file["links"]["self"], file["size"], file["checksum"]) for file in record["files"]]
    except (ValueError, KeyError, TypeError) as fault:
        raise JobError(f"{ZENODO_API}/{source.zenodo}: not the list of files that was expected ({fault!r})") from None


@contextmanager
def _offline(source: Source, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as fault:
        if isinstance(fault, OSError) and not isinstance(fault, urllib.error.URLError | ConnectionError | TimeoutError):
            raise
        reason = getattr(fault, "reason", None) or fault
        raise JobError(
            f"{source.name}: cannot download {what} ({reason}); get it from {source.page} and give it with --from PATH"
        ) from None


def _download(
    remote: Remote,
    folder: Path,
    on_progress: Callable[[str, int, int], None] | None,
    pause: Callable[[float], None],
) -> Fetched:
    path = folder / remote.name
    if path.exists():
        return _verified(remote, path, folder, downloaded=False)
    partial = folder / f"{remote.name}.part"
    for attempt in range(ATTEMPTS):
        try:
            _receive(remote, partial, on_progress)
            break
        except (OSError, http.client.HTTPException) as fault:
            final = isinstance(fault, urllib.error.HTTPError) and fault.code < 500 and fault.code != 429
            if attempt == ATTEMPTS - 1 or final or _disk_full(fault):
                raise
            pause(2.0**attempt)
    remote = _follow_pointer(remote, partial)
    if not partial.exists():
        return _download(remote, folder, on_progress, pause)
    fetched = _verified(remote, partial, folder, downloaded=True)
    sync(partial)
    partial.replace(path)
    sync(folder)
    partial.with_name(f"{partial.name}.etag").unlink(missing_ok=True)
    return replace(fetched, path=path)


def _disk_full(fault: BaseException) -> bool:
    return isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def _receive(remote: Remote, partial: Path, on_progress: Callable[[str, int, int], None] | None) -> None:
    """Append what is missing; raises when the connection ends early."""
    there = partial.stat().st_size if partial.exists() else 0
    if remote.size and there >= remote.size:
        return
    with _opened(remote.url, partial, there) as (answer, start):
        if answer is None:
            return
        with partial.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            there = start
            total = remote.size or there + int(answer.headers.get("Content-Length") or 0)
            while block := answer.read(_BLOCK):
                stream.write(block)
                there += len(block)
                if on_progress is not None:
                    on_progress(remote.name, there, total)
    if total and there < total:
        raise ConnectionError(f"the connection ended after {there:,} of {total:,} bytes")


@contextmanager
def _opened(url: str, partial: Path | None = None, start: int = 0) -> Iterator[tuple[Any, int]]:
    """An open answer and the byte it starts at: `start`, or 0 where the server sends everything (again).

    The version of the file (its ETag) is kept beside the part, so that two versions are never joined (RFC 9110,
    If-Range). The answer is None when nothing is missing.
    """
    tag = partial.with_name(f"{partial.name}.etag") if partial else None
    request = urllib.request.Request(url, headers={"User-Agent": "loglore"})
    if start and tag:
        request.add_header("Range", f"bytes={start}-")
        if tag.exists():
            request.add_header("If-Range", tag.read_text())
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            if tag and (version := answer.headers.get("ETag")) and not version.startswith("W/"):
                tag.write_text(version)
            yield answer, start if answer.status == 206 else 0
    except urllib.error.HTTPError as fault:
        if fault.code != 416 or not start or partial is None:
            raise
        if fault.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
            yield None, start
            return
        partial.unlink()
        raise ConnectionError("the file on the server is shorter than the part here; it starts again") from None


def _follow_pointer(remote: Remote, partial: Path) -> Remote:
    """Where a Git LFS pointer arrived instead of the file: the file's place, size and hash; the pointer is removed."""
    if partial.stat().st_size > 1024:
        return remote
    content = partial.read_bytes()
    if not content.startswith(_POINTER):
        return remote
    fields = dict(line.split(" ", 1) for line in content.decode("ascii").splitlines())
    url = remote.url.replace(GITHUB, GITHUB_LFS)
    if url == remote.url:
        raise InputError(f"{remote.url}: a Git LFS pointer stands in place of the file; fetch it with git lfs pull")
    partial.unlink()
    return replace(remote, url=url, size=int(fields["size"]), hash=fields["oid"])


def _take(remote: Remote, local: Path, folder: Path) -> Fetched:
    given = local if local.is_file() else local / remote.name
    if not given.is_file():
        raise InputError(f"{given}: no such file; expected {remote.name}")
    path = folder / remote.name
    if path.exists() and path.samefile(given):
        return _verified(remote, path, folder, downloaded=False)
    with replacing(path) as partial:
        with given.open("rb") as stream, partial.open("wb") as copy:
            while block := stream.read(_BLOCK):
                copy.write(block)
        fetched = _verified(remote, partial, folder, downloaded=False)
    return replace(fetched, path=path)


def _verified(remote: Remote, path: Path, folder: Path, downloaded: bool) -> Fetched:
    """Compare with what is known of the file; a download that is wrong is removed.

    Raises:
        InputError: size or hash differ; says which.
    """
    kind, _, wanted = remote.hash.partition(":")
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            sha256.update(block)
            md5.update(block)
    found = sha256.hexdigest()
    sums = _sums(folder)
    if wanted:
        actual = md5.hexdigest() if kind == "md5" else found
        how = f"{kind.upper()} as published"
    elif remote.name in sums:
        wanted, actual, how = sums[remote.name], found, f"SHA-256 as on the first download ({SUMS})"
    else:
        wanted = actual = found
        how = f"no published hash: SHA-256 recorded in {SUMS}, trusted on first use"
    size = path.stat().st_size
    if actual != wanted or (remote.size and size != remote.size):
        if downloaded:
            path.unlink()
        raise InputError(
            f"{folder / remote.name}: {size:,} bytes with hash {actual}; expected "
            f"{f'{remote.size:,} bytes with ' if remote.size else ''}hash {wanted}. Not the file that was published"
        )
    _record(folder, sums, remote.name, found)
    return Fetched(path, size, found, how, downloaded)


def _sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.exists():
        return {}
    return {name: digest for digest, name in (line.split("  ", 1) for line in path.read_text().splitlines())}


def _record(folder: Path, sums: dict[str, str], name: str, digest: str) -> None:
    if sums.get(name) == digest:
        return
    with replacing(folder / SUMS) as partial:
        partial.write_text("".join(f"{found}  {key}\n" for key, found in sorted({**sums, name: digest}.items())))
