"""Templates of a log table: which kinds of messages are one template, what it is called, and where it stands.

Ids are stable. A new log is numbered by first appearance. When it grows, all its distinct masked messages are grouped
again (some thousands, a fraction of a second), and a template takes the lowest id that its messages had before, unless
a template that appeared earlier has taken it; only what has no id gets the next one.
"""

import polars as pl

from loglore.logs.templates import Template, drained, key_of, shapes, text_of, types_of

SCHEMA = {"kind": pl.UInt32, "masked": pl.String, "shape": pl.String, "template": pl.Int64}


def name(masked: list[str], used: pl.Series, before: pl.Series, next_template: int) -> tuple[pl.DataFrame, int]:
    """Group kinds of messages into templates.

    Args:
        masked: the masked message of each kind, by number.
        used: numbers of the kinds that lines have; the others (an unfinished last line had them) are left out.
        before: the template number of each kind so far, null or missing for new ones.
        next_template: the first number that was never given.

    Returns:
        `kind`, `masked`, `shape`, `template` of each kind, and the next free number.
    """
    kinds = pl.DataFrame(
        {"kind": range(len(masked)), "masked": masked}, schema={"kind": pl.UInt32, "masked": pl.String}
    )
    known = pl.concat([before.cast(pl.Int64), pl.Series([None] * (len(masked) - len(before)), dtype=pl.Int64)])
    kinds = kinds.with_columns(known.alias("known"))
    live = kinds.filter(pl.col("kind").is_in(used.implode()))
    live = live.with_columns(pl.Series("shape", shapes(live["masked"].to_list()), dtype=pl.String))
    groups = live.group_by(text_of(pl.col("shape")).alias("text"), maintain_order=True).agg("kind", "known")
    given: list[int] = []
    taken: set[int] = set()
    for claims in groups["known"]:
        free = sorted(set(claims.drop_nulls()) - taken)
        number = free[0] if free else next_template
        next_template += not free
        taken.add(number)
        given.append(number)
    named = groups.select("kind", template=pl.Series(given, dtype=pl.Int64)).explode("kind")
    kinds = kinds.join(live.select("kind", "shape"), on="kind", how="left", maintain_order="left")
    kinds = kinds.join(named, on="kind", how="left", maintain_order="left")
    return kinds.select(*SCHEMA), next_template


def by_drain(kinds: pl.DataFrame) -> pl.DataFrame:
    """`name`'s kinds with the groups and the texts that Drain3 makes of the masked messages, numbered by appearance."""
    live = kinds.filter(pl.col("template").is_not_null())
    groups, texts = drained(live["masked"].to_list())
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups), 1)}
    given = pl.Series("template", [numbers[group] for group in groups], dtype=pl.Int64)
    return live.with_columns(given, pl.Series("shape", texts, dtype=pl.String))


def templates(kinds: pl.DataFrame, tally: pl.DataFrame, sources: list[str]) -> list[Template]:
    """The templates, by id, from `name`'s kinds and the counts of `shards.tally`, with times."""
    rows = tally.join(kinds.select("kind", "shape", "template"), on="kind").sort("source", "first")
    first = pl.col("source") == pl.col("source").first()
    found = rows.group_by("template", maintain_order=True).agg(
        pl.col("shape").unique(maintain_order=True),
        pl.col("count").sum(),
        pl.col("source").first(),
        pl.col("first").first(),
        pl.col("last").filter(first).max(),
        pl.col("example").first(),
        pl.col("first_time").min(),
        pl.col("last_time").max(),
    )
    found = found.with_columns(text=text_of(pl.col("shape").list.first())).sort("template")
    # Two of Drain's groups may have one text; the later one's key says so.
    found = found.with_columns(again=pl.int_range(pl.len()).over("text"))
    return [
        Template(
            id=f"T{row['template']}",
            key=key_of(row["text"] if not row["again"] else f"{row['text']} ({row['again']})"),
            text=row["text"],
            variables=types_of(row["shape"]),
            count=row["count"],
            source=sources[row["source"]],
            first=row["first"],
            last=row["last"],
            example=row["example"],
            first_time=row["first_time"],
            last_time=row["last_time"],
        )
        for row in found.iter_rows(named=True)
    ]


def levels(kinds: pl.DataFrame, tally: pl.DataFrame) -> dict[str, str]:
    """The level of each template (by id) that has one: that of its first line with a level."""
    rows = tally.join(kinds.select("kind", "template"), on="kind").filter(pl.col("level").is_not_null())
    first = rows.sort("source", "level_line").group_by("template").agg(pl.col("level").first())
    return {f"T{template}": level for template, level in first.iter_rows()}
