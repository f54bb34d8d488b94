"""The six row formats, how to tell them apart, and the way of each to the two that training reads.

    corpus         {"text"}                                   -> continual pretraining
    nlplog         {"instruction", "log", "output", "domain"} -> corpus (the log stands inside the instruction)
    alpaca         {"instruction", "input", "output"}         -> messages
    sharegpt       {"conversations": [{"from", "value"}]}     -> messages
    openai-chat    {"messages": [{"role", "content"}]}        -> messages
    sharegpt-dpo   {"conversations", "chosen", "rejected"}    -> messages of the chosen answer

Fields other than these, such as `meta`, are carried along by conversions.
"""

from collections.abc import Iterable
from typing import Any

from loglore.data.files import Row
from loglore.errors import InputError

Message = dict[str, str]

FIELDS = {
    "sharegpt-dpo": {"conversations", "chosen", "rejected"},
    "sharegpt": {"conversations"},
    "openai-chat": {"messages"},
    "nlplog": {"instruction", "log", "output", "domain"},
    "alpaca": {"instruction", "output"},
    "corpus": {"text"},
}
ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


def detect(row: Row) -> str:
    """The format of a row by its fields; the most specific one that fits.

    Raises:
        InputError: the fields fit none of the six.
    """
    for name, fields in FIELDS.items():
        if fields <= row.keys():
            return name
    known = "; ".join(f"{name}: {', '.join(sorted(fields))}" for name, fields in FIELDS.items())
    raise InputError(f"fields {sorted(row)} fit no format ({known})")


def to_corpus(row: Row) -> str:
    r"""The pretraining text of a corpus or nlplog row.

    >>> to_corpus({"instruction": "Explain: disk full", "log": "disk full", "output": "No space.", "domain": "db"})
    'Human: Explain: disk full\nAssistant: No space.\n'
    """
    kind = detect(row)
    if kind == "corpus":
        return _string(row, "text")
    if kind == "nlplog":
        return f"Human: {_string(row, 'instruction')}\nAssistant: {_string(row, 'output')}\n"
    raise InputError(f"a {kind} row is no pretraining text; expected corpus or nlplog")


def to_messages(row: Row) -> list[Message]:
    """The chat messages of an alpaca, sharegpt, sharegpt-dpo or openai-chat row.

    Returns `[{"role": "system"|"user"|"assistant", "content": str}, …]`: user first (after an optional system
    message), alternating, ending with the assistant.
    """
    kind = detect(row)
    if kind == "alpaca":
        question = "\n".join(part for part in (_string(row, "instruction"), str(row.get("input") or "")) if part)
        messages = [_message("human", question), _message("gpt", _string(row, "output"))]
    elif kind == "openai-chat":
        messages = [_message(turn.get("role"), turn.get("content")) for turn in _turns(row, "messages")]
    elif kind in ("sharegpt", "sharegpt-dpo"):
        messages = [_message(turn.get("from"), turn.get("value")) for turn in _turns(row, "conversations")]
        if kind == "sharegpt-dpo":
            messages.append(_message(row["chosen"].get("from"), row["chosen"].get("value")))
    else:
        raise InputError(f"a {kind} row has no chat messages; expected alpaca, sharegpt or openai-chat")
    _check_order(messages)
    return messages


def numbered(rows: Iterable[Row], path: object) -> Iterable[tuple[str, Row]]:
    """Pair each row with its place, `FILE: row N`, for error messages."""
    return ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))


def _string(row: Row, field: str) -> str:
    value = row[field]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"`{field}`: expected a text that is not empty, found {value!r}")
    return value


def _turns(row: Row, field: str) -> list[dict[str, Any]]:
    turns = row[field]
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise InputError(f"`{field}`: expected a list of turns, found {turns!r:.80}")
    return turns


def _message(role: Any, content: Any) -> Message:
    if role not in ROLES:
        raise InputError(f"unknown role {role!r}; expected one of {', '.join(ROLES)}")
    if not isinstance(content, str) or not content.strip():
        raise InputError(f"empty turn of role {role!r}")
    return {"role": ROLES[role], "content": content}


def _check_order(messages: list[Message]) -> None:
    turns = [message["role"] for message in messages]
    if turns[:1] == ["system"]:
        turns = turns[1:]
    expected = ["user", "assistant"] * (len(turns) // 2)
    if not turns or turns != expected:
        raise InputError(f"turns are {', '.join(turns) or 'missing'}; expected user and assistant in turn, user first")
