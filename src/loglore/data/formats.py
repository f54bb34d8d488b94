r"""The six row formats, how to tell them apart, and the way of each to the two that training reads.

    corpus         {"text"}                                    -> continual pretraining
    nlplog         {"instruction", "log", "output", "domain"}  -> corpus (the log is inside the instruction), messages
    alpaca         {"instruction", "input", "output"}          -> messages; `system` and `history` are read, too
    sharegpt       {"conversations": [{"from", "value"}]}      -> messages; `system` (a field) is read, too
    openai-chat    {"messages": [{"role", "content"}]}         -> messages
    sharegpt-dpo   {"conversations", "chosen", "rejected"}     -> messages of the chosen answer

Fields other than these, such as `meta`, are carried along by conversions (`convert`). A row with images is refused by
name: ShareGPT_Image is for models that see.
"""

import json
from collections.abc import Iterable
from typing import Any, Literal

from loglore.data.json_rows import Row
from loglore.errors import InputError

Message = dict[str, Any]
Format = Literal["corpus", "alpaca", "sharegpt", "sharegpt-dpo", "nlplog", "openai-chat"]

FIELDS: dict[Format, set[str]] = {
    "sharegpt-dpo": {"conversations", "chosen", "rejected"},
    "sharegpt": {"conversations"},
    "openai-chat": {"messages"},
    "nlplog": {"instruction", "log", "output", "domain"},
    "alpaca": {"instruction", "output"},
    "corpus": {"text"},
}
# The names that ShareGPT files and LLaMA-Factory's documentation use, and OpenAI's.
ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "observation": "tool",
}
IMAGES = ("image", "images")


class RowError(InputError):
    """A row that is not as its format wants it: `kind` of fault and `field` for reports."""

    def __init__(self, message: str, kind: str, field: str = "") -> None:
        super().__init__(f"`{field}`: {message}" if field else message)
        self.message = message
        self.kind = kind
        self.field = field


def detect(row: Row) -> Format:
    """The format of a row by its fields; the most specific one that fits.

    Raises:
        RowError: the fields fit none of the six, or the row is for models that see images.
    """
    for name in IMAGES:
        if row.get(name):
            raise RowError("a ShareGPT_Image row; LogLore trains on text only", "image", name)
    for kind, fields in FIELDS.items():
        if fields <= row.keys():
            return kind
    known = "; ".join(f"{name}: {', '.join(sorted(fields))}" for name, fields in FIELDS.items())
    raise RowError(f"fields {sorted(row)} fit no format ({known})", "unknown-format")


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
    raise RowError(f"{kind} rows are no pretraining text; expected corpus or nlplog", "unknown-format")


def to_messages(row: Row) -> list[Message]:
    """The chat messages of an alpaca, nlplog, sharegpt, sharegpt-dpo or openai-chat row.

    Returns `[{"role": "system"|"user"|"assistant"|"tool", "content": str}, …]`: user first (after an optional system
    message), then assistant and user in turn, ending with the assistant (an answer or a call). Between an assistant's
    `tool_calls` and its answer stand tool messages. Fields of a message other than role and content (`tool_calls`,
    `tool_call_id`) are kept.

    Raises:
        RowError: a wrong type, an empty turn, an unknown role or a wrong order; names the field.
    """
    kind = detect(row)
    if kind in ("alpaca", "nlplog"):
        messages = _of_alpaca(row)
    elif kind == "openai-chat":
        messages = [_message(turn, "role", "content", "messages", n) for n, turn in _turns(row, "messages")]
    elif kind in ("sharegpt", "sharegpt-dpo"):
        messages = _of_sharegpt(row)
        if kind == "sharegpt-dpo":
            messages.append(_answer(row, "chosen"))
            _answer(row, "rejected")
    else:
        raise RowError(f"{kind} rows have no chat messages; expected alpaca, sharegpt or openai-chat", "unknown-format")
    check_order(messages)
    return messages


def numbered(rows: Iterable[Row], path: object) -> Iterable[tuple[str, Row]]:
    """Pair each row with its place, `FILE: row N`, for error messages."""
    return ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))


def _of_alpaca(row: Row) -> list[Message]:
    messages = _system(row)
    for pair in row.get("history") or []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise RowError(f"expected pairs of question and answer, found {pair!r:.60}", "wrong-type", "history")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    if not isinstance(row.get("input") or "", str):
        raise RowError(f"expected text, found {row['input']!r:.60}", "wrong-type", "input")
    question = "\n".join(part for part in (_string(row, "instruction"), row.get("input")) if part)
    return [*messages, {"role": "user", "content": question}, {"role": "assistant", "content": _string(row, "output")}]


