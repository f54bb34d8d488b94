"""Growing logs: what came since the last look, and the built-in analyst's verdict on it.

A cursor is (bytes, lines) of each file that were seen: a look costs what is new, whatever the size of the log. A last
line without its end waits for the next look. A file that became shorter was rotated, and is read from its start.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.api.log_facts import cut
from loglore.api.reading import names
from loglore.errors import InputError

if TYPE_CHECKING:
    import polars as pl

RECENT = 12
# Of what is new, the last so many bytes are looked at; the lines before are counted.
MOST_BYTES = 256 << 10
# A verdict on more lines than these would take more than a moment.
MOST_LINES = 400
BLOCK = 1 << 20
BAD = ("fatal", "error")
Cursor = Sequence[tuple[int, int]]


def follow(paths: Sequence[Path], cursor: Cursor | None, language: str = "en") -> dict[str, Any]:
    """The newest lines and what is new in them.

    Args:
        paths: the files, in the order of the cursor.
        cursor: as the answer before gave it; None looks at the end of what is there.
        language: of the verdict, `en` or `ja`.

    Raises:
        InputError: a compressed file, one that cannot be read, a cursor of other files.
    """
    from loglore.logs import reader

    if cursor is not None and len(cursor) != len(paths):
        raise InputError(f"cursor: it has {len(cursor)} files, {len(paths)} are followed")
    recent: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    alerts, after, rotated, fresh = [], [], [], 0
    for number, (path, name) in enumerate(names(paths).items()):
        if path.suffix in reader.COMPRESSED:
            raise InputError(f"{name}: a compressed file does not grow; choose one that is plain text to follow it")
        seen = cursor[number] if cursor is not None else None
        end, count, new, was_rotated = _look(path, seen)
        after.append([end, count])
        rotated += [name] if was_rotated else []
        fresh += len(new) if seen is not None else 0
        if not new:
            continue
        table = reader.table_of(new, name)
        first = count - len(new)
        recent += _rows(table.tail(RECENT), first)
        bad += _rows(table.filter(table["level"].is_in(BAD)).tail(RECENT), first)
        if verdict := _verdict(table.tail(MOST_LINES), name, first, language):
            alerts.append(verdict)
    return {
        "object": "studio.follow",
        "cursor": after,
        "lines": sum(count for _, count in after),
        "new": fresh,
        "recent": recent[-RECENT:],
        "bad": bad[-RECENT:],
        "alerts": alerts,
        "rotated": rotated,
    }


def _look(path: Path, seen: tuple[int, int] | None) -> tuple[int, int, list[str], bool]:
    """Bytes and lines that are now seen, the new whole lines (at most `MOST_BYTES` of them), whether it was rotated."""
    from loglore.logs import reader

    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            rotated = seen is not None and seen[0] > size
            offset, count = (0, 0) if seen is None or rotated else seen
            stream.seek(offset)
            tail = max(offset, size - MOST_BYTES)
            position = offset
            last_end = offset
            content = b""
            while position < size and (block := stream.read(min(BLOCK, size - position))):
                count += block.count(b"\n")
                end = block.rfind(b"\n") + 1
                last_end = position + end if end else last_end
                position += len(block)
                content = (content + block)[-(size - tail) :]
    except OSError as fault:
        raise InputError(f"{path.name}: {fault.strerror or fault}") from None
    held = content[: len(content) - (position - last_end)]
    if tail > offset:
        # What the cut fell into is no whole line.
        held = held[held.find(b"\n") + 1 :]
    return last_end, count, reader.split_lines(held), rotated


def _rows(table: "pl.DataFrame", first: int) -> list[dict[str, Any]]:
    return [
        {"source": source, "line": line + first, "level": level, "text": cut(text)}
        for source, line, level, text in table.select("source", "line", "level", "text").iter_rows()
    ]


def _verdict(new: "pl.DataFrame", name: str, first: int, language: str) -> dict[str, Any] | None:
    """What the analyst says of new lines: a risk score, whether to alert, the lines it rests on, a summary."""
    from loglore.logs import templates
    from loglore.synth import analyst
    from loglore.synth.analyst.facts import facts_of

    mined = templates.mine(new.with_columns(line=new["line"] + first, event=new["event"] + first))
    found = facts_of(mined.table, {one.key: one.text for one in mined.templates}, prefixed=True)
    if not found.spoken:
        return None
    ((_, answer),) = analyst.converse("alert", found, 1, language=language)
    said = json.loads(answer)
    wanted = {*said["messages"]["critical"], *said["messages"]["warning"]}
    rows = mined.table.filter(mined.table["line"].is_in(list(wanted)))
    return {**said, "source": name, "first": int(new["line"][0]) + first, "lines": new.height, "cited": _rows(rows, 0)}
