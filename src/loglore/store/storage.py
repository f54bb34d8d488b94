"""Where the bytes of objects are: a folder, or a bucket on S3. Content-addressed: `objects/<aa>/<sha256>`.

An object appears whole or not at all, and never changes. In a folder it is a hard link to the file that was put where
the file system allows, so that nothing is copied; such a file must be replaced, never edited in place. On S3 it is one
object; credentials, region and `AWS_ENDPOINT_URL` come from the environment, as for every S3 tool.
"""

import contextlib
import errno
import hashlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from loglore import atomic
from loglore.errors import DiskFullError, InputError, JobError, UnavailableError
from loglore.settings import load

S3 = "s3://"
BLOCK = 1 << 20
# Parts of this size, this many at a time: what an upload to S3 holds in memory.
S3_PART, S3_PARALLEL = 16 << 20, 2


class Storage(Protocol):
    """What the hub needs of a place for objects. `sha256` is 64 hex digits."""

    @property
    def url(self) -> str:
        """Where, for messages."""

    def put(self, path: Path, sha256: str, link: bool) -> None:
        """Store the content of `path`, known by `sha256`; `link` allows a hard link to it."""

    def open(self, sha256: str) -> BinaryIO:
        """The object's bytes as a stream; the caller closes it."""

    def fetch(self, sha256: str, path: Path) -> None:
        """Make the object a file at `path`, which must not exist; a hard link where possible."""

    def exists(self, sha256: str) -> bool:
        """Whether it is there."""

    def delete(self, sha256: str) -> None:
        """Remove it; nothing happens when it is not there."""

    def scratch(self) -> Path:
        """A folder of this machine to write to what is then put: where a link to it is possible, if anywhere."""


def storage(url: str | None = None) -> Storage:
    """The place for objects at `url` (default: the settings').

    Raises:
        InputError: neither a folder nor `s3://bucket…`.
    """
    place = url or load().storage
    if place.startswith(S3):
        return Bucket(place.rstrip("/"))
    if "://" in place:
        raise InputError(f"LOGLORE_STORAGE={place}: expected a folder or s3://bucket/prefix")
    return Folder(str(Path(place).expanduser().absolute()))


@dataclass(frozen=True)
class Folder:
    """Objects below a folder of this machine."""

    url: str

    def put(self, path: Path, sha256: str, link: bool) -> None:
        """Link or copy `path`; as `Storage.put`."""
        target = self._path(sha256)
        if target.exists():
            return
        with writing_to(self.url):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            try:
                if not link_or_copy(path, partial, link) and sha256_of(partial) != sha256:
                    raise JobError(f"{path}: it changed while it was read")
                atomic.sync(partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
            atomic.sync(target.parent)

    def open(self, sha256: str) -> BinaryIO:
        """As `Storage.open`."""
        return self._found(sha256).open("rb")

    def fetch(self, sha256: str, path: Path) -> None:
        """As `Storage.fetch`."""
        source = self._found(sha256)
        with writing_to(str(path.parent)):
            link_or_copy(source, path, True)

    def exists(self, sha256: str) -> bool:
        """As `Storage.exists`."""
        return self._path(sha256).is_file()

    def delete(self, sha256: str) -> None:
        """As `Storage.delete`."""
        self._path(sha256).unlink(missing_ok=True)

    def scratch(self) -> Path:
        """As `Storage.scratch`."""
        return Path(self.url) / "incoming"

    def _path(self, sha256: str) -> Path:
        return Path(self.url) / "objects" / sha256[:2] / sha256

    def _found(self, sha256: str) -> Path:
        path = self._path(sha256)
        if not path.is_file():
            raise JobError(f"{self.url}: object {sha256} is missing; was LOGLORE_STORAGE changed?")
        return path


@dataclass(frozen=True)
class Bucket:
    """Objects below a prefix of a bucket on S3."""

    url: str

    def put(self, path: Path, sha256: str, link: bool) -> None:
        """Upload `path`; S3 shows it when it is complete."""
        if self.exists(sha256):
            return
        with self._system() as system:
            system.put_file(str(path), self._key(sha256), chunksize=S3_PART, max_concurrency=S3_PARALLEL)

    def open(self, sha256: str) -> BinaryIO:
        """As `Storage.open`."""
        with self._system(sha256) as system:
            return cast(BinaryIO, system.open(self._key(sha256), "rb", block_size=S3_PART, cache_type="readahead"))

    def fetch(self, sha256: str, path: Path) -> None:
        """Download to a file beside `path`, compare its hash, rename."""
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with self._system(sha256) as system, writing_to(str(path.parent)):
                needed = int(system.size(self._key(sha256)))
                check_room(path.parent, needed)
                system.get_file(self._key(sha256), str(partial))
            with partial.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != sha256:
                raise JobError(f"{self.url}: object {sha256} is damaged: its content hashes to {found}")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, sha256: str) -> bool:
        """As `Storage.exists`."""
        with self._system() as system:
            return bool(system.exists(self._key(sha256)))

    def delete(self, sha256: str) -> None:
        """As `Storage.delete`."""
        with self._system() as system, contextlib.suppress(FileNotFoundError):
            system.rm_file(self._key(sha256))

    def scratch(self) -> Path:
        """As `Storage.scratch`."""
        return load().home / "incoming"

    def _key(self, sha256: str) -> str:
        return f"{self.url.removeprefix(S3)}/objects/{sha256[:2]}/{sha256}"

    @contextlib.contextmanager
    def _system(self, sha256: str = "") -> Iterator[Any]:
        from loglore.data.sources import s3

        system = s3()
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield system
        except FileNotFoundError as fault:
            what = f"object {sha256} is missing" if sha256 else f"no such bucket: {fault}"
            raise JobError(f"{self.url}: {what}") from None
        except PermissionError as fault:
            raise JobError(f"{self.url}: access denied: {fault}") from None
        except (BotoCoreError, ClientError) as fault:
            raise UnavailableError(f"{self.url}: {fault}") from None


def link_or_copy(source: Path, target: Path, link: bool) -> bool:
    """Make `target` a hard link to `source`, or a copy where that is not allowed or not possible; whether a link."""
    if link:
        try:
            target.hardlink_to(source.resolve())
            return True
        except OSError as fault:
            if fault.errno == errno.EEXIST:
                raise
    check_room(target.parent, source.stat().st_size)
    shutil.copyfile(source, target)
    return False


def check_room(folder: Path, needed: int) -> None:
    """Refuse to begin what cannot end.

    Raises:
        DiskFullError: fewer than `needed` bytes are free where `folder` is; says how many are missing.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        missing = needed - free
        raise DiskFullError(f"{folder}: disk full: {needed:,} bytes are needed, {missing:,} are missing", missing)


@contextlib.contextmanager
def writing_to(place: str, needed: int = 1) -> Iterator[None]:
    """Turn a disk that fills up meanwhile into `DiskFullError`; `needed` bytes are what was still to be written."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"{place}: disk full: at least {needed:,} bytes are missing", needed) from None


def sha256_of(path: Path) -> str:
    """Hash of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
