"""A comparison as plain tables; the terminal, Markdown and the HTML page all show these same rows."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loglore.evaluate import bootstrap, grounded, metrics
from loglore.evaluate.cells import from_to, mark, number, p_value, plain, signed, with_interval
from loglore.evaluate.measures import BY_NAME

if TYPE_CHECKING:
    from rich.table import Table as RichTable

SLICE_SCORE = "fuzzy_match"
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
            table.add_row(*(Text(cell.replace(" [", "\n[").replace("] p", "]\np")) for cell in row))
        return table


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table that has rows, in reading order."""
    makers = (
        scores,
        further,
        differences,
        wins,
        slices,
        last_turns,
        forgetting,
        harness_tasks,
        groundedness,
        convergence,
        training,
        answers,
    )
    return [table for make in makers if (table := make(comparison)).rows]


def terminal(comparison: Comparison) -> list["RichTable"]:
    """What a terminal shows at the end of a comparison: scores, differences, forgetting, convergence."""
    shown = (scores, differences, groundedness, forgetting, convergence)
    # Answers without a model would be columns too many for 80 characters; the findings speak of them.
    models = {**comparison, "baselines": [], "against_nearest": []}
    return [table.transposed().rich() for make in shown if (table := make(models)).rows]


def text(comparison: Comparison) -> str:
    """The terminal's tables and the findings as plain text, 100 columns wide."""
    from rich.console import Console

    console = Console(width=100, file=io.StringIO(), record=True)
    for table in terminal(comparison):
        console.print(table)
    return console.export_text() + "\n".join(comparison["findings"])


def scores(comparison: Comparison) -> Table:
    """Models and answers without a model x six scores with intervals."""
    rows = [
        [model["label"], *(with_interval(model["scores"][name]) for name in metrics.NAMES)]
        for model in [*comparison["models"], *comparison["baselines"]]
    ]
    note = (
        f"{comparison['rows']} held-out rows from {comparison['chunks']} log chunks; in brackets 95 % percentile "
        f"bootstrap intervals, {comparison['bootstrap']['resamples']:,} resamples of whole chunks."
    )
    if comparison["baselines"]:
        note += " The last lines are answers that need no model."
    return Table("Scores", ["model", *metrics.LABELS.values()], rows, note)


def further(comparison: Comparison) -> Table:
    """Measures beside the six scores x models, with how many rows each fits."""
    found = [*comparison["models"], *comparison["baselines"]]
    rows = []
    for name, measure in BY_NAME.items():
        fitting = max((each["measures"][name]["rows"] for each in found if name in each["measures"]), default=0)
        if not fitting:
            continue
        better = f", {measure.better} is better" if measure.better == "lower" else ""
        cells = [with_interval(each["measures"].get(name)) or "no row fits" for each in found]
        rows.append([f"{measure.label} ({fitting} rows{better})", *cells])
    note = "In brackets the rows that a measure fits; what it counts stands under Signatures."
    return Table("Further measures", ["measure", *(each["label"] for each in found)], rows, note)


def wins(comparison: Comparison) -> Table:
    """Every pair of models x rows won, tied and lost."""
    rows = [
        [
            f"{pair['model']} vs {pair['against']}",
            *("{won} / {tied} / {lost}".format(**pair["wins"][name]) for name in metrics.NAMES),
        ]
        for pair in [*comparison["differences"], *comparison["against_nearest"]]
    ]
    note = "Rows won / tied / lost by the first; a tie is a difference below 0.01. BLEU here is that of single rows."
    return Table("Rows won, tied and lost", ["pair", *metrics.LABELS.values()], rows, note)


def slices(comparison: Comparison) -> Table:
    """Parts of the rows x models: fuzzy match, and how it differs from the baseline's there."""
    labels = [model["label"] for model in comparison["models"]]
    rows = []
    for part in comparison["slices"]:
        cells = []
        for label in labels:
            model = part["models"][label]
            if part["chunks"] < bootstrap.LEAST_CLUSTERS:
                cells.append(f"{model['scores'][SLICE_SCORE]['value']:.3f}")
                continue
            sign = f"{mark(model['difference'][SLICE_SCORE])} " if "difference" in model else ""
            cells.append(sign + with_interval(model["scores"][SLICE_SCORE]))
        rows.append(
            [f"{part['kind']}: {part['value'].replace('_', ' ')}", f"{part['rows']}", f"{part['chunks']}", *cells]
        )
    note = (
        f"{metrics.LABELS[SLICE_SCORE]} on parts of the rows; ▲ ▼ ≈ against {comparison['baseline']} on the same rows, "
        f"as above. No interval below {bootstrap.LEAST_CLUSTERS} chunks; of many parts a few differ by chance. Length: "
        "of the true answer."
    )
    return Table("Slices", ["slice", "rows", "chunks", *labels], rows, note)


