"""Templates: the constant part of each kind of message, mined on the distinct masked messages only.

Polars masks and de-duplicates (a log of millions of lines has some thousands of distinct masked messages), Drain
(`drain3`) groups what is left, and each group's text is then made from its members column by column, which keeps the
constant ends of tokens (`user=<*>` where Drain alone says `<*>`). Same lines in, same ids and keys out.

Paper: He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

import polars as pl

from loglore.logs.masking import GUARD, MARKS, TYPE_OF, WILDCARD, mask

# From so many distinct messages on, those that differ in digits alone are masked together; in such, which digit stands
# where does not matter, but for these forms (hexadecimal numbers, short IPv6 addresses).
FEW_MESSAGES = 1000
NAMES_A_DIGIT = r"0[xX]|::"
TREE_DEPTH = 4
SIMILARITY = 0.6
MOST_WORDS = 5
# Words after a name that must agree for the messages to be of one kind: `cupsd startup succeeded` may be its own event.
NAMED_TAIL = 4
_DIGIT = re.compile("[0-9]")
_DIGITS = re.compile("[0-9]+")
_LETTER = re.compile(r"[^\W\d_]")
_ACRONYM = re.compile(r"\W*[A-Z]{2,}[0-9]{1,3}\W*")
# A whole token in brackets or quotes is a value that the writer set apart.
_ENCLOSED = re.compile(r"(?:\[[^\]]*\]|\([^)]*\)|<[^>]*>|'[^']*'|\"[^\"]*\")[.,:;]?")
_ANNOUNCES = re.compile(
    r"(?i)(?:user|username|account|role|database|db|table|host|hostname|server|name|named|file|service|unit|device"
    r"|interface|process|program|module|zone|domain|setting|option|parameter|property|variable|column|topic|queue|package"
    r"|plugin|from|for|by|key|id)[:=]?"
)

_MARK = re.compile("[" + "".join(TYPE_OF) + "]")
_MARKS = "".join(TYPE_OF)
_TEXT = MARKS["text"]
# Drain3's wildcard while it groups: no mask, so that a mask is a word to it.
_ANY = "\ue0ef"
Algorithm = Literal["default", "drain"]
# Types whose values may hold blanks.
_SPACED = ("time", "text", "quoted")
# Constant ends of differing tokens are kept up to one of these.
_AFFIX_BORDER = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True)
class Template:
    """One kind of message.

    id: `T1`, `T2`, … by first appearance. key: 16 hex digits of the text's sha256, the same in every log.
    text: the message (header stripped) with `<*>` for each variable; variables: their types, in order
    (`masking.TYPES`). count: lines of this kind in the whole table. source, first, last: the log where it appears
    first, with its first and last line there. example: the whole first line. first_time, last_time: the earliest and
    the latest time of its lines (UTC), None when none has one.
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
    first_time: datetime | None = None
    last_time: datetime | None = None

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """Matches whole messages of this template; one group a variable."""
        constants = self.text.lstrip().split(WILDCARD)
        parts = [re.sub(r"(?:\\?\s)+", r"\\s+", re.escape(constant)) for constant in constants]
        groups = [r"(.+?)" if kind in _SPACED else r"(\S+?)" for kind in self.variables]
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


def mine(table: pl.DataFrame, algorithm: Algorithm = "default") -> Mined:
    """Find the templates of a log table (see `reader.read_table`).

    Args:
        table: the log table.
        algorithm: `default`, or `drain` for the groups that Drain3 makes of the distinct masked messages with its
            published settings, as they are: words that differ become `<*>` whole.

    Returns:
        The table with `template` and `key`, and the templates. Templates span sources: the same message in two files
        has one id.
    """
    messages = masked_messages(table["message"])
    distinct = messages["masked"].unique(maintain_order=True).to_list()
    if algorithm == "drain":
        groups, texts = drained(distinct)
    else:
        groups, texts = None, shapes(distinct)
    kinds = pl.DataFrame({"masked": distinct, "shape": texts}, {"masked": pl.String, "shape": pl.String})
    kind = text_of(pl.col("shape")) if groups is None else pl.Series(groups, dtype=pl.Int64).cast(pl.String)
    kinds = kinds.with_columns(kind=kind)
    shaped = table.join(messages.join(kinds, on="masked", how="left"), on="message", how="left", maintain_order="left")
    return _number(shaped.drop("masked"))


