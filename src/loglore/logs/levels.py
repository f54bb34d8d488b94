"""Levels: the many words and marks that programs use, as the six `trace` … `fatal`.

`notice` and PostgreSQL's `LOG` count as info; syslog's `crit`, `alert` and `emerg` count as fatal. Redis marks are
`.` debug, `-` verbose, `*` notice, `#` warning. A request that an access log answers with 5xx is an error, with 4xx a
warning.
"""

import polars as pl

LEVELS = ("trace", "debug", "info", "warning", "error", "fatal")

_WORDS = {
    "trace": "trace trac trce finest finer v vrb",
    "debug": "debug debug1 debug2 debug3 debug4 debug5 debg dbg dbug fine verbose d . -",
    "info": "info inf information notice note log config status i *",
    "warning": "warn warning wrn deprecated w #",
    "error": "error erro err severe failure fail parse recoverable e",
    "fatal": "fatal ftl crit critical alert emerg emergency panic dpanic f c",
}
MEANING = {word: level for level, words in _WORDS.items() for word in words.split()}

# A message may say its level itself: "error: maximum authentication attempts exceeded", "Warning: …", "[error] …".
OWN_LEVEL = (
    r"^(?i:\[?(trace|debug[1-5]?|info|notice|warn|warning|error|err|fatal(?: error)?|critical|crit|panic|alert|emerg)"
    r"(?:\]:? |: |\]$))"
)


def normalise(word: pl.Expr) -> pl.Expr:
    """A level word or mark, of any case, as one of `LEVELS`; unknown words and null become null."""
    return word.str.to_lowercase().str.replace(" .*$", "").replace_strict(MEANING, default=None, return_dtype=pl.String)


def of_priority(number: pl.Expr) -> pl.Expr:
    """The level of a syslog priority (RFC 5424: facility × 8 + severity), given as digits; null stays null."""
    severity = number.cast(pl.Int64, strict=False) % 8
    names = {0: "fatal", 1: "fatal", 2: "fatal", 3: "error", 4: "warning", 5: "info", 6: "info", 7: "debug"}
    return severity.replace_strict(names, default=None, return_dtype=pl.String)


def of_status(number: pl.Expr) -> pl.Expr:
    """The level of an HTTP status, given as digits: 5xx is an error, 4xx a warning; others say nothing."""
    return number.str.head(1).replace_strict({"5": "error", "4": "warning"}, default=None, return_dtype=pl.String)


def at_least(level: str) -> tuple[str, ...]:
    """The levels that are as severe as `level`, or more so."""
    return LEVELS[LEVELS.index(level) :]
