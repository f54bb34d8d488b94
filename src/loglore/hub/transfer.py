"""A model version as a folder that travels: its files, and `version.json` with what the hub knows about it.

Every file's hash is in `version.json`, and import compares them: a folder that lost, gained or changed a file on its
way is refused. Files are copied, not linked, since the folder is the user's from then on.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.hub import contents
from loglore.hub.place import check_name, check_tag
from loglore.runs import files
from loglore.store import versions
from loglore.store.database import Database
from loglore.store.objects import Object, holding
from loglore.store.storage import check_room, sha256_of, storage, writing_to
from loglore.store.versions import NewVersion, Version

NOTE = "version.json"
FORMAT = 1


def export(database: Database, reference: str, target: Path) -> Version:
    """Write a model version to the new folder `target`.

    Raises:
        InputError: no such version, or something is at `target`.
        DiskFullError: no room for it; nothing is left of it.
    """
    version = versions.find(database, "model", reference)
    if target.exists():
        raise InputError(f"{target}: exists; expected a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    check_room(target.parent, version.bytes)
    manifest = versions.manifest(database, version.id)
    place = storage()
    with writing_to(str(target)), files.replacing_folder(target) as partial:
        for name, wanted in manifest.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with place.open(wanted.sha256) as source, path.open("wb") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)
        files.write_json(partial / NOTE, _note(database, version, manifest))
    return version


def take(database: Database, source: Path, name: str | None = None, by: str | None = None) -> Version:
    """Add an exported folder as the next version of `name` (default: the name it had).

    Parents are kept where this hub has a version of the same content; tags that are free here are set.

    Raises:
        InputError: no exported folder, or its files are not those that `version.json` lists; names the first.
        DiskFullError: no room for it; nothing was added.
    """
    note = _read(source)
    name = str(note["name"]) if name is None else name
    check_name("model", name)
    listed = _checked_files(source, note["files"])
    place = storage()
    with holding(database, place) as holder:
        # Copied: the folder stays the user's, who may edit it.
        manifest = {
            path: holder.put_file(source / path, False, wanted.sha256)  # its hash was just compared
            for path, wanted in listed.items()
        }
        new = NewVersion(
            "model",
            name,
            contents.digest(manifest),
            manifest,
            note["facts"],
            str(note["card"]),
            created_by=by,
            parents=_known(database, [str(each["sha256"]) for each in note["parents"]]),
        )
        made = versions.add(database, new)
    taken = {tag for version in versions.versions(database, "model", name) for tag in version.tags}
    for tag in note["tags"]:
        check_tag(str(tag))
        if tag not in taken:
            made = versions.tag(database, made, str(tag))
    return made


def _note(database: Database, version: Version, manifest: Mapping[str, Object]) -> dict[str, Any]:
    parents = [versions.get(database, each) for each in version.parents]
    return {
        "format": FORMAT,
        "kind": version.kind,
        "name": version.name,
        "number": version.number,
        "sha256": version.digest,
        "facts": dict(version.facts),
        "card": version.card,
        "tags": list(version.tags),
        "parents": [{"kind": each.kind, "reference": each.reference, "sha256": each.digest} for each in parents],
        "files": {name: {"sha256": each.sha256, "bytes": each.bytes} for name, each in manifest.items()},
    }


def _read(source: Path) -> dict[str, Any]:
    """`version.json`, each field of the type it must have."""
    note = files.read_json(source / NOTE)
    wanted = {"name": str, "facts": dict, "card": str, "tags": list, "parents": list, "files": dict}
    if not isinstance(note, dict) or note.get("format") != FORMAT or note.get("kind") != "model":
        raise InputError(f"{source / NOTE}: expected a model exported by LogLore, format {FORMAT}")
    for key, kind in wanted.items():
        if not isinstance(note.get(key), kind):
            raise InputError(f"{source / NOTE}: `{key}`: expected {kind.__name__}")
    if not all(isinstance(each, dict) and "sha256" in each for each in note["parents"]):
        raise InputError(f"{source / NOTE}: `parents`: expected a `sha256` of each")
    return note


def _checked_files(source: Path, listed: Mapping[str, Any]) -> dict[str, Object]:
    """The files that the note lists, when those and no others are there, each with its content."""
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_symlink() or path.is_file()}
    for name in sorted(there - {NOTE} - set(listed)):
        raise InputError(f"{source / name}: not listed in {NOTE}")
    found = {}
    for name, wanted in listed.items():
        inner = PurePosixPath(name)
        if inner.is_absolute() or ".." in inner.parts:
            raise InputError(f"{source / NOTE}: file {name!r} points outside the folder")
        path = source / name
        if any(each.is_symlink() for each in (path, *path.parents) if source in each.parents):
            raise InputError(f"{path}: a symbolic link; expected a file")
        if not path.is_file():
            raise InputError(f"{path}: listed in {NOTE} and not there")
        sha256 = sha256_of(path)
        if not isinstance(wanted, dict) or wanted.get("sha256") != sha256:
            raise InputError(f"{path}: its content is not what {NOTE} says: it hashes to {sha256}")
        found[name] = Object(sha256, path.stat().st_size)
    if not found:
        raise InputError(f"{source / NOTE}: lists no files")
    return found


def _known(database: Database, digests: list[str]) -> list[str]:
    """Ids of versions with this content; of several names the first one's."""
    query = sa.select(versions.VERSIONS.c.digest, versions.VERSIONS.c.id).where(versions.VERSIONS.c.digest.in_(digests))
    with database.begin() as connection:
        found = {row.digest: row.id for row in connection.execute(query.order_by(versions.VERSIONS.c.created.desc()))}
    return [found[digest] for digest in digests if digest in found]