def masked_messages(messages: pl.Series) -> pl.DataFrame:
    """The distinct messages that are not blank, by first appearance: `message`, `masked` (see `masking.mask`).

    Most distinct messages differ in digits alone, and no rule cares which digit it sees, but for a few forms: so the
    messages are masked with zeros for digits, once for all that are then alike, and those where a digit is left, or
    that have such a form, on their own.
    """
    frame = messages.alias("message").to_frame().unique(maintain_order=True)
    plain = pl.col("message").str.replace_all(SEPARATORS, " ")
    frame = _sliced(frame, lambda part: part.with_columns(plain=plain).filter(pl.col("plain").str.contains(r"\S")))
    if frame.height < FEW_MESSAGES:
        return _masked(frame)
    zeroed = pl.col("plain").str.replace_many(list("123456789"), ["0"] * 9)
    frame = _sliced(frame, lambda part: part.with_columns(zeroed=zeroed)).with_row_index("row")
    alike = _masked(frame.select(message="zeroed", plain="zeroed").unique("message", maintain_order=True))
    exact = pl.col("masked").str.contains("[0-9]") | pl.col("message").str.contains(NAMES_A_DIGIT)
    alike = alike.filter(~exact).rename({"message": "zeroed"})
    known = frame.join(alike, on="zeroed", how="inner").select("row", "message", "masked")
    rest = frame.join(known, on="row", how="anti", maintain_order="left").select("row", "message", "plain")
    rest = pl.concat([rest.select("row"), _masked(rest.select("message", "plain"))], how="horizontal")
    return pl.concat([known, rest]).sort("row").drop("row")


def _masked(frame: pl.DataFrame) -> pl.DataFrame:
    masked = mask(pl.col("plain")).str.strip_chars_end()
    return _sliced(frame, lambda part: part.select("message", masked=masked))


