"""What charts are made of: units, rates, layers."""

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
