r"""Search queries: words, "phrases", prefix*, OR, NOT or a leading minus; parsed, and turned into conditions on lines.

A word is found as it was typed, punctuation included, whatever its case, where no ASCII letter or digit stands right
before or after it: `refused` is in `connection_refused`, `10.0.0.5` is not in `10.0.0.50`, nor in `110.0.0.5`, nor in
`10.0.0.5.1` (numbers joined by dots are one). Blanks in a phrase stand for any blanks. Words side by side must all be
there; `OR` binds less: `a b OR c` is (a and b) or c.

>>> [[(term.text, term.prefix, term.negated) for term in group] for group in parse('refused -ssh OR "no route" 10.0*')]
[[('refused', False, False), ('ssh', False, True)], [('no route', False, False), ('10.0', True, False)]]
"""

import re
from dataclasses import dataclass

import polars as pl

from loglore.errors import InputError
from loglore.logs.fulltext import DOTTED, dotted_word

_TOKEN = re.compile(r'\s*(-?)(?:"([^"]*)"|(\S+))')
_WORD = re.compile(r"[0-9a-z]+")
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$#&~-])")
# What may stand before a digit and after one: no letter, no digit, and no dot that joins it to another number.
_BEFORE_DIGIT, _AFTER_DIGIT = r"(?:^|[^0-9a-z.]|(?:^|[^0-9])\.)", r"(?:$|[^0-9a-z.]|\.(?:$|[^0-9]))"
_BEFORE_LETTER, _AFTER_LETTER = r"(?:^|[^0-9a-z])", r"(?:$|[^0-9a-z])"


@dataclass(frozen=True)
class Term:
    """A word or phrase (in lower case); prefix: what it begins with is enough; negated: lines must not have it."""

    text: str
    prefix: bool = False
    negated: bool = False

    def condition(self, text: pl.Expr) -> pl.Expr:
        """Whether lines, in lower case, have it (without the negation)."""
        pieces = r"\s+".join(_SPECIAL.sub(r"\\\1", piece) for piece in self.text.split())
        before = after = ""
        if _is_word(self.text[0]):
            before = _BEFORE_DIGIT if self.text[0].isdigit() else _BEFORE_LETTER
        if _is_word(self.text[-1]) and not self.prefix:
            after = _AFTER_DIGIT if self.text[-1].isdigit() else _AFTER_LETTER
        has = text.str.contains(before + pieces + after)
        # A plain substring is found at memory speed; only lines that have it are worth the expression.
        longest = max(self.text.split(), key=len)
        return text.str.contains(longest, literal=True) & has

    def words(self) -> list[str]:
        """FTS5 expressions of words that every line with this term has; empty when nothing can be said."""
        found = []
        for word in _WORD.finditer(self.text):
            open_end = self.prefix and word.end() == len(self.text)
            found.append(f'"{word[0]}"' + (" *" if open_end else ""))
        for number in re.finditer(DOTTED, self.text):
            before, after = self.text[: number.start()], self.text[number.end() :]
            # A dot at an end of the term may join the number to a longer one.
            if before != "." and after != "." and not (self.prefix and not after):
                found.append(f'"{dotted_word(number[0])}"')
        return list(dict.fromkeys(found))


Query = list[list[Term]]


def _is_word(letter: str) -> bool:
    return bool(re.match("[0-9a-z]", letter))


def parse(query: str) -> Query:
    """A query as alternatives of terms that must all hold.

    Raises:
        InputError: nothing to look for, a quotation mark without its partner, or an alternative of negations alone.
    """
    if query.count('"') % 2:
        raise InputError(f"search: {query!r} has a quotation mark without its partner")
    groups: Query = [[]]
    negate = False
    for found in _TOKEN.finditer(query):
        minus, phrase, word = found.groups()
        if word == "OR" and not minus:
            groups.append([])
        elif word == "NOT" and not minus:
            negate = True
        elif word != "AND":
            text = _folded(phrase if word is None else word)
            prefix = word is not None and len(text) > 1 and text.endswith("*")
            text = text.removesuffix("*") if prefix else " ".join(text.split())
            if text:
                groups[-1].append(Term(text, prefix, bool(minus) or negate))
            negate = False
    for group in groups:
        if all(term.negated for term in group):
            raise InputError(f"search: {query!r} has a part without a word that must be there")
    return groups


def _folded(text: str) -> str:
    """In lower case as the lines are: by the same library."""
    return str(pl.select(pl.lit(text).str.to_lowercase()).item())


def condition(query: Query, text: pl.Expr) -> pl.Expr:
    """Whether lines (as they are, not in lower case) answer a query."""
    lowered = text.str.to_lowercase()
    alternatives = []
    for group in query:
        terms = [~term.condition(lowered) if term.negated else term.condition(lowered) for term in group]
        alternatives.append(pl.all_horizontal(terms))
    return pl.any_horizontal(alternatives)


def match(query: Query) -> str | None:
    """The FTS5 expression for blocks that may hold an answer; None when every block may."""
    alternatives = []
    for group in query:
        words = [word for term in group if not term.negated for word in term.words()]
        if not words:
            return None
        alternatives.append("(" + " AND ".join(dict.fromkeys(words)) + ")")
    return " OR ".join(alternatives)
