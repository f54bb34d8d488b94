"""Models that versions of LogLore before the database kept as plain folders: taken in when the hub is opened.

Such a folder, `<home>/models/<name>/<number>` with a `model.json` that has no `id`, becomes a version of the same name,
number and time. Interrupted, it goes on at the next opening; what is taken in already is found by its content.
"""

import datetime
import fcntl
import shutil
from pathlib import Path
from typing import Any

from loglore.hub import contents
from loglore.hub.place import NAME
from loglore.runs import files
from loglore.settings import load
from loglore.store import versions
from loglore.store.database import Database
from loglore.store.objects import Holder, holding
from loglore.store.storage import storage
from loglore.store.versions import NewVersion

CARD = contents.CARDS["model"]
DONE = ".in-database"


def take_in(database: Database) -> None:
    """Take in what older versions left; costs one look at a file once that is done."""
    home = load().home / "models"
    if (home / DONE).exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _folders(home)
        if found:
            with holding(database, storage()) as holder:
                for folder in found:
                    _take(holder, folder)
        versions.raise_numbers(database, "model", _used(home))
        (home / DONE).touch()


def _folders(home: Path) -> list[Path]:
    """Folders of the old hub that are not taken in, in the order in which they were made."""
    names = [each for each in sorted(home.iterdir()) if NAME.fullmatch(each.name) and each.is_dir()]
    numbered = [folder for name in names for folder in name.iterdir() if folder.name.isdigit()]
    numbered = [folder for folder in numbered if (folder / CARD).is_file()]
    cards = {folder: files.read_json(folder / CARD) for folder in numbered}
    return sorted((each for each in cards if "id" not in cards[each]), key=lambda each: str(cards[each]["created"]))


def _used(home: Path) -> dict[str, int]:
    """The highest number of each name that was deleted, as markers remember them."""
    highest: dict[str, int] = {}
    for path in home.glob("*/.used-*"):
        number = path.name.removeprefix(".used-")
        if number.isdigit() and NAME.fullmatch(path.parent.name):
            highest[path.parent.name] = max(highest.get(path.parent.name, 0), int(number))
    return highest


def _take(holder: Holder, folder: Path) -> None:
    card: dict[str, Any] = files.read_json(folder / CARD)
    manifest = contents.put(holder, contents.files_of(folder), True)
    readme = folder / "README.md"
    made = versions.add(
        holder.database,
        NewVersion(
            "model",
            folder.parent.name,
            contents.digest(manifest),
            manifest,
            {"lineage": card.get("lineage", {})},
            readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else "",
            created=datetime.datetime.fromisoformat(str(card["created"])).timestamp(),
            number=int(folder.name),
        ),
    )
    if made.number == int(folder.name):
        files.write_json(folder / CARD, contents.card_of(made))
    else:
        # The name has other content under this number, or this content under another: it is made there when needed.
        shutil.rmtree(folder)
