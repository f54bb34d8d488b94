"""Names from a request to paths below a root, and never beside it.

Each part of a name must be the name of an entry of the folder reached so far. `..`, absolute paths, drive letters, NUL
bytes and encodings of them are no entry of any folder, so there is nothing to clean; links are followed only while they
stay below the root. It costs a folder listing per part.
"""

from pathlib import Path


def below(root: Path, name: str) -> Path | None:
    """The file or folder called `name` (parts separated by `/`) below `root`; None when there is none, or it is hidden.

    >>> below(Path("/"), "etc/../etc") is None
    True
    """
    if not root.is_dir():
        return None
    found = root
    for part in name.split("/"):
        if part.startswith(".") or not found.is_dir() or part not in {entry.name for entry in found.iterdir()}:
            return None
        found /= part
    return found if found.resolve().is_relative_to(root.resolve()) else None


def visible(folder: Path) -> list[Path]:
    """Entries of a folder that are not hidden, by name; none when there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
