"""Figures as parts of a page: what they take from it."""

from loglore.evaluate import metrics, plots


def test_a_figure_in_a_page_has_its_colors_and_grounds() -> None:
    scores = {name: {"value": 0.3, "low": 0.2, "high": 0.4} for name in metrics.NAMES}
    figure = plots.bars({"base": scores}, 30, 16, scores)
    text = plots.svg(figure, "Scores")
    # A label stands on the page's own ground, which is dark at night.
    assert text.count("var(--paper)") == len(scores)
    assert "var(--line)" in text and "currentColor" in text
