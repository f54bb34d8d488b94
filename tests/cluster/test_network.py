"""Training processes listen on the interface with their node's address, not where the host's name leads."""

import pytest

from loglore.cluster.network import interface_of

INTERFACES = {
    "lo": ["127.0.0.1", "::1", "00:00:00:00:00:00"],
    "eth0": ["10.77.0.11", "fe80::1%eth0", "02:42:ac:11:00:02"],
    "ib0": ["192.168.5.7"],
}


@pytest.mark.parametrize(("address", "name"), [
    ("10.77.0.11", "eth0"), ("192.168.5.7", "ib0"), ("fe80::1", "eth0"), ("127.0.0.1", "lo"), ("203.0.113.9", None),
])  # fmt: skip
def test_the_interface_of_an_address(address: str, name: str | None) -> None:
    assert interface_of(address, INTERFACES) == name
