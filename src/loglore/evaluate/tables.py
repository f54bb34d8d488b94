"""A comparison as plain tables and sentences; the terminal, Markdown and the HTML page all show these same rows.

Sentences follow from numbers: a difference whose paired interval includes zero is called not distinguishable from
zero, whatever its sign.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loglore.evaluate import grounded, metrics

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MINUS = "\N{MINUS SIGN}"
Comparison = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of ready-made cells: the first column names the row; `note` says how to read it."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """A Markdown table, and the note under it."""
        lines = [self.header, ["---"] + ["---:"] * (len(self.header) - 1), *self.rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return text + (f"\n\n{self.note}" if self.note else "")

    def text(self) -> str:
        """All rows as one line of prose, for a reader that sees no table."""
        return "; ".join(
            f"{row[0]}: " + ", ".join(f"{name} {cell}" for name, cell in zip(self.header[1:], row[1:], strict=True))
            for row in self.rows
        )

    def transposed(self) -> "Table":
        """Rows as columns: six scores fit a terminal of 80 columns better below each other."""
        lines = [list(line) for line in zip(self.header, *self.rows, strict=True)]
        return Table(self.title, lines[0], lines[1:], self.note)

    def rich(self) -> "RichTable":
        """The same for a terminal."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(title=self.title, title_justify="left", caption=self.note or None, caption_justify="left")
        for place, name in enumerate(self.header):
            table.add_column(name, justify="right" if place else "left", no_wrap=not place)
        for row in self.rows:
            table.add_row(*(Text(cell.replace(" [", "\n[")) for cell in row))
        return table


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table that has rows, in reading order."""
    makers = (scores, differences, forgetting, groundedness, convergence, training, answers)
    return [table for make in makers if (table := make(comparison)).rows]


def terminal(comparison: Comparison) -> list["RichTable"]:
    """What a terminal shows at the end of a comparison: scores, differences, forgetting, convergence."""
    shown = (scores, differences, groundedness, forgetting, convergence)
    return [table.transposed().rich() for make in shown if (table := make(comparison)).rows]


def text(comparison: Comparison) -> str:
    """The terminal's tables and the findings as plain text, 100 columns wide."""
    from rich.console import Console

    console = Console(width=100, file=io.StringIO(), record=True)
    for table in terminal(comparison):
        console.print(table)
    return console.export_text() + "\n".join(comparison["findings"])


def scores(comparison: Comparison) -> Table:
    """Models x six scores with intervals."""
    rows = [
        [model["label"], *(_with_interval(model["scores"][name]) for name in metrics.NAMES)]
        for model in comparison["models"]
    ]
    note = (
        f"{comparison['rows']} held-out rows from {comparison['chunks']} log chunks; in brackets 95 % percentile "
        f"bootstrap intervals, {comparison['bootstrap']['resamples']:,} resamples of whole chunks."
    )
    return Table("Scores", ["model", *metrics.LABELS.values()], rows, note)


def differences(comparison: Comparison) -> Table:
    """Every pair of models x six paired differences."""
    rows = [
        [
            f"{pair['model']} vs {pair['against']}",
            *(f"{_mark(pair['scores'][name])} {_signed(pair['scores'][name])}" for name in metrics.NAMES),
        ]
        for pair in comparison["differences"]
    ]
    note = (
        "First minus second, paired on the same rows. ▲ higher and ▼ lower: the 95 % interval excludes 0. ≈: it "
        "includes 0, so the difference is not distinguishable from zero here. Intervals are not adjusted for the "
        "number of comparisons."
    )
    return Table("Paired differences", ["pair", *metrics.LABELS.values()], rows, note)


def forgetting(comparison: Comparison) -> Table:
    """General-text perplexity of every model, as a ratio to the baseline's."""
    rows = [
        [found["model"], f"{found['perplexity']:.2f}", "" if found["ratio"] is None else f"×{found['ratio']:.3f}"]
        for found in comparison["forgetting"]
    ]
    first = comparison["forgetting"][0] if comparison["forgetting"] else {"source": "", "tokens": 0}
    note = f"General text: {first['source']}, {first['tokens']:,} predicted tokens. A ratio above 1 means forgetting."
    return Table("Forgetting", ["model", "general-text perplexity", f"ratio to {comparison['baseline']}"], rows, note)


def groundedness(comparison: Comparison) -> Table:
    """Share of checkable claims that the log supports, contradicts, or leaves open."""
    checked = [("truth", comparison["truth"]), *((model["label"], model) for model in comparison["models"])]
    rows = [
        [label, f"{found['claims']:,}", *(_with_interval(found["groundedness"][name]) for name in grounded.VERDICTS)]
        for label, found in checked
        if found["claims"]
    ]
    note = (
        "Claims: quotes, entities, counts, times and line numbers in the answers, checked against the log shown; "
        "`truth` are the held-out answers themselves."
    )
    return Table("Groundedness", ["model", "claims", *grounded.VERDICTS], rows, note)


def convergence(comparison: Comparison) -> Table:
    """Steps to equal evaluation loss."""
    rows = []
    for found in comparison["convergence"]:
        steps, ratio = found["steps"], found["ratio"]
        reached = "never" if steps is None else f"{steps:.1f}"
        share = "" if ratio is None else f"{ratio:.2f}"
        target = f"{found['target_loss']:.4f}"
        rows.append([found["run"], found["reference"], target, reached, f"{found['reference_steps']}", share])
    header = ["run", "reference", "target eval loss", "steps to reach it", "reference steps", "ratio"]
    note = (
        "First optimizer step at which the run's eval loss is down to the reference's final eval loss, interpolated "
        "linearly between evaluations. One run each: no interval."
    )
    return Table("Steps to equal eval loss", header, rows, note)


