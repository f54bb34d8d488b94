"""Templates: the constant part of each kind of message, mined on the distinct masked messages only.

Polars masks and de-duplicates (a log of millions of lines has some thousands of distinct masked messages), Drain
(`drain3`) groups what is left, and each group's text is then made from its members column by column, which keeps the
constant ends of tokens (`user=<*>` where Drain alone says `<*>`). Same lines in, same ids and keys out.

Paper: He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from loglore.logs.masking import GUARD, MARKS, TYPE_OF, WILDCARD, mask

TREE_DEPTH = 4
SIMILARITY = 0.6
MOST_WORDS = 5
_DIGIT = re.compile("[0-9]")
_LETTER = re.compile(r"[^\W\d_]")
_ACRONYM = re.compile(r"\W*[A-Z]{2,}[0-9]{1,3}\W*")
_ANNOUNCES = re.compile(
    r"(?i)(?:user|username|account|role|database|db|table|host|hostname|server|name|named|file|service|unit|device"
    r"|interface|process|program|module|zone|domain|from|for|by|key|id)[:=]?"
)

_MARK = re.compile("[" + "".join(TYPE_OF) + "]")
_TEXT = MARKS["text"]
# Constant ends of differing tokens are kept up to one of these.
_AFFIX_BORDER = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True)
class Template:
    """One kind of message.

    id: `T1`, `T2`, … by first appearance. key: 16 hex digits of the text's sha256, the same in every log.
    text: the message (header stripped) with `<*>` for each variable; variables: their types, in order
    (`masking.TYPES`). count: lines of this kind in the whole table. source, first, last: the log where it appears
    first, with its first and last line there. example: the whole first line.
    """

    id: str
    key: str
    text: str
    variables: tuple[str, ...]
    count: int
    source: str
    first: int
    last: int
    example: str

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """Matches whole messages of this template; one group a variable."""
        constants = self.text.lstrip().split(WILDCARD)
        parts = [re.sub(r"(?:\\?\s)+", r"\\s+", re.escape(constant)) for constant in constants]
        groups = [r"(.+?)" if kind in ("time", "text") else r"(\S+?)" for kind in self.variables]
        body = "".join(part + group for part, group in zip(parts, [*groups, ""], strict=True))
        return re.compile(rf"\s*{body}\s*", re.DOTALL)

    def values(self, message: str) -> tuple[tuple[str, str], ...] | None:
        """The variables of a message as (type, value) in order; None when the message is not of this template."""
        found = self.expression.fullmatch(message)
        return None if found is None else tuple(zip(self.variables, found.groups(), strict=True))


# Python counts these control characters as blanks, Polars does not; for templates they are blanks.
SEPARATORS = r"[\x1c-\x1f]"


@dataclass(frozen=True)
class Mined:
    """A log table with the columns `template` (id) and `key`, null on blank lines, and its templates by appearance."""

    table: pl.DataFrame
    templates: list[Template]

    @cached_property
    def by_id(self) -> dict[str, Template]:
        """Templates by id."""
        return {template.id: template for template in self.templates}

    @cached_property
    def by_key(self) -> dict[str, Template]:
        """Templates by key."""
        return {template.key: template for template in self.templates}


def mine(table: pl.DataFrame) -> Mined:
    """Find the templates of a log table (see `reader.read_table`).

    Returns:
        The table with `template` and `key`, and the templates. Templates span sources: the same message in two files
        has one id.
    """
    messages = masked_messages(table["message"])
    distinct = messages["masked"].unique(maintain_order=True).to_list()
    texts = pl.DataFrame(
        {"masked": distinct, "shape": shapes(distinct)}, schema={"masked": pl.String, "shape": pl.String}
    )
    shaped = table.join(messages.join(texts, on="masked", how="left"), on="message", how="left", maintain_order="left")
    return _number(shaped.drop("masked"))


def masked_messages(messages: pl.Series) -> pl.DataFrame:
    """The distinct messages that are not blank, by first appearance: `message`, `masked` (see `masking.mask`)."""
    frame = messages.alias("message").to_frame().unique(maintain_order=True)
    frame = frame.with_columns(plain=pl.col("message").str.replace_all(SEPARATORS, " "))
    frame = frame.filter(pl.col("plain").str.contains(r"\S"))
    return frame.select("message", masked=mask(pl.col("plain")).str.strip_chars_end())


def group(masked: Sequence[str]) -> list[int]:
    """Drain's group number of each distinct masked message."""
    from drain3.drain import Drain

    drain = Drain(depth=TREE_DEPTH, sim_th=SIMILARITY, max_children=100, param_str=_TEXT)
    return [drain.add_log_message(text)[0].cluster_id for text in masked]


def shapes(masked: list[str]) -> list[str]:
    """The common masked text of the group of each message; the messages are distinct and in order of appearance."""
    groups = group(masked)
    members: dict[int, list[str]] = {}
    for number, text in zip(groups, masked, strict=True):
        members.setdefault(number, []).append(text)
    found: dict[str, str] = {}
    for texts in members.values():
        for part in _split(texts):
            found.update(dict.fromkeys(part, _merge(part).replace(GUARD, "")))
    return [found[text] for text in masked]


