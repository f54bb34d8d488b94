"""A run where machines share no disk: each keeps a copy of its folder, and a bucket has what they hand to each other.

    STORAGE/inputs/<sha256>/<name>      what jobs read, by its content; stays for later jobs
    STORAGE/runs/<id>/files/…           logs, orders, results: whoever works on the run replaces them
    STORAGE/runs/<id>/trees/…           folders that appear whole (checkpoints, models), each version in one of its own
    STORAGE/runs/<id>/marks/….json      of each such folder its version and checksum; written last
    STORAGE/runs/<id>/parts/…           what of a checkpoint other machines wrote; it lists them (`parts`)

A copy is in the same place of every machine (`scratch`), whose processes share it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loglore.cluster.order import FOLDER, Order
from loglore.cluster.places import PARTS, AnySpec, Part, Shared
from loglore.data.sources import S3, s3
from loglore.errors import InputError, JobError, UnavailableError
from loglore.runs import files, fingerprint
from loglore.runs.spec import Spec
from loglore.store.storage import S3_PARALLEL, S3_PART
from loglore.train import checkpoints

WHOLE = re.compile(r"adapter|best|model|(checkpoints|published)/step-\d+")  # folders that appear whole
APART = re.compile(r"cluster/|packed/|train-with-replay\.jsonl|checkpoints/|published/|(.*/)?\.")  # not handed on so
LAST = re.compile(r"workers/|result\.json")  # they say that the rest is there


class _DamagedError(JobError):
    """What came is not what was sent."""


class Mirrored(Shared):
    """A copy of the run folder here, and a bucket.

    Args:
        url: `STORAGE/runs/ID`.
        folder: the copy.

    Raises:
        InputError: the extra `s3` is not installed.
    """

    everywhere, every_s = False, 2.0

    def __init__(self, url: str, folder: Path) -> None:
        s3()
        self.folder, self.text = folder, url
        self._key = url.removeprefix(S3)
        self._storage = self._key.rsplit("/runs/", 1)[0]
        self._known: dict[str, str] = {}  # files and whole folders, as last sent or fetched
        self._etags: dict[str, str] = {}

    def send(self, *names: str) -> None:
        """As `Shared.send`."""
        with _reaching(self.text):
            for name in names:
                if (self.folder / name).is_file():
                    _upload(self.folder / name, f"{self._key}/files/{name}")

    def fetch(self, *names: str) -> None:
        """As `Shared.fetch`."""
        for name in names:
            with _reaching(self.text), contextlib.suppress(FileNotFoundError):
                self._fetch(name, s3().info(f"{self._key}/files/{name}")["ETag"])

    def _fetch(self, name: str, etag: str) -> None:
        place = self.folder / name
        if self._etags.get(name) != etag or not place.exists():
            _download(f"{self._key}/files/{name}", place)
            self._etags[name], self._known[name] = etag, _state(place)

    def remove(self, *names: str) -> None:
        """As `Shared.remove`."""
        with _reaching(self.text):
            for name in names:
                _remove(f"{self._key}/files/{name}")
                self._etags.pop(name, None)

    def send_run(self) -> None:
        """As `Shared.send_run`."""
        # First seen, first sent: the files then hold what came before a checkpoint.
        trees = [name for name in self._here("*") + self._here("*/step-*") if WHOLE.fullmatch(name)]
        under = tuple(f"{name}/" for name in trees)
        plain = [
            path.relative_to(self.folder).as_posix()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not path.relative_to(self.folder).as_posix().startswith(under)
        ]
        handed = [name for name in plain if not APART.match(name)]
        self._send_changed([name for name in handed if not LAST.match(name)])
        for name in trees:
            try:
                self._send_tree(name)
            except (FileNotFoundError, InputError):
                if (self.folder / name).exists():
                    raise
                self._forget(name)  # newer ones have taken its place meanwhile
        self._send_changed([name for name in handed if LAST.match(name)])
        for name in list(self._known):  # another thread may fetch meanwhile
            if WHOLE.fullmatch(name) and not (self.folder / name).exists():
                self._forget(name)

    def _forget(self, name: str) -> None:
        with _reaching(self.text):
            _remove(f"{self._key}/marks/{name}.json")
            _remove(f"{self._key}/trees/{name}")
            if name.startswith("checkpoints/"):
                _remove(f"{self._key}/parts/checkpoint-{checkpoints.step_of(Path(name))}")
        self._known.pop(name, None)

    def _here(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.glob(pattern) if path.is_dir())

    def _send_changed(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                state = _state(self.folder / name)
                if self._known.get(name) != state:
                    self.send(name)
                    self._known[name] = state

    def _send_tree(self, name: str) -> None:
        place, state = self.folder / name, _state(self.folder / name)
        if self._known.get(name) == state:
            return
        names = [one for one in _names(place) if one not in _parts(place)]
        mark = {"version": state, "sha256": _content(place, names), "names": names}
        with _reaching(self.text):
            if self._mark(name).get("sha256") == mark["sha256"]:  # another process has sent it
                self._known[name] = state
                return
            for one in mark["names"]:
                _upload(place / one, f"{self._key}/trees/{name}/{state}/{one}")
            s3().pipe_file(f"{self._key}/marks/{name}.json", json.dumps(mark).encode())
            for old in s3().ls(f"{self._key}/trees/{name}", detail=False):
                if not old.endswith(f"/{state}"):
                    _remove(old)
        self._known[name] = state

    def _mark(self, name: str) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads(s3().cat_file(f"{self._key}/marks/{name}.json")))
        return {}

    def send_parts(self, folder: Path) -> dict[str, Part]:
        """As `Shared.send_parts`."""
        below, found = f"parts/{folder.name}/{secrets.token_hex(8)}", {}
        for name in _names(folder):
            with _reaching(self.text):
                _upload(folder / name, f"{self._key}/{below}/{name}")
            found[name] = (f"{below}/{name}", fingerprint.of_file(folder / name))
        return found

    def fetch_run(self, trees: str = "") -> None:
        """As `Shared.fetch_run`."""
        with _alone(self.folder):
            shutil.rmtree(self.folder / "workers", ignore_errors=True)
            with _reaching(self.text):
                found = s3().find(f"{self._key}/files", detail=True)
                for key, info in found.items():
                    name = key.removeprefix(f"{self._key}/files/")
                    if not name.startswith(f"{FOLDER}/"):
                        self._fetch(name, info["ETag"])
            self._fetch_trees(trees)

    def fetch_trees(self, trees: str) -> None:
        """As `Shared.fetch_trees`."""
        with _alone(self.folder):
            self._fetch_trees(trees)

    def _fetch_trees(self, trees: str) -> None:
        if not trees:
            return
        there = self._marks()
        for old in self._here("checkpoints/*") if re.match(trees, "checkpoints/") else []:
            if old not in there:
                shutil.rmtree(self.folder / old)
        for name in there:
            if re.match(trees, name):
                try:
                    self._fetch_tree(name)
                except _DamagedError as fault:
                    if not name.startswith("checkpoints/"):
                        raise
                    self._forget(name)
                    print(f"{fault}; the one before is taken", file=sys.stderr, flush=True)

    def _fetch_tree(self, name: str) -> None:
        with _reaching(self.text):
            mark = self._mark(name)
        place = self.folder / name
        if not mark:  # a newer one has taken its place meanwhile
            return
        if not _whole(place, mark):
            with files.replacing_folder(place) as partial, _reaching(self.text):
                for one in mark["names"]:
                    _download(f"{self._key}/trees/{name}/{mark['version']}/{one}", partial / one)
                for one, (key, _) in _parts(partial).items():
                    _download(f"{self._key}/{key}", partial / one)
                if not _whole(partial, mark):
                    raise _DamagedError(f"{self.text}: {name} is damaged: its content is not what was written")
        self._known[name] = _state(place)

    def _marks(self) -> list[str]:
        with _reaching(self.text):
            found = s3().find(f"{self._key}/marks")
        return [key.removeprefix(f"{self._key}/marks/").removesuffix(".json") for key in found]

    def steps(self) -> list[int]:
        """As `Shared.steps`."""
        names = [Path(name) for name in self._marks()]
        return sorted(checkpoints.step_of(name) for name in names if name.parent.name == "checkpoints")

    def inputs(self, spec: Spec) -> dict[str, str]:
        """As `Shared.inputs`."""
        paths = dict.fromkeys(path.absolute() for paths in spec.inputs().values() for path in paths)
        return {str(path): self._send_input(path) for path in paths}

    def _send_input(self, path: Path) -> str:
        found = f"{fingerprint.of_path(path)}/{path.name}"
        key = f"{self._storage}/inputs/{found}"
        with _reaching(self.text):
            if not s3().exists(f"{key}.mark"):
                names = _names(path) if path.is_dir() else [""]
                for one in names:
                    _upload(path / one, f"{key}/{one}".rstrip("/"))
                s3().pipe_file(f"{key}.mark", json.dumps(names).encode())
        return found

    def placed(self, spec: AnySpec, asked: Order) -> AnySpec:
        """As `Shared.placed`."""

        def local(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: local(one) for name, one in value.items()}
            return [local(one) for one in value] if isinstance(value, list) else self._input(asked.inputs[str(value)])

        return spec.model_copy(update={name: local(getattr(spec, name)) for name in spec.inputs()})

    def _input(self, found: str) -> Path:
        place, key = scratch() / "inputs" / found, f"{self._storage}/inputs/{found}"
        with _alone(place.parent):
            if place.exists():
                return place
            with _reaching(self.text):
                names: list[str] = json.loads(s3().cat_file(f"{key}.mark"))
            writing = files.replacing(place) if names == [""] else files.replacing_folder(place)
            with writing as partial:
                for one in names:
                    with _reaching(self.text):
                        _download(f"{key}/{one}".rstrip("/"), partial / one)
                if fingerprint.of_path(partial) != place.parent.name:
                    raise _DamagedError(f"{S3}{key} is damaged: its content is not what was written")
        return place

    def for_ray(self) -> dict[str, Any]:
        """As `Shared.for_ray`."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        return {"storage_path": f"{self._key}/ray", "storage_filesystem": PyFileSystem(FSSpecHandler(s3()))}

    def leave(self) -> None:
        """As `Shared.leave`."""
        for path in self.folder.iterdir():
            if path.name != FOLDER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def end(self) -> None:
        """As `Shared.end`."""
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)  # of a run that began on this machine
        with _reaching(self.text):
            _remove(self._key)