def training(comparison: Comparison) -> Table:
    """Training runs: size, speed, first and last losses, cost."""
    rows = []
    for run in comparison["training"]:
        cost = run["cost"]["dollars"] if run["cost"] else None
        rows.append(
            [
                run["label"],
                run["stage"],
                *(_number(run[name], places) for name, places in (("steps", 0), ("samples", 0), ("tokens", 0))),
                *(_number(run[name], places) for name, places in (("seconds", 1), ("tokens_per_second", 0))),
                *(_from_to(run[name]) for name in ("loss", "eval_loss")),
                "" if cost is None else f"$ {cost:,.2f}",
            ]
        )
    header = ["run", "stage", "steps", "samples", "tokens", "seconds", "tokens/s", "loss", "eval loss", "cost"]
    return Table("Training", header, rows, "Losses in nats a token: first → last.")


def answers(comparison: Comparison) -> Table:
    """What the models wrote: tokens, cut-off and empty answers, speed."""
    rows = [
        [
            model["label"],
            f"{model['tokens']:,}",
            f"{model['tokens'] / comparison['rows']:.0f}",
            f"{model['truncated']}",
            f"{model['empty']}",
            f"{model['tokens_per_second']:.0f}",
        ]
        for model in comparison["models"]
    ]
    header = ["model", "tokens", "tokens an answer", "cut off at the limit", "empty", "tokens/s, prompts included"]
    return Table("Answers", header, rows)


def signatures(comparison: Comparison) -> Table:
    """What exactly each score is, and how answers were decoded."""
    rows = [[metrics.LABELS[name], line] for name, line in comparison["signatures"].items()]
    decodings = dict.fromkeys(model["decoding"] for model in comparison["models"])
    return Table("Signatures", ["score", "definition"], rows + [["Decoding", line] for line in decodings])


def hyperparameters(run: Mapping[str, Any]) -> Table:
    """Every hyperparameter of a training run: requested, what became of it, effective value."""
    rows = [
        [row["key"], _value(row["requested"]), row["status"], _value(row["effective"]), row["note"]]
        for row in run["hyperparameters"]
    ]
    return Table(f"Hyperparameters of {run['label']}", ["key", "requested", "status", "effective", "note"], rows)


def findings(comparison: Comparison) -> list[str]:
    """What the numbers say, in sentences; a null result is said as plainly as any other."""
    sentences = [_pair_sentence(pair) for pair in comparison["differences"]]
    for found in comparison["forgetting"]:
        if found["ratio"] is not None and found["model"] != comparison["baseline"]:
            change = found["ratio"] - 1
            sentences.append(
                f"Forgetting: {found['model']} has general-text perplexity {found['perplexity']:.2f}, "
                f"{abs(change):.1%} {'above' if change > 0 else 'below'} {comparison['baseline']}."
            )
    for found in comparison["convergence"]:
        sentences.append(_convergence_sentence(found))
    if len(comparison["models"]) > 1 and comparison["chunks"] < 20:
        sentences.append(f"Only {comparison['chunks']} log chunks were tested: read the intervals as rough.")
    for label, rows in comparison.get("rows_left_out", {}).items():
        sentences.append(f"{rows} rows of {label} are left out: not all test runs have them.")
    return sentences


def _pair_sentence(pair: Mapping[str, Any]) -> str:
    found = pair["scores"]
    higher = [metrics.LABELS[name] for name in metrics.NAMES if found[name]["low"] > 0]
    lower = [metrics.LABELS[name] for name in metrics.NAMES if found[name]["high"] < 0]
    example = f"fuzzy match {_signed(found['fuzzy_match'])}"
    start = f"{pair['model']} against {pair['against']}: "
    if not higher and not lower:
        return f"{start}no score differs distinguishably from zero ({example})."
    parts = [f"{_listed(names)} {word}" for names, word in ((higher, "higher"), (lower, "lower")) if names]
    rest = len(metrics.NAMES) - len(higher) - len(lower)
    open_ones = f"; {rest} of {len(metrics.NAMES)} scores not distinguishable from zero" if rest else ""
    return f"{start}{' and '.join(parts)} ({example}){open_ones}."


def _convergence_sentence(found: Mapping[str, Any]) -> str:
    target = f"{found['reference']}'s final eval loss of {found['target_loss']:.4f}"
    if found["steps"] is None:
        return f"{found['run']} never reaches {target} (its own: {found['final_loss']:.4f})."
    return (
        f"{found['run']} reaches {target} after {found['steps']:.1f} of {found['reference_steps']} steps; "
        f"its own final eval loss is {found['final_loss']:.4f}."
    )


def _listed(names: Sequence[str]) -> str:
    return "all six scores" if len(names) == len(metrics.NAMES) else ", ".join(names)


def _with_interval(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _signed(found: Mapping[str, float]) -> str:
    value, low, high = (_plus(found[name]) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _plus(value: float) -> str:
    return f"{value:+.3f}".replace("-", MINUS)


def _mark(found: Mapping[str, Any]) -> str:
    if not found["significant"]:
        return "≈"
    return "▲" if found["value"] > 0 else "▼"


def _from_to(ends: Mapping[str, float] | None) -> str:
    return f"{ends['first']:.3f} → {ends['last']:.3f}" if ends else ""


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:,.{places}f}"


def _value(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
