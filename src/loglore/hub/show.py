"""One version with everything that is known of it, as plain JSON values."""

from typing import Any

from loglore.hub import contents
from loglore.store import scores, uses, versions
from loglore.store.database import Database
from loglore.store.versions import Version


def version(database: Database, found: Version) -> dict[str, Any]:
    """A version's card with its tags, text, files, parents and children by name, scores, and who uses it."""
    parents = [versions.get(database, each) for each in found.parents]
    manifest = versions.manifest(database, found.id)
    return {
        **contents.card_of(found),
        "tags": list(found.tags),
        "card": found.card,
        "created_by": found.created_by,
        "parents": [_said(each) for each in parents],
        "children": [_said(each) for each in versions.children(database, found.id)],
        "used_by": uses.holders(database, version_id=found.id),
        "scores": [vars(each) for each in scores.scores(database, found.id)],
        "files": [{"path": path, "bytes": each.bytes, "sha256": each.sha256} for path, each in manifest.items()],
    }


def _said(found: Version) -> dict[str, Any]:
    return {"id": found.id, "kind": found.kind, "version": found.reference}