def scratch() -> Path:
    """This machine's folder for copies, the user's alone; on all nodes the same path.

    Raises:
        JobError: another user has made it.
    """
    place = Path(tempfile.gettempdir()) / f"loglore-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise JobError(f"{place} is another user's")
    return place


@contextlib.contextmanager
def _reaching(url: str) -> Iterator[None]:
    """What S3 libraries raise in one line: bad input where trying again would not help."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except FileNotFoundError as fault:
        raise InputError(f"{url}: no such bucket or object: {fault}") from None
    except PermissionError as fault:
        raise InputError(f"{url}: access denied: {fault}") from None
    except NoCredentialsError as fault:
        raise InputError(f"{url}: {fault} (credentials and AWS_ENDPOINT_URL are taken from the environment)") from None
    except (BotoCoreError, ClientError) as fault:
        raise UnavailableError(f"{url}: {fault}") from None


def _names(folder: Path) -> list[str]:
    """Files below a folder, as `fingerprint.of_path` counts them."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def _content(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 of files of a folder, as `fingerprint.of_path` of one with no others."""
    return fingerprint.of_value([[name, fingerprint.of_file(folder / name)] for name in names])


def _parts(folder: Path) -> dict[str, Part]:
    """What of a checkpoint other machines have handed on."""
    return dict(files.read_json(folder / PARTS)) if (folder / PARTS).is_file() else {}


def _whole(folder: Path, mark: dict[str, Any]) -> bool:
    """Whether a folder holds what its mark says, and every part."""
    names = mark["names"]
    if not all((folder / name).is_file() for name in names) or _content(folder, names) != mark["sha256"]:
        return False
    parts = _parts(folder)
    whole = set(_names(folder)) == {*names, *parts}
    return whole and all(fingerprint.of_file(folder / name) == sha for name, (_, sha) in parts.items())


def _state(path: Path) -> str:
    """Changes with a file or a folder's files."""
    each = [path] if path.is_file() else [path / name for name in _names(path)]
    found = [(str(one.relative_to(path)), one.stat().st_size, one.stat().st_mtime_ns) for one in each]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def _upload(path: Path, key: str) -> None:
    s3().put_file(str(path), key, chunksize=S3_PART, max_concurrency=S3_PARALLEL)


def _download(key: str, place: Path) -> None:
    """To a file beside it first, of a name of its own: processes of one machine share a copy."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        s3().get_file(key, str(partial))
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _remove(key: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        s3().rm(key, recursive=True)


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process of this machine at a time; waits for the others."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
