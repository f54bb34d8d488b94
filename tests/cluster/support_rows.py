"""Files of many kinds with rows of many kinds, good and bad, drawn by a seed."""

import csv
import gzip
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import polars as pl

WORDS = [f"word{number}" for number in range(200)]


class Rows:
    """Draws rows; some texts come again, some nearly."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.pool = [self.words(40) for _ in range(12)]

    def words(self, count: int) -> str:
        return " ".join(self.dice.choices(WORDS, k=count))

    def text(self) -> str:
        found = self.dice.choice(self.pool) if self.dice.random() < 0.25 else self.words(self.dice.randrange(2, 60))
        return found + self.dice.choice(["", "", "", " cafÃ©", " \x07", " again", " logs ログ"])

    def row(self) -> dict[str, Any]:
        said, number = self.text(), self.dice.randrange(50)
        meta = {"source": "app.log", "lines": [number, number + 2]}
        turns = [{"from": "human", "value": self.words(3)}, {"from": "gpt", "value": said}]
        kinds: list[dict[str, Any]] = [
            {"text": said},
            {"conversations": turns, "meta": meta},
            {"conversations": turns[::-1]},
            {"instruction": "Why?", "log": self.dice.choice(self.pool[:2]), "output": said, "domain": "d"},
            {"instruction": "Why?", "output": ""},
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": said}]},
            {"text": 7},
            {"images": ["x"], "conversations": turns},
        ]
        return self.dice.choice(kinds)

    def lines(self, count: int) -> bytes:
        odd = [b"", b"  ", b"{bad", b'{"text": "a", "text": "b"}', b"7", b'{"text": "\xff"}']
        return b"".join(
            (self.dice.choice(odd) if self.dice.random() < 0.08 else json.dumps(self.row()).encode()) + b"\n"
            for _ in range(count)
        )


def write_all(folder: Path, seed: int) -> None:
    """train.jsonl, test.jsonl, validation.json (an array), many/ (a folder), rows.csv, bundle.zip, cut.jsonl.gz."""
    rows = Rows(seed)
    (folder / "train.jsonl").write_bytes(rows.lines(120))
    (folder / "test.jsonl").write_bytes(rows.lines(40))
    (folder / "validation.json").write_text(json.dumps([rows.row() for _ in range(30)]))
    (folder / "many").mkdir()
    (folder / "many" / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + rows.lines(60))
    (folder / "many" / "b.jsonl.gz").write_bytes(gzip.compress(rows.lines(30)))
    (folder / "many" / "c.txt").write_text("\n\n".join(rows.text() for _ in range(20)))
    pl.DataFrame({"text": [rows.text() for _ in range(20)]}).write_parquet(folder / "many" / "d.parquet")
    (folder / "many" / "notes.md").write_text("no data")
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["instruction", "input", "output"])
        writer.writerows([rows.words(3), rows.dice.choice(["", "nan", "x"]), rows.text()] for _ in range(30))
        stream.write("one cell\n")
    with zipfile.ZipFile(folder / "bundle.zip", "w") as archive:
        archive.writestr("one.jsonl", rows.lines(20))
        archive.writestr("two.jsonl", rows.lines(20))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(rows.lines(300))[:-30])
