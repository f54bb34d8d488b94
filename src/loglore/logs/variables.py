r"""The typed variables of every line: one column for a whole mined table.

Each template's expression runs once, in Polars, over the distinct messages of the template (Rust regex: linear time
whatever the message; `Template.values` is for one message). Measured on 512,000 LogHub lines: see docs/LOG.md.
"""

import re
from collections.abc import Mapping

import polars as pl

from loglore.logs.masking import WILDCARD
from loglore.logs.templates import Mined, Template

VARIABLES = pl.List(pl.Struct({"type": pl.String, "value": pl.String}))
MOST_VARIABLES = 200
LONGEST_TEMPLATE = 20_000
_BLANK, _OTHER, _ANY = r"[\s\x1c-\x1f]", r"[^\s\x1c-\x1f]", r"(?s:.)"


def of_lines(mined: Mined) -> pl.Series:
    """The variables of each row of a mined table (see `of_rows`)."""
    return of_rows(mined.table, mined.by_id)


def of_rows(rows: pl.DataFrame, by_id: Mapping[str, Template]) -> pl.Series:
    """The variables of rows.

    Args:
        rows: `template` (id) and `message` (the line without its header).
        by_id: the templates.

    Returns:
        `variables`: a list of structs `type` (one of `masking.TYPES`), `value` (as in the line), in order; empty for a
        template without variables, null for a blank line and for a message of more than `MOST_VARIABLES` variables or
        `LONGEST_TEMPLATE` constant characters: no engine takes such an expression in reasonable time.
    """
    rows = rows.select("template", "message")
    distinct = rows.unique(maintain_order=True).drop_nulls()
    parts = [_of_template(by_id[part["template"][0]], part) for part in distinct.partition_by("template")]
    empty = pl.DataFrame(schema={"template": pl.String, "message": pl.String, "variables": VARIABLES})
    known = pl.concat([empty, *parts])
    return rows.join(known, on=["template", "message"], how="left", maintain_order="left")["variables"]


def expression(template: Template) -> str:
    """The regular expression of a template's whole message in Rust's dialect, one group a variable."""
    constants = template.text.strip().split(WILDCARD)
    parts = [re.sub(rf"(?:\\?{_BLANK})+", lambda _: f"{_BLANK}+", re.escape(constant)) for constant in constants]
    groups = [f"({_ANY}+?)" if kind in ("time", "text", "quoted") else f"({_OTHER}+?)" for kind in template.variables]
    body = "".join(part + group for part, group in zip(parts, [*groups, ""], strict=True))
    return f"^{_BLANK}*{body}{_BLANK}*$"


def _of_template(template: Template, rows: pl.DataFrame) -> pl.DataFrame:
    too_large = len(template.variables) > MOST_VARIABLES or len(template.text) > LONGEST_TEMPLATE
    if too_large or template.text.count(WILDCARD) != len(template.variables):  # or a message that holds `<*>` itself
        return rows.with_columns(variables=pl.lit(None, dtype=VARIABLES))
    if not template.variables:
        return rows.with_columns(variables=pl.lit([], dtype=VARIABLES))
    try:
        groups = rows["message"].str.extract_groups(expression(template)).struct.unnest()
    except pl.exceptions.ComputeError:  # the compiled expression would be larger than the engine allows
        return rows.with_columns(variables=pl.lit(None, dtype=VARIABLES))
    pairs = [
        pl.struct(type=pl.lit(kind), value=pl.col(name))
        for kind, name in zip(template.variables, groups.columns, strict=True)
    ]
    matched = pl.col(groups.columns[0]).is_not_null()
    found = groups.select(variables=pl.when(matched).then(pl.concat_list(pairs)))["variables"]
    return rows.with_columns(found.cast(VARIABLES))
