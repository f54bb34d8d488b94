"""What a comparison's numbers say, in sentences; a null result is said as plainly as any other.

A difference whose paired 95 % interval includes zero is "not distinguishable from zero", whatever its sign.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from loglore.evaluate import baselines, bootstrap, metrics
from loglore.evaluate.cells import p_value, signed

Comparison = Mapping[str, Any]
FEW_CHUNKS = 20


def findings(comparison: Comparison) -> list[str]:
    """All sentences: pairs, copied answers, forgetting, convergence, then what limits all of it."""
    sentences = [_pair(pair) for pair in comparison["differences"]]
    sentences += [_against_copy(pair) for pair in comparison["against_nearest"]]
    for found in comparison["forgetting"]:
        if found["ratio"] is not None and found["model"] != comparison["baseline"]:
            change = found["ratio"] - 1
            sentences.append(
                f"Forgetting: {found['model']} has general-text perplexity {found['perplexity']:.2f}, "
                f"{abs(change):.1%} {'above' if change > 0 else 'below'} {comparison['baseline']}."
            )
    sentences += [_convergence(found) for found in comparison["convergence"]]
    return sentences + _limits(comparison)


def _limits(comparison: Comparison) -> list[str]:
    sentences = []
    if comparison["chunks"] < bootstrap.LEAST_CLUSTERS:
        sentences.append(
            f"Only {comparison['chunks']} log chunks were tested: too few for intervals, so no difference is called "
            "one."
        )
    elif len(comparison["models"]) > 1 and comparison["chunks"] < FEW_CHUNKS:
        sentences.append(f"Only {comparison['chunks']} log chunks were tested: read the intervals as rough.")
    if comparison["rows_with_chunk_in_training"]:
        sentences.append(
            f"{comparison['rows_with_chunk_in_training']} of {comparison['rows']} test rows are of log chunks that the "
            "training rows have, too: their scores say little about new logs."
        )
    for label, rows in comparison.get("rows_left_out", {}).items():
        sentences.append(f"{rows} rows of {label} are left out: not all test runs have answers to them.")
    datasets = {model["dataset"]["sha256"] for model in comparison["models"]}
    if len(datasets) > 1:
        sentences.append(
            f"The test runs are of different datasets; compared are the {comparison['rows']} rows in common."
        )
    if len({model["decoding"] for model in comparison["models"]}) > 1:
        sentences.append("The models answered under different settings (see Signatures): differences are of both.")
    return sentences


def _pair(pair: Mapping[str, Any]) -> str:
    found = pair["scores"]
    clear = [name for name in metrics.NAMES if found[name]["significant"]]
    higher = [metrics.LABELS[name] for name in clear if found[name]["value"] > 0]
    lower = [metrics.LABELS[name] for name in clear if found[name]["value"] < 0]
    example = f"fuzzy match {signed(found['fuzzy_match'])}, {p_value(found['fuzzy_match']['p'])}"
    start = f"{pair['model']} against {pair['against']}: "
    if not higher and not lower:
        return f"{start}no score differs distinguishably from zero ({example})."
    parts = [f"{_listed(names)} {word}" for names, word in ((higher, "higher"), (lower, "lower")) if names]
    rest = len(metrics.NAMES) - len(higher) - len(lower)
    open_ones = f"; {rest} of {len(metrics.NAMES)} scores not distinguishable from zero" if rest else ""
    return f"{start}{' and '.join(parts)} ({example}){open_ones}."


def _against_copy(pair: Mapping[str, Any]) -> str:
    found = pair["scores"]["fuzzy_match"]
    value = f"fuzzy match {signed(found)}, {p_value(found['p'])}"
    if not found["significant"]:
        return f"{pair['model']} is not distinguishable from copying the {baselines.NEAREST} ({value})."
    word = "better" if found["value"] > 0 else "worse"
    return f"{pair['model']} is {word} than copying the {baselines.NEAREST} ({value})."


def _convergence(found: Mapping[str, Any]) -> str:
    target = f"{found['reference']}'s final eval loss of {found['target_loss']:.4f}"
    if found["steps"] is None:
        return f"{found['run']} never reaches {target} (its own: {found['final_loss']:.4f})."
    return (
        f"{found['run']} reaches {target} after {found['steps']:.1f} of {found['reference_steps']} steps; "
        f"its own final eval loss is {found['final_loss']:.4f}."
    )


def _listed(names: Sequence[str]) -> str:
    return "all six scores" if len(names) == len(metrics.NAMES) else ", ".join(names)
