"""JSON, templates and labels against answers whose right and wrong parts are known by construction."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.evaluate import structured

ALERT = {
    "risk_score": 80,
    "should_alert_user": True,
    "messages": {"critical": [3, 4], "warning": [1]},
    "summary": ["Disk full."],
}
TRUTH = json.dumps(ALERT)


def alert(**changes: object) -> str:
    return json.dumps(ALERT | changes)


@pytest.mark.parametrize(
    ("output", "valid"),
    [
        (TRUTH, 1),
        (f"```json\n{TRUTH}\n```", 1),
        (alert(extra="x"), 1),
        (alert(risk_score=12.5), 1),
        (alert(risk_score="80"), 0),
        (alert(should_alert_user=1), 0),
        (alert(messages={"critical": [3]}), 0),
        (alert(summary=[1]), 0),
        (f"Here it is: {TRUTH}", 0),
        (TRUTH[:-1], 0),
        (f"[{TRUTH}]", 0),
        ("", 0),
    ],
)
def test_json_is_valid_when_it_has_the_truths_fields_and_types(output: str, valid: int) -> None:
    assert structured.json_valid(TRUTH, output) == (1, valid)


@pytest.mark.parametrize(
    ("output", "right"),
    [
        (TRUTH, 4),
        (alert(messages={"critical": [4, 3], "warning": [1]}), 4),
        (alert(messages={"critical": [3], "warning": [1]}), 3),
        (alert(summary=["other words"], risk_score=81), 3),
        (alert(should_alert_user=1), 3),
        ("not json", 0),
    ],
)
def test_fields_are_counted_one_by_one_and_texts_left_out(output: str, right: int) -> None:
    assert structured.json_fields(TRUTH, output) == (4, right)


def test_alerts_are_judged_by_decision_score_and_lines() -> None:
    output = alert(should_alert_user=False, risk_score=55, messages={"critical": [3, 9], "warning": [4]})
    assert structured.alert_decision(TRUTH, output) == (1, 0)
    assert structured.alert_risk_error(TRUTH, output) == (1, 0.25)
    # (critical, 3) hit; (critical, 9) and (warning, 4) false; (critical, 4) and (warning, 1) missed.
    assert structured.alert_lines(TRUTH, output) == (1, 2, 2)
    assert structured.alert_lines(TRUTH, "nothing") == (0, 0, 3)


def test_an_error_of_an_unreadable_score_is_unknown_and_not_zero() -> None:
    for output in ("nothing", alert(risk_score=900), alert(risk_score=None)):
        assert structured.alert_risk_error(TRUTH, output) is None
    assert structured.alert_decision(TRUTH, "nothing") == (1, 0)


@pytest.mark.parametrize("name", ["json_valid", "json_fields", "alert_decision", "alert_risk_error", "alert_lines"])
def test_rows_without_json_do_not_fit(name: str) -> None:
    assert getattr(structured, name)("The disk is full.", TRUTH) is None


@pytest.mark.parametrize(
    ("truth", "output", "counts"),
    [
        ("Failed <*> for <*>", "Failed <*> for <*>", (1, 1)),
        ("Failed <*> for <*>", "`Failed  <*> for <*>`\n", (1, 1)),
        ("Failed <*> for <*>", "```\nFailed <*> for <*>\n```", (1, 1)),
        ("Failed <*> for <*>", "Failed <*> for root", (1, 0)),
        ("Failed <*> for <*>", "", (1, 0)),
        ("a <*>\nb <*>\nc", "a <*>\nb 1\nc", (3, 2)),
        ("a <*>\nb <*>", "a <*>", (2, 1)),
        ("a <*>", "a <*>\nand more words", (1, 1)),
    ],
)
def test_templates_are_compared_line_by_line(truth: str, output: str, counts: tuple[int, int]) -> None:
    assert structured.templates(truth, output) == counts


@pytest.mark.parametrize(
    ("truth", "output", "counts", "right"),
    [
        ("abnormal", "This entry is Abnormal.", (1, 0, 0), 1),
        ("abnormal", "not normal", (1, 0, 0), 1),
        ("abnormal", "normal", (0, 0, 1), 0),
        ("abnormal", "I cannot tell", (0, 0, 1), 0),
        ("normal", "anomaly", (0, 1, 0), 0),
        ("normal", "normal", None, 1),
        ("normal", "I cannot tell", None, 0),
        ("異常", "このログは異常です", (1, 0, 0), 1),
        ("normal\nabnormal\nabnormal", "1. abnormal\n2. abnormal\n3. normal", (1, 1, 1), 1),
    ],
)
def test_anomalies_are_hits_false_alarms_and_misses(
    truth: str, output: str, counts: tuple[int, ...] | None, right: int
) -> None:
    assert structured.anomalies(truth, output) == counts
    found = structured.labels(truth, output)
    assert found is not None and found[1] == right


def test_a_truth_without_label_does_not_fit() -> None:
    assert structured.anomalies("The disk is full.", "abnormal") is None
    assert structured.labels("The disk is full.", "abnormal") is None
    assert structured.templates("\n", "x") is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4), json_values)
def test_every_object_agrees_with_itself_and_no_answer_crashes(truth: dict[str, object], output: object) -> None:
    text = json.dumps(truth)
    assert structured.json_valid(text, text) == (1, 1)
    fields = structured.json_fields(text, text)
    assert fields is None or fields[0] == fields[1]
    for judge in (structured.json_fields, structured.alert_lines, structured.alert_risk_error, structured.json_valid):
        judge(text, json.dumps(output))


def test_deep_nesting_is_no_json_but_no_crash() -> None:
    assert structured.json_valid(TRUTH, "[" * 100_000) == (1, 0)
