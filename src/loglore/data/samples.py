"""Rows to rendered samples, streamed: batches small enough for memory, large enough for all cores.

A batch of a million characters keeps the tokenizer's own objects (about 200 bytes a token) near 80 MB. Batches are
tokenized on two threads ahead of the reader: the tokenizer works outside Python's lock, so that its cores are not idle
while rows are parsed and ids become arrays (a fifth of the time otherwise).
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from loglore.data.files import Row
from loglore.data.formats import RowError, detect, to_corpus, to_messages
from loglore.data.long_rows import Limit, fit
from loglore.data.render import Conversation, Marked, Rendered, Renderer
from loglore.errors import InputError

Stage = Literal["cpt", "sft"]
PlacedRows = Iterable[tuple[object, Row]]  # where a row stands (`FILE: row N` as text), and the row

BATCH_CHARACTERS = 1_000_000
BATCH_ROWS = 2_000
AHEAD = 2  # batches in work while one is read

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def render_rows(
    rows: PlacedRows, stage: Stage, renderer: Renderer, limit: Limit | None = None
) -> Iterator[list[Rendered]]:
    """Render rows in batches, in their order, every row once.

    Args:
        rows: place and row.
        stage: `cpt` (corpus and nlplog rows) or `sft` (chat rows).
        renderer: of the model's tokenizer.
        limit: for chat rows that are too long; None leaves them as they are.

    Raises:
        InputError: a damaged row, or one that cannot be rendered; names file and row.
    """
    if stage == "cpt":
        texts = _batches(_converted(rows, to_corpus), len)
        for _, samples in _ahead(texts, lambda batch: renderer.texts([text for _, text in batch])):
            yield samples
        return
    _ = renderer.method  # a template that cannot work is refused before any row is read
    conversations = _batches(_converted(rows, conversation_of), _characters)
    marked = ((batch, [_marked(renderer, *row) for row in batch]) for batch in conversations)
    for (batch, _), samples in _ahead(marked, lambda pair: renderer.encode(pair[1])):
        yield fit(batch, samples, limit, renderer) if limit else samples


def cut(rows: PlacedRows, stage: Stage) -> Iterator[list[tuple[str, Row]]]:
    """Rows in the batches in which `render_rows` works on them: whoever renders each alone gets the same.

    Raises:
        InputError: a damaged row; names file and row.
    """
    if stage == "cpt":
        sized = _converted(rows, lambda row: (row, len(to_corpus(row))))
    else:
        sized = _converted(rows, lambda row: (row, _characters(conversation_of(row))))
    for batch in _batches(sized, lambda pair: pair[1]):
        yield [(place, row) for place, (row, _) in batch]


def _marked(renderer: Renderer, place: str, row: Conversation) -> Marked:
    try:
        return renderer.mark(row.turns, row.tools)
    except InputError as fault:
        raise InputError(f"{place}: {fault}") from None


def _ahead(items: Iterable[_Item], work: Callable[[_Item], _Result]) -> Iterator[tuple[_Item, _Result]]:
    """Items and what `work` makes of them, in order; some are worked on before they are asked for."""
    with ThreadPoolExecutor(AHEAD) as pool:
        running: deque[tuple[_Item, Future[_Result]]] = deque()
        for item in items:
            running.append((item, pool.submit(work, item)))
            if len(running) > AHEAD:
                done, result = running.popleft()
                yield done, result.result()
        for done, result in running:
            yield done, result.result()


def stage_of(rows: PlacedRows, name: str) -> Stage:
    """The stage that trains on such rows, by the first one: `cpt` for corpus and nlplog, `sft` for conversations.

    Raises:
        InputError: no rows, or fields that fit no format; `name` is the file's.
    """
    for place, row in rows:
        try:
            return "cpt" if detect(row) in ("corpus", "nlplog") else "sft"
        except InputError as fault:
            raise InputError(f"{place}: {fault}") from None
    raise InputError(f"{name}: no rows")


def conversation_of(row: Row) -> Conversation:
    """The messages of a chat row and its `tools`, a list of JSON schemas or (as ShareGPT files have it) their text.

    Raises:
        RowError: damaged messages or tools.
    """
    tools: Any = row.get("tools") or None
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError) as fault:
            raise RowError(f"not JSON: {fault}", "bad-json", "tools") from None
    if tools is not None and not (isinstance(tools, list) and all(map(_is_tool, tools))):
        raise RowError(f"expected a list of JSON schemas with a name, found {tools!r:.60}", "wrong-type", "tools")
    return Conversation(to_messages(row), tools)


def _is_tool(tool: Any) -> bool:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _converted(rows: PlacedRows, convert: Callable[[Row], _Item]) -> Iterator[tuple[str, _Item]]:
    for place, row in rows:
        try:
            yield str(place), convert(row)
        except InputError as fault:
            raise InputError(f"{place}: {fault}") from None


def _batches(items: Iterable[tuple[str, _Item]], size: Callable[[_Item], int]) -> Iterator[list[tuple[str, _Item]]]:
    batch: list[tuple[str, _Item]] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item[1])
        if total >= BATCH_CHARACTERS or len(batch) >= BATCH_ROWS:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _characters(row: Conversation) -> int:
    return sum(len(str(turn.get("content") or "")) for turn in row.turns)
