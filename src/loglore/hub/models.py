"""Models: named versions of Hugging Face folders, PEFT adapters and GGUF files.

Functions open the settings' database where none is given. Files are hard-linked where the file system allows, so adding
a model costs no disk space; a linked file must therefore never be edited in place, which atomic writes (write beside,
rename) never do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore.errors import InputError
from loglore.hub import adopt, contents
from loglore.hub import lineage as lineages
from loglore.hub.place import NAME as NAME
from loglore.hub.place import check_name, check_tag, opened
from loglore.models.job import EMBEDDED, embedded_gguf
from loglore.models.load import from_hugging_face
from loglore.store import sessions
from loglore.store import versions as rows
from loglore.store.database import Database
from loglore.store.objects import holding
from loglore.store.storage import storage
from loglore.store.versions import NewVersion, Version

LONGEST_CARD = 1 << 20


@dataclass(frozen=True)
class ModelVersion:
    """One version of a named model.

    Attributes:
        row: what the database says about it.
        path: folder of its files on this machine; with a storage on S3 it is there once `resolve` was called.
    """

    row: Version
    path: Path

    @property
    def name(self) -> str:
        """The model's name."""
        return self.row.name

    @property
    def version(self) -> int:
        """Its number, from 1."""
        return self.row.number

    @property
    def card(self) -> Mapping[str, Any]:
        """Content of `model.json` (`id`, `name`, `version`, `created`, `sha256`, `bytes`, `parents`, `lineage`)."""
        return contents.card_of(self.row)


def add(
    name: str,
    source: Path,
    lineage: Mapping[str, Any],
    database: Database | None = None,
    *,
    parents: Sequence[str] | None = None,
    licence: str = "",
    card: str | None = None,
    by: str | None = None,
) -> ModelVersion:
    """Add the model in `source` as the next version of `name`; the same content again gives the version it has.

    Args:
        name: lower-case letters, digits, `.`, `_`, `-`; at most 64.
        source: Hugging Face folder, PEFT adapter folder or GGUF file.
        lineage: where it comes from, as facts (base, data, hyperparameters, run…).
        database: where the hub is; default the settings'.
        parents: ids of the versions it was made from, or `model:NAME@N`, `dataset:NAME@N`; default: those that
            `lineage` names and the hub has.
        licence: its terms, as people name them.
        card: a text about it; default the folder's README.md.
        by: id of the key that adds it.

    Raises:
        InputError: an impossible name, no such parent, or nothing that is a model in `source`.
        DiskFullError: no room for it; nothing was added.
    """
    check_name("model", name)
    check_is_model(source)
    with opened(database) as hub:
        adopt.take_in(hub)
        place = storage()
        with holding(hub, place) as holder:
            manifest = contents.put(holder, contents.files_of(source), True)
            new = NewVersion(
                "model",
                name,
                contents.digest(manifest),
                manifest,
                {"lineage": dict(lineage), **({"licence": licence} if licence else {})},
                _readme(source) if card is None else card,
                created_by=by,
                parents=lineages.parents(hub, lineage) if parents is None else contents.ids(hub, parents),
            )
            made = rows.add(hub, new)
        return ModelVersion(made, contents.materialise(hub, made, place))


def versions(name: str, database: Database | None = None) -> list[ModelVersion]:
    """All versions of `name`, oldest first; empty when there are none."""
    return _versions(name, database) if NAME.fullmatch(name) else []


def models(database: Database | None = None) -> list[ModelVersion]:
    """All versions of all models, by name, oldest first."""
    return _versions(None, database)


def find(reference: str, database: Database | None = None) -> ModelVersion:
    """The version that `name` (its latest), `name@version` or `name@tag` stands for.

    Raises:
        InputError: no such model or version.
    """
    with opened(database) as hub:
        adopt.take_in(hub)
        return _model(_find(hub, reference))