def _of_sharegpt(row: Row) -> list[Message]:
    return _system(row) + [
        _message(turn, "from", "value", "conversations", n) for n, turn in _turns(row, "conversations")
    ]


def _system(row: Row) -> list[Message]:
    return [{"role": "system", "content": _string(row, "system")}] if row.get("system") else []


def _answer(row: Row, field: str) -> Message:
    if not isinstance(row[field], dict):
        raise RowError(f"expected one turn, found {row[field]!r:.60}", "wrong-type", field)
    message = _message(row[field], "from", "value", field, 0)
    if message["role"] != "assistant":
        raise RowError(f"expected an answer of gpt, found role {message['role']}", "turn-order", field)
    return message


def _string(row: Row, field: str) -> str:
    value = row[field]
    if not isinstance(value, str):
        raise RowError(f"expected a text that is not empty, found {value!r:.60}", "wrong-type", field)
    if not value or value.isspace():
        raise RowError(f"expected a text that is not empty, found {value!r:.60}", "empty", field)
    return value


def _turns(row: Row, field: str) -> Iterable[tuple[int, dict[str, Any]]]:
    turns = row[field]
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise RowError(f"expected a list of turns, found {turns!r:.80}", "wrong-type", field)
    return enumerate(turns, 1)


def _message(turn: dict[str, Any], role_name: str, text_name: str, field: str, number: int) -> Message:
    role, content = turn.get(role_name), turn.get(text_name)
    where = f"{field}[{number}]" if number else field
    if not isinstance(role, str) or role not in ROLES:
        raise RowError(f"unknown role {role!r:.40}; expected one of {', '.join(ROLES)}", "unknown-role", where)
    if isinstance(content, list) and any(
        "image" in str(part.get("type")) for part in content if isinstance(part, dict)
    ):
        raise RowError("a turn with an image (ShareGPT_Image); LogLore trains on text only", "image", where)
    calls = turn.get("tool_calls")
    if calls:
        _check_calls(calls, ROLES[role], where)
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise RowError(f"turn of role {role!r}: expected text, found {content!r:.60}", "wrong-type", where)
    if (not content or content.isspace()) and not calls:
        raise RowError(f"empty turn of role {role!r}", "empty", where)
    if len(turn) == 2:
        return {"role": ROLES[role], "content": content}
    rest = {name: value for name, value in turn.items() if name not in (role_name, text_name)}
    return {"role": ROLES[role], "content": content, **rest}


def _check_calls(calls: Any, role: str, where: str) -> None:
    """Refuse calls of tools that are not `[{"function": {"name": str, "arguments": object or its JSON text}}, …]`."""
    field = f"{where}.tool_calls"
    if role != "assistant":
        raise RowError(f"calls of tools in a turn of role {role!r}; only an assistant calls", "wrong-type", field)
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function") if isinstance(call, dict) and isinstance(calls, list) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowError(
                f'expected a list of {{"function": {{"name", …}}}}, found {calls!r:.80}', "wrong-type", field
            )
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError) as fault:
                raise RowError(f"arguments of `{function['name']}` are not JSON: {fault}", "bad-json", field) from None
        if not isinstance(arguments, dict):
            raise RowError(f"arguments of `{function['name']}`: expected an object", "wrong-type", field)


def check_order(messages: list[Message]) -> None:
    """Refuse turns that are not: system (optional), then user and assistant in turn, tools after their call.

    Raises:
        RowError: names the roles found.
    """
    turns = [message["role"] for message in messages]
    if turns[:1] == ["system"]:
        turns = turns[1:]
    called = any("tool_calls" in message for message in messages)
    if called or not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        _check_tools(messages, turns)


def _check_tools(messages: list[Message], turns: list[str]) -> None:
    shown = ", ".join(turns[:12]) + (", …" if len(turns) > 12 else "")
    wrong = RowError(f"turns are {shown or 'missing'}; expected user and assistant in turn, user first", "turn-order")
    if not turns or turns[0] != "user" or turns[-1] != "assistant":
        raise wrong
    previous: Message = {"role": ""}
    for message in messages[-len(turns) :]:
        before = previous["role"]
        calls = before == "assistant" and bool(previous.get("tool_calls"))
        allowed = {
            "user": before == "" or (before == "assistant" and not calls),
            "assistant": before in ("user", "tool"),
            "tool": before == "tool" or calls,
            "system": False,
        }
        if not allowed[message["role"]]:
            raise wrong
        previous = message
