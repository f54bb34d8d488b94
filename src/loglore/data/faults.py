"""What is wrong with a row, and what to do about it: stop at once, or leave the row out and say so.

Readers of rows report through `Fault`. A verb that may go on (`--on-error skip`) collects faults in a `Skipped`, which
counts all of them and writes each to a side file: no row disappears without a line.
"""

import contextlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self

from loglore.atomic import replacing
from loglore.errors import InputError

OnError = Literal["fail", "skip"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `file` as shown to the user, `row` (1-based; the line in JSON Lines), `kind`, `message`, `field`.

    kind: a short name that faults are counted by, such as `bad-json`, `empty`, `turn-order`.
    """

    file: str
    row: int
    kind: str
    message: str
    field: str = ""

    def __str__(self) -> str:
        where = f"`{self.field}`: " if self.field else ""
        return f"{self.file}: row {self.row}: {where}{self.message}"

    def error(self) -> InputError:
        """The same as an error."""
        return InputError(str(self))


@dataclass
class Skipped:
    """Faulty rows under a policy: `fail` raises the first, `skip` counts each and lists it in a side file.

    Use as a context manager. The side file is JSON Lines of `Fault`, appears when the block ends well, and only when
    there is something to list; an older one is removed then, so that it never speaks of another run.

    places: file and row of each fault that was skipped.
    """

    policy: OnError = "fail"
    side_file: Path | None = None
    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    places: set[tuple[str, int]] = field(default_factory=set)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _stream: IO[str] | None = None

    def __call__(self, fault: Fault) -> None:
        """Raise the fault (`fail`) or list it (`skip`)."""
        if self.policy == "fail":
            raise fault.error()
        self.count += 1
        self.kinds[fault.kind] += 1
        self.places.add((fault.file, fault.row))
        if self.side_file is None:
            return
        if self._stream is None:
            partial = self._stack.enter_context(replacing(self.side_file))
            self._stream = self._stack.enter_context(partial.open("w", encoding="utf-8"))
        self._stream.write(json.dumps(asdict(fault), ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._stream is None and self.side_file is not None and error[0] is None:
            self.side_file.unlink(missing_ok=True)
        self._stack.__exit__(*error)

    def sentence(self) -> str:
        """One line for the user; empty when nothing was skipped."""
        if not self.count:
            return ""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.most_common())
        listed = f"; listed in {self.side_file}" if self.side_file else ""
        return f"{self.count:,} {'row' if self.count == 1 else 'rows'} skipped ({kinds}){listed}"
