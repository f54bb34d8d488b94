"""What is handed to a cluster: keys that only the user can read, versions that must match, names of what is missing."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loglore.cluster import connection, order
from loglore.cluster.order import Order
from loglore.errors import InputError

ORDER = Order("prepare", {"rows": "/rows.jsonl"}, 0, 0, 1, 45.0, "/nowhere", "attempt")


def test_endpoint_keys_are_read_once_and_by_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_ENDPOINT_KEY_LAB", "secret")
    folder = tmp_path / order.FOLDER
    ORDER.write(folder)
    assert (folder / order.KEYS).stat().st_mode & 0o777 == 0o600
    assert "secret" not in (folder / order.ORDER).read_text() and "secret" not in str(order.environment())
    monkeypatch.delenv("LOGLORE_ENDPOINT_KEY_LAB")
    monkeypatch.setenv("LOGLORE_HOME", "before")
    order.take_over(folder, Order.read(folder))
    assert os.environ["LOGLORE_ENDPOINT_KEY_LAB"] == "secret" and not (folder / order.KEYS).exists()
    # A home that is not here is not made here: the run folder has one.
    assert os.environ["LOGLORE_HOME"] == str(folder / "home")
    monkeypatch.delenv("LOGLORE_ENDPOINT_KEY_LAB")


def test_a_key_goes_along_when_an_endpoint_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB", "secret")
    monkeypatch.setenv("OTHER", "of no concern")
    teacher = [{"url": "http://lab/v1", "model": "m", "key_env": "LAB"}, {"url": "http://x/v1", "key_env": None}]
    replace(ORDER, spec={"teacher": teacher}).write(tmp_path)
    assert json.loads((tmp_path / order.KEYS).read_text()) == {"LAB": "secret"}


def test_an_order_forgets_how_an_earlier_attempt_ended(tmp_path: Path) -> None:
    for name in (order.STOP, order.OUTCOME, order.PULSE, order.OUTPUT):
        (tmp_path / name).write_text("{}")
    ORDER.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {order.ORDER, order.OUTPUT}
    assert Order.read(tmp_path) == ORDER


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ray", *(name for name in sys.modules if name.startswith("ray."))):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"is not installed here: pip install 'loglore\[ray\]'"):
        connection.connect(connection.ADDRESS)


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert connection.address_of(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265/")
    assert connection.address_of(None) == "http://head:8265"
    assert connection.address_of("https://other") == "https://other"
    with pytest.raises(InputError, match=r"^--address head:6379: expected the URL of Ray's job server, such as http"):
        connection.address_of("head:6379")


def test_faults_name_both_sides(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^storage is not shared: .+/order\.json is not on node .+; put the run folder"
    ):
        Order.read(tmp_path)
    ours = {"Python": "3.11", "Ray": "2.60.0", "LogLore": "1.0"}
    order.compare(ours, ours, "node a")
    with pytest.raises(InputError, match=r"^Python 3\.12 on node a, 3\.11 here: install the same version on both"):
        order.compare(ours | {"Python": "3.12"}, ours, "node a")
    with pytest.raises(InputError, match=r"^LogLore none on node a, 1\.0 here"):
        order.compare({"Python": "3.11", "Ray": "2.60.0"}, ours, "node a")
    (tmp_path / "there").touch()
    assert order.missing([tmp_path / "there", tmp_path / "gone"]) == [str(tmp_path / "gone")]