def _sliced(frame: pl.DataFrame, work: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
    """Work on rows, in as many slices as there are threads: to Polars, one column is one task."""
    size = frame.height // pl.thread_pool_size() + 1
    return pl.concat([work(part.lazy()) for part in ([*frame.iter_slices(size)] or [frame])]).collect()


def group(masked: Sequence[str]) -> list[int]:
    """Drain's group number of each distinct masked message, with the settings of the default algorithm."""
    from drain3.drain import Drain

    drain = Drain(depth=TREE_DEPTH, sim_th=SIMILARITY, max_children=100, param_str=_TEXT)
    return [drain.add_log_message(text)[0].cluster_id for text in masked]


def drained(masked: Sequence[str]) -> tuple[list[int], list[str]]:
    """Drain3's own group number and template, as masked text, of each distinct masked message."""
    from drain3.drain import Drain

    drain = Drain(depth=4, sim_th=0.4, max_children=100, param_str=_ANY)
    clusters = [drain.add_log_message(text)[0] for text in masked]
    texts = [cluster.get_template().replace(_ANY, _TEXT).replace(GUARD, "") for cluster in clusters]
    return [cluster.cluster_id for cluster in clusters], texts


def shapes(masked: list[str]) -> list[str]:
    """The common masked text of the group of each message; the messages are distinct and in order of appearance."""
    groups = group(masked)
    members: dict[int, list[str]] = {}
    for number, text in zip(groups, masked, strict=True):
        members.setdefault(number, []).append(text)
    found: dict[str, str] = {}
    parts = [part for texts in members.values() for part in _split(texts)]
    for part in _join_named(parts):
        found.update(dict.fromkeys(part, _merge(part).replace(GUARD, "")))
    return [found[text] for text in masked]


def _join_named(parts: list[list[str]]) -> list[list[str]]:
    """Join kinds that differ in their first word alone, when there are too many of them to be kinds.

    Drain keeps messages with different first words apart; where a log puts a name first (`eth0: link up`), each name
    would be a kind of its own.
    """
    alike: dict[tuple[str, ...], dict[str, list[list[str]]]] = {}
    for part in parts:
        first, *rest = _merge(part).split()
        if len(rest) >= NAMED_TAIL and GUARD not in first and first != _TEXT:
            alike.setdefault(tuple(rest), {}).setdefault(first, []).append(part)
    joined = []
    taken: set[str] = set()
    for names in alike.values():
        if len(names) > MOST_WORDS:
            together = [text for same in names.values() for part in same for text in part]
            joined.append(together)
            taken.update(together)
    return [part for part in parts if part[0] not in taken] + joined


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
    if all(_ENCLOSED.fullmatch(token) for token in tokens):
        return False
    if len(tokens) > 2 and len({_DIGITS.sub("", token) for token in tokens}) == 1:
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
    numbered = prefix[-1:].isalpha() and all(token[len(prefix) : len(prefix) + 1].isdigit() for token in tokens)
    prefix = prefix if numbered else prefix[: _last_border(prefix)]
    if any(token == prefix for token in tokens):  # a mask that ends one token is the start of another's variable
        prefix = prefix.rstrip(_MARKS)
    rest = [token[len(prefix) :] for token in tokens]
    suffix = _common([token[::-1] for token in rest])
    suffix = suffix[: _last_border(suffix)][::-1]
    if any(token == suffix for token in rest):
        suffix = suffix.lstrip(_MARKS)
    if all(len(token) > len(suffix) for token in rest):
        return prefix + _TEXT + suffix
    return _TEXT


def _common(tokens: list[str]) -> str:
    """The longest common prefix: that of the first and the last in order."""
    low, high = min(tokens), max(tokens)
    return next((low[:at] for at, letter in enumerate(low) if high[at : at + 1] != letter), low)


def _last_border(text: str) -> int:
    borders = [found.end() for found in _AFFIX_BORDER.finditer(text)]
    return borders[-1] if borders else 0


def _number(shaped: pl.DataFrame) -> Mined:
    """Give each kind its id by first appearance, and count."""
    known = shaped.filter(pl.col("shape").is_not_null())
    found = known.group_by("kind", maintain_order=True).agg(
        pl.col("shape").unique(maintain_order=True),
        pl.len().alias("count"),
        pl.col("source").first(),
        pl.col("line").first().alias("first"),
        pl.col("line").filter(pl.col("source") == pl.col("source").first()).last().alias("last"),
        pl.col("text").first().alias("example"),
        pl.col("time").min().alias("first_time"),
        pl.col("time").max().alias("last_time"),
    )
    found = found.with_columns(words=text_of(pl.col("shape").list.first()))
    # Two of Drain's groups may have one text; the later one's key says so.
    found = found.with_columns(again=pl.int_range(pl.len()).over("words"))
    templates = [
        Template(
            id=f"T{number}",
            key=key_of(row["words"] if not row["again"] else f"{row['words']} ({row['again']})"),
            text=row["words"],
            variables=types_of(row["shape"]),
            **{name: row[name] for name in ("count", "source", "first", "last", "example", "first_time", "last_time")},
        )
        for number, row in enumerate(found.iter_rows(named=True), 1)
    ]
    names = found.select(
        "kind",
        pl.Series("template", [template.id for template in templates], dtype=pl.String),
        pl.Series("key", [template.key for template in templates], dtype=pl.String),
    )
    table = shaped.join(names, on="kind", how="left", maintain_order="left").drop("shape", "kind")
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
