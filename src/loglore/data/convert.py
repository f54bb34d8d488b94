r"""Rows from one format to another, and back to the same row.

Every chat format goes through one shape: messages plus the fields that are carried along. What a target has no place
for is kept, so that the way back finds it: the length of alpaca's instruction in `meta.alpaca`, an nlplog row's `log`
and `domain` in `meta.nlplog`, a preference row's `rejected` in a field. Where a conversion would lose something it is
refused with the reason.

    alpaca <-> sharegpt <-> openai-chat <-> sharegpt-dpo (with `rejected`) <-> nlplog (with `meta.nlplog`) <-> corpus

Not restored, because both spellings mean the same: `user` for `human`, `assistant` for `gpt`, `observation` for `tool`,
alpaca without `input` for an empty one, a sharegpt `system` field for a system turn.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from loglore.data.faults import Fault
from loglore.data.files import placed_rows
from loglore.data.formats import FIELDS, Format, Message, RowError, check_order, detect, to_corpus, to_messages
from loglore.data.json_rows import Row
from loglore.data.sources import Listing

SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}
_READ: dict[Format, set[str]] = {
    "alpaca": {"instruction", "input", "output", "system", "history"},
    "nlplog": {"instruction", "log", "output", "domain"},
    "sharegpt": {"conversations", "system"},
    "sharegpt-dpo": {"conversations", "chosen", "system"},
    "openai-chat": {"messages"},
}


def convert(row: Row, target: Format) -> Row:
    r"""The same row in another format; fields that the target does not know are carried along.

    Raises:
        RowError: the row is faulty, or the target cannot hold it without loss; says why.

    >>> convert({"instruction": "Why?", "input": "disk full", "output": "No space."}, "sharegpt")["conversations"]
    [{'from': 'human', 'value': 'Why?\ndisk full'}, {'from': 'gpt', 'value': 'No space.'}]
    """
    source = detect(row)
    if source == target:
        to_corpus(row) if target == "corpus" else to_messages(row)
        return row
    if target == "corpus":
        if source != "nlplog":
            raise RowError(f"{source} rows are no pretraining text; only nlplog becomes corpus", "no-conversion")
        _, rest = _read(row, source)
        _no_clash(rest, target)
        return {"text": to_corpus(row), **rest}
    messages, rest = _from_corpus(row) if source == "corpus" else _read(row, source)
    return _WRITE[target](messages, rest)


def _rest(row: Row, known: set[str]) -> Row:
    return {name: value for name, value in row.items() if name not in known}


def _from_corpus(row: Row) -> tuple[list[Message], Row]:
    text = to_corpus(row)
    question, _, answer = text.partition("\nAssistant: ")
    if not (question.startswith("Human: ") and answer.endswith("\n")) or "\nAssistant: " in answer:
        raise RowError("expected `Human: …`, one `Assistant: …` and a line end", "no-conversion", "text")
    texts = {"user": question.removeprefix("Human: "), "assistant": answer[:-1]}
    return [{"role": role, "content": content} for role, content in texts.items()], _rest(row, {"text"})


def _read(row: Row, source: Format) -> tuple[list[Message], Row]:
    messages = to_messages(row)
    rest = _rest(row, _READ[source])
    if source == "alpaca" and row.get("input"):
        rest["meta"] = _noted(rest, "alpaca", {"instruction_length": len(row["instruction"])})
    elif source == "nlplog":
        rest["meta"] = _noted(rest, "nlplog", {"log": row["log"], "domain": row["domain"]})
    elif source == "sharegpt-dpo":
        rest["rejected"] = {"role": "assistant", **_turn_to_message(row["rejected"])}
    elif source == "sharegpt" and isinstance(rest.get("rejected"), dict):
        rest["rejected"] = {"role": "assistant", **_turn_to_message(rest["rejected"])}
    return messages, rest


def _noted(rest: Row, name: str, note: dict[str, Any]) -> dict[str, Any]:
    meta = rest.get("meta", {})
    if not isinstance(meta, dict) or name in meta:
        raise RowError(f"expected an object without the key `{name}`, found {meta!r:.60}", "wrong-type", "meta")
    return {**meta, name: note}


def _take_note(rest: Row, name: str) -> dict[str, Any]:
    """Take what `_noted` left in `meta` out of the carried fields; empty when there is nothing."""
    meta = rest.get("meta")
    note = meta.get(name) if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(note, dict):
        return {}
    left = _rest(meta, {name})
    if left:
        rest["meta"] = left
    else:
        del rest["meta"]
    return note


def _turn_to_message(turn: dict[str, Any]) -> Message:
    if "value" not in turn:
        return turn
    return {"content": turn["value"], **_rest(turn, {"from", "value", "role"})}


def _turn(message: Message) -> dict[str, Any]:
    known = {"role", "content"}
    return {"from": SHAREGPT_ROLES[message["role"]], "value": message["content"], **_rest(message, known)}


def _to_openai(messages: list[Message], rest: Row) -> Row:
    _no_clash(rest, "openai-chat")
    return {"messages": messages, **rest}


def _to_sharegpt(messages: list[Message], rest: Row) -> Row:
    _no_clash(rest, "sharegpt")
    if isinstance(rest.get("rejected"), dict):
        rest["rejected"] = _turn(rest["rejected"])
    return {"conversations": [_turn(message) for message in messages], **rest}


def _to_dpo(messages: list[Message], rest: Row) -> Row:
    if not isinstance(rest.get("rejected"), dict):
        raise RowError("no rejected answer: only a row that carries `rejected` becomes sharegpt-dpo", "no-conversion")
    row = _to_sharegpt(messages[:-1], rest)
    return {"conversations": row["conversations"], "chosen": _turn(messages[-1]), **_rest(row, {"conversations"})}


def _to_alpaca(messages: list[Message], rest: Row) -> Row:
    _no_clash(rest, "alpaca")
    _only_text(messages, "alpaca")
    row: Row = {}
    turns = messages
    if turns[0]["role"] == "system":
        row["system"], turns = turns[0]["content"], turns[1:]
    texts = [message["content"] for message in turns]
    if len(texts) > 2:
        row["history"] = [texts[number : number + 2] for number in range(0, len(texts) - 2, 2)]
    question = texts[-2]
    length = _take_note(rest, "alpaca").get("instruction_length", len(question))
    if length < len(question) and question[length] != "\n":
        raise RowError("the question was changed since it was alpaca: remove `meta.alpaca`", "no-conversion", "meta")
    parts = {"instruction": question[:length], "input": question[length + 1 :], "output": texts[-1]}
    return {**parts, **row, **rest}


def _to_nlplog(messages: list[Message], rest: Row) -> Row:
    note = _take_note(rest, "nlplog")
    if not {"log", "domain"} <= note.keys():
        raise RowError("nlplog needs `log` and `domain`: only a row with `meta.nlplog` becomes nlplog", "no-conversion")
    _no_clash(rest, "nlplog")
    _only_text(messages, "nlplog")
    if [message["role"] for message in messages] != ["user", "assistant"]:
        raise RowError("nlplog is one question and one answer; this row has more turns", "no-conversion")
    question, answer = (message["content"] for message in messages)
    return {"instruction": question, "log": note["log"], "output": answer, "domain": note["domain"], **rest}


def _only_text(messages: list[Message], target: str) -> None:
    for message in messages:
        extra = sorted(message.keys() - {"role", "content"})
        if extra or message["role"] == "tool":
            raise RowError(f"{target} has no place for {', '.join(extra) or 'a tool turn'} of a turn", "no-conversion")
    check_order(messages)


def _no_clash(rest: Row, target: Format) -> None:
    taken = rest.keys() & (_READ.get(target, set()) | FIELDS[target])
    if taken:
        raise RowError(f"this row already has a field of that name, which {target} uses", "no-conversion", min(taken))


_WRITE = {
    "alpaca": _to_alpaca,
    "sharegpt": _to_sharegpt,
    "sharegpt-dpo": _to_dpo,
    "openai-chat": _to_openai,
    "nlplog": _to_nlplog,
}


def rows(
    path: Path | str | Listing,
    target: Format | None,
    on_fault: Callable[[Fault], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
    formats: Counter[str] | None = None,
) -> Iterator[Row]:
    """Every row of a path in a format; None keeps each as it is, for a change of the kind of file.

    Args:
        path: what `files.placed_rows` reads.
        target: format of all rows.
        on_fault: told of each row that is faulty or has no conversion, which is then left out; None raises the first.
        on_bytes: told how many stored bytes were read since the last call.
        formats: counts the rows that were converted by the format they were in.
    """
    for place, row in placed_rows(path, on_fault, on_bytes):
        if target is None:
            yield row
            continue
        try:
            converted = convert(row, target)
        except RowError as problem:
            fault = Fault(place.file, place.row, problem.kind, problem.message, problem.field)
            if on_fault is None:
                raise fault.error() from None
            on_fault(fault)
            continue
        if formats is not None:
            formats[detect(row)] += 1
        yield converted
