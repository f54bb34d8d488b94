"""Which versions something was made from: found by what a training run wrote down about its inputs.

A run's lineage names its base and its datasets by path and by hash of their content. A path may be the folder of a
version (its card has the id); a hash may be the content of one. What neither finds was not in the hub.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from loglore.hub import contents
from loglore.store.database import Database
from loglore.store.versions import FILES, VERSIONS, Kind


def parents(database: Database, lineage: Mapping[str, Any]) -> list[str]:
    """Ids of the versions that `lineage` (as of `train.card.lineage`) says something was made from."""
    inputs: list[tuple[Kind, Any]] = [("model", lineage.get("base"))]
    datasets = lineage.get("datasets")
    if isinstance(datasets, Mapping):
        inputs += [("dataset", each) for each in datasets.values()]
    found = [_version(database, kind, each) for kind, each in inputs if isinstance(each, Mapping)]
    return list(dict.fromkeys(each for each in found if each is not None))


def _version(database: Database, kind: Kind, said: Mapping[str, Any]) -> str | None:
    sha256 = str(said.get("sha256", ""))
    # One file is known by its own hash, a folder by that of its manifest; of several names the one added last.
    as_file = sa.select(FILES.c.version_id).group_by(FILES.c.version_id).having(sa.func.count() == 1)
    one_file = sa.select(FILES.c.version_id).where(FILES.c.sha256 == sha256, FILES.c.version_id.in_(as_file))
    same = sa.or_(
        VERSIONS.c.id == _id_in_card(kind, str(said.get("path", ""))),
        VERSIONS.c.digest == sha256,
        VERSIONS.c.id.in_(one_file),
    )
    query = sa.select(VERSIONS.c.id).where(VERSIONS.c.kind == kind, same).order_by(VERSIONS.c.created.desc()).limit(1)
    with database.begin() as connection:
        found = connection.execute(query).scalar()
    return None if found is None else str(found)


def _id_in_card(kind: Kind, path: str) -> str:
    place = Path(path)
    return contents.id_in(place if place.is_dir() else place.parent, kind) or ""