def last_turns(comparison: Comparison) -> Table:
    """The six scores on the last turns alone, where rows have several."""
    found = [model for model in comparison["models"] if model["last_turn"] and model["last_turn"]["rows"]]
    rows = [
        [each["label"], *(with_interval(each["last_turn"]["scores"][name]) for name in metrics.NAMES)] for each in found
    ]
    note = f"The {found[0]['last_turn']['rows']} last turns alone." if found else ""
    return Table("Last turns", ["model", *metrics.LABELS.values()], rows, note)


def differences(comparison: Comparison) -> Table:
    """Every pair of models x six paired differences."""
    rows = [
        [
            f"{pair['model']} vs {pair['against']}",
            *(
                f"{mark(found)} {signed(found)} {p_value(found['p'])}"
                for found in map(pair["scores"].get, metrics.NAMES)
            ),
        ]
        for pair in [*comparison["differences"], *comparison["against_nearest"]]
    ]
    note = (
        "First minus second, paired on the same rows. ▲ higher and ▼ lower: the 95 % interval excludes 0. ≈: it "
        "includes 0, so the difference is not distinguishable from zero here. p is that of a paired bootstrap, "
        "two-sided. Intervals and p are not adjusted for the number of comparisons."
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


def harness_tasks(comparison: Comparison) -> Table:
    """Harness tasks and their metrics x models that ran them."""
    found = comparison["harness"]
    names = {(task, metric) for run in found.values() for task, each in run.items() for metric in each["metrics"]}
    rows = []
    for task, metric in sorted(names):
        cells = []
        for run in found.values():
            value = run.get(task, {"metrics": {}})["metrics"].get(metric)
            error = f" ± {1.96 * value['stderr']:.3f}" if value and value["stderr"] is not None else ""
            cells.append(f"{value['value']:.3f}{error}" if value else "")
        rows.append([f"{task}: {metric}", *cells])
    note = "± is 1.96 standard errors of the harness, of each model alone: models that overlap may still differ."
    return Table("LM Evaluation Harness", ["task", *found], rows, note)


def groundedness(comparison: Comparison) -> Table:
    """Share of checkable claims that the log supports, contradicts, or leaves open."""
    checked = [("truth", comparison["truth"]), *((model["label"], model) for model in comparison["models"])]
    rows = [
        [label, f"{found['claims']:,}", *(with_interval(found["groundedness"][name]) for name in grounded.VERDICTS)]
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
                *(number(run[name], places) for name, places in (("steps", 0), ("samples", 0), ("tokens", 0))),
                *(number(run[name], places) for name, places in (("seconds", 1), ("tokens_per_second", 0))),
                *(from_to(run[name]) for name in ("loss", "eval_loss")),
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
            number(model["tokens_per_second"], 0),
        ]
        for model in comparison["models"]
    ]
    header = ["model", "tokens", "tokens an answer", "cut off at the limit", "empty", "tokens/s, prompts included"]
    return Table("Answers", header, rows)


def signatures(comparison: Comparison) -> Table:
    """What exactly each score is, and how answers were decoded."""
    labels = metrics.LABELS | {name: measure.label for name, measure in BY_NAME.items()}
    rows = [[labels[name], line] for name, line in comparison["signatures"].items()]
    decodings = dict.fromkeys(model["decoding"] for model in comparison["models"])
    return Table("Signatures", ["score", "definition"], rows + [["Decoding", line] for line in decodings])


def hyperparameters(run: Mapping[str, Any]) -> Table:
    """Every hyperparameter of a training run: requested, what became of it, effective value."""
    rows = [
        [row["key"], plain(row["requested"]), row["status"], plain(row["effective"]), row["note"]]
        for row in run["hyperparameters"]
    ]
    return Table(f"Hyperparameters of {run['label']}", ["key", "requested", "status", "effective", "note"], rows)
