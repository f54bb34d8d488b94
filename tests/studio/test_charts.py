"""What charts are made of: units, rates, layers."""

import datetime
from typing import Any

from loglore.studio import charts


def test_telemetry_becomes_a_chart_by_unit_with_rates_between_samples() -> None:
    gpu = {"gpu": 0, "utilisation_percent": 97.0, "memory_mb": 1000.0, "power_watts": 650.0}
    rows = [
        {"time": f"2026-11-26T10:00:{5 * n:02}+00:00", "machine_cpu_percent": 50.0, "memory_bytes": 2 * 10**9,
         "network_sent_bytes": 10**7 * n, "network_received_bytes": 0, "gpus": [gpu]}
        for n in range(3)
    ]  # fmt: skip
    found = charts.system(rows)
    assert list(found) == ["%", "GB", "W", "MB/s"]
    values = {unit: {(row["what"], row["value"]) for row in chart.data.to_dicts()} for unit, chart in found.items()}
    assert values["MB/s"] == {("sent", 2.0), ("received", 0.0)}
    assert values["W"] == {("GPU 0", 650.0)}
    assert values["GB"] == {("job", 2.0), ("GPU 0", 1.048576)}
    assert values["%"] == {("CPU", 50.0), ("GPU 0", 97.0)}


def test_what_was_not_measured_has_no_chart() -> None:
    assert list(charts.system([{"time": "2026-11-26T10:00:00+00:00", "machine_cpu_percent": 1.0}])) == ["%"]


def test_a_loss_without_validation_has_no_empty_layer() -> None:
    rows = [{"step": 1, "loss": 2.0}]
    assert len(charts.losses({"a": rows}).layer) == 1
    assert len(charts.losses({"a": [*rows, {"step": 1, "eval_loss": 2.0}]}).layer) == 2


def _timeline(begins: list[dict[str, str]]) -> Any:
    rows = [{"time": f"2026-03-01T10:{minute:02}:00.000Z", "level": "info", "lines": 5} for minute in range(60)]
    return charts.timeline(rows, 60.0, begins)


def test_a_timeline_marks_what_begins_with_its_id() -> None:
    at = "2026-03-01T10:{}:00.000Z"
    begins = [
        {"id": "T9", "text": "disk <*> full", "at": at.format("40")},
        {"id": "T4", "text": "retrying", "at": at.format("40")},
        {"id": "T7", "text": "link down", "at": at.format("10")},
        {"id": "T1", "text": "of the day before", "at": "2026-02-28T10:00:00.000Z"},
    ]
    chart = _timeline(begins)
    _, rule, label = chart.layer
    marks = rule.data.to_dicts()
    assert [(mark["label"], mark["begins"]) for mark in marks] == [
        ("T7", "T7 link down"), ("T9 T4", "T9 disk <*> full; T4 retrying")
    ]  # fmt: skip
    ten = datetime.datetime(2026, 3, 1, 10, 10, tzinfo=datetime.UTC)
    assert marks[0]["at"] == ten.timestamp() * 1000
    assert label.to_dict()["encoding"]["text"]["field"] == "label"
    # A span can still be drawn.
    assert [each["name"] for each in chart.to_dict()["params"]] == [charts.SPAN]


def test_ids_that_begin_close_to_each_other_stand_at_one_mark() -> None:
    begins = [{"id": f"T{n}", "text": "x", "at": f"2026-03-01T10:{n:02}:00.000Z"} for n in range(1, 6)]
    marks = _timeline(begins).layer[1].data.to_dicts()
    assert [mark["label"] for mark in marks] == ["T1 T2 T3 +2", "", "", "", ""]


def test_a_timeline_without_a_beginning_has_no_empty_layer() -> None:
    assert not hasattr(_timeline([]), "layer")