def resolve(reference: str, database: Database | None = None) -> Path:
    """The folder or GGUF file that a user's MODEL stands for: a path, `name`, `name@version` or the embedded model.

    Raises:
        InputError: it is none of these.
        JobError: its files cannot be brought here.
    """
    path = Path(reference).expanduser()
    if path.exists():
        check_is_model(path)
        return path
    with opened(database) as hub:
        adopt.take_in(hub)
        if reference == EMBEDDED and not rows.versions(hub, "model", EMBEDDED):
            return embedded_gguf()
        return contents.materialise(hub, _find(hub, reference))


def newest(database: Database | None = None) -> str:
    """What a chat uses when no model is named: the version added last, or the embedded model while there is none."""
    with opened(database) as hub:
        adopt.take_in(hub)
        known = rows.newest(hub, "model")
    return EMBEDDED if known is None else known.reference


def delete(reference: str, database: Database | None = None) -> ModelVersion:
    """Remove one version (`name@version`, or the latest of `name`) from the hub; its number is not given again.

    Its objects go with the next `hub.collect`, where nothing else refers to them.

    Raises:
        InputError: no such model or version, or something depends on it: a version made from it, a job, a session.
    """
    with opened(database) as hub:
        adopt.take_in(hub)
        version = _find(hub, reference)
        if session := _served_by(hub, version):
            raise InputError(f"model {version.reference}: not deleted, session {session} serves it")
        rows.remove(hub, version)
        contents.discard(version)
        return _model(version)


def download(reference: str, database: Database | None = None) -> Path:
    """Bring a model's files to this machine: of the hub, or `org/name` of Hugging Face's, which then joins the hub.

    Raises:
        InputError: there is no such model.
        JobError: its files cannot be brought here.
    """
    organisation, slash, name = reference.partition("/")
    if not slash:
        return resolve(reference, database)
    source = from_hugging_face(reference)
    added = add(name.lower(), source, {"base": reference, "origin": organisation}, database)
    return added.path


def tag(reference: str, name: str, database: Database | None = None) -> ModelVersion:
    """Let a tag point at a version, wherever it pointed before.

    Raises:
        InputError: no such version, or an impossible tag.
    """
    check_tag(name)
    with opened(database) as hub:
        adopt.take_in(hub)
        return _model(rows.tag(hub, _find(hub, reference), name))


def untag(reference: str, name: str, database: Database | None = None) -> ModelVersion:
    """Remove a tag from the version it points at.

    Raises:
        InputError: no such version, or it has no such tag.
    """
    with opened(database) as hub:
        adopt.take_in(hub)
        return _model(rows.take_off(hub, _find(hub, reference), name))


def check_is_model(path: Path) -> None:
    """Refuse what no engine and no training could load.

    Raises:
        InputError: neither a GGUF file nor a folder with a model or an adapter.
    """
    is_gguf = path.is_file() and path.suffix == ".gguf"
    is_adapter = (path / "adapter_config.json").is_file()
    is_folder = (path / "config.json").is_file() or (path.is_dir() and any(path.glob("*.gguf")))
    if not (is_gguf or is_folder or is_adapter):
        raise InputError(f"{path}: expected a .gguf file or a folder with config.json")


def _served_by(hub: Database, version: Version) -> str | None:
    """The id of a running session of this machine that answers to a name of this version."""
    names = {version.reference, *(f"{version.name}@{tag}" for tag in version.tags)}
    if rows.versions(hub, "model", version.name)[-1] == version:
        names.add(version.name)
    return next((each.id for each in sessions.sessions(hub) if names & set(each.models) and each.lives()), None)


def _find(hub: Database, reference: str) -> Version:
    try:
        return rows.find(hub, "model", reference)
    except InputError as fault:
        if rows.versions(hub, "model", reference.partition("@")[0]):
            raise
        raise InputError(f"{fault}, and no such path") from None


def _versions(name: str | None, database: Database | None) -> list[ModelVersion]:
    with opened(database) as hub:
        adopt.take_in(hub)
        return [_model(version) for version in rows.versions(hub, "model", name)]


def _model(version: Version) -> ModelVersion:
    return ModelVersion(version, contents.folder_of(version))


def _readme(source: Path) -> str:
    path = source / "README.md"
    return path.read_bytes()[:LONGEST_CARD].decode("utf-8", "replace") if path.is_file() else ""