def _split(texts: list[str]) -> list[list[str]]:
    """Take a group apart by each token where its members have one of few different words.

    Drain joins `VM Paused` and `VM Resumed`; a person reads two kinds of message. Words with digits, and positions
    where some members have a masked variable, are variables however few their values.
    """
    if len(texts) == 1:
        return [texts]
    columns = list(zip(*(text.split() for text in texts), strict=True))
    for before, column in zip([(), *columns], columns, strict=False):
        if _kinds(set(before), set(column)):
            parts: dict[str, list[str]] = {}
            for text, word in zip(texts, column, strict=True):
                parts.setdefault(word, []).append(text)
            return [piece for part in parts.values() for piece in _split(part)]
    return [texts]


def _kinds(before: set[str], tokens: set[str]) -> bool:
    """Whether these tokens, at one place of one group, tell kinds of message apart rather than being its variable.

    An HTTP status does. Words do, when there are few; not so after a word that announces a name (`user`, `from`), nor
    with digits.
    """
    if len(tokens) > 1 and any(GUARD in token for token in tokens):
        return True
    if not 2 <= len(tokens) <= MOST_WORDS or (len(before) == 1 and _ANNOUNCES.fullmatch(next(iter(before)))):
        return False
    if any("=" in token for token in tokens):
        return False
    masked = {bool(_MARK.search(token)) for token in tokens}
    plain = len(masked) == 1 and all(_LETTER.search(token) for token in tokens)
    return plain and all(_ACRONYM.fullmatch(token) or not _DIGIT.search(token) for token in tokens)


def _merge(texts: list[str]) -> str:
    """One masked text for messages with the same number of tokens."""
    if len(texts) == 1:
        return texts[0]
    spaces = re.findall(r"\s+", texts[0].lstrip())
    lead = texts[0][: len(texts[0]) - len(texts[0].lstrip())]
    columns = zip(*(text.split() for text in texts), strict=True)
    tokens = [_merge_tokens(list(dict.fromkeys(column))) for column in columns]
    return lead + "".join(token + space for token, space in zip(tokens, [*spaces, ""], strict=True))


def _merge_tokens(tokens: list[str]) -> str:
    if len(tokens) == 1:
        return tokens[0]
    prefix = _common(tokens)
    prefix = prefix[: _last_border(prefix)]
    rest = [token[len(prefix) :] for token in tokens]
    suffix = _common([token[::-1] for token in rest])
    suffix = suffix[: _last_border(suffix)][::-1]
    middles = [token[: len(token) - len(suffix)] for token in rest]
    if not all(middles):
        return _TEXT
    return prefix + _TEXT + suffix


def _common(tokens: list[str]) -> str:
    """The longest common prefix: that of the first and the last in order."""
    low, high = min(tokens), max(tokens)
    return next((low[:at] for at, letter in enumerate(low) if high[at : at + 1] != letter), low)


def _last_border(text: str) -> int:
    borders = [found.end() for found in _AFFIX_BORDER.finditer(text)]
    return borders[-1] if borders else 0


def _number(shaped: pl.DataFrame) -> Mined:
    """Give each template text its id by first appearance, and count."""
    shaped = shaped.with_columns(shape_text=text_of(pl.col("shape")))
    known = shaped.filter(pl.col("shape").is_not_null())
    found = known.group_by("shape_text", maintain_order=True).agg(
        pl.col("shape").unique(maintain_order=True),
        pl.len().alias("count"),
        pl.col("source").first(),
        pl.col("line").first().alias("first"),
        pl.col("line").filter(pl.col("source") == pl.col("source").first()).last().alias("last"),
        pl.col("text").first().alias("example"),
    )
    templates = [
        Template(
            id=f"T{number}",
            key=key_of(row["shape_text"]),
            text=row["shape_text"],
            variables=types_of(row["shape"]),
            count=row["count"],
            source=row["source"],
            first=row["first"],
            last=row["last"],
            example=row["example"],
        )
        for number, row in enumerate(found.iter_rows(named=True), 1)
    ]
    names = pl.DataFrame(
        {
            "shape_text": [template.text for template in templates],
            "template": [template.id for template in templates],
            "key": [template.key for template in templates],
        },
        schema={"shape_text": pl.String, "template": pl.String, "key": pl.String},
    )
    table = shaped.join(names, on="shape_text", how="left", maintain_order="left").drop("shape", "shape_text")
    return Mined(table, templates)


def text_of(shape: pl.Expr) -> pl.Expr:
    """Template texts of shapes: marks become `<*>`."""
    return shape.str.replace_all(f"(?:{_MARK.pattern})+", WILDCARD)


def key_of(text: str) -> str:
    """The key of a template text: 16 hex digits of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def types_of(shapes: list[str]) -> tuple[str, ...]:
    """The type of each wildcard: the one that all shapes of a template agree on, otherwise `text`."""
    columns = zip(*(re.findall(f"{_MARK.pattern}+", shape) for shape in shapes), strict=True)
    return tuple(_type(set(column)) for column in columns)


def _type(marks: set[str]) -> str:
    (mark, *others) = marks
    return TYPE_OF[mark] if not others and len(mark) == 1 else "text"
