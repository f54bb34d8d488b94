"""Which addresses may be connected to when somebody else named the host: those of the internet.

A caller of the API could else use the server as a way into its own network (SSRF): to the metadata service of a cloud,
a database on loopback, a printer. A look at the URL is not enough, as its name may lead elsewhere a moment later (DNS
rebinding), and so may a redirect. So what connects looks again: `endpoint.public` (HTTP) and `socket_for` (S3) connect
to the very address that was found to be public.
"""

import ipaddress
import socket
from typing import Any

from loglore.errors import InputError

# Addresses that stand for an IPv4 address behind a translator (RFC 6052): as public as that one.
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address is one of the internet.

    >>> is_public("127.0.0.1"), is_public("169.254.169.254"), is_public("::ffff:10.0.0.1"), is_public("8.8.8.8")
    (False, False, False, True)
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in NAT64:
            inner = ipaddress.IPv4Address(found.packed[-4:])
        found = inner or found
    return found.is_global and not found.is_multicast and not found.is_reserved


def resolve(host: str, port: int | None) -> list[str]:
    """All addresses of a host, each once.

    Raises:
        OSError: it has none.
    """
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host[:100]!r}: not a name of a host") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def check(host: str, addresses: list[str]) -> None:
    """Refuse a host of which any address is not public.

    Raises:
        InputError: names host and address.
    """
    for address in addresses:
        if not is_public(address):
            raise refused(host, address)


def refused(host: str, address: str) -> InputError:
    """The error for an address that is not public."""
    return InputError(
        f"{host} is {address}, an address of this machine or a private network; allow such addresses with "
        "LOGLORE_PRIVATE_ENDPOINTS=1 on the server"
    )


def socket_for(info: tuple[Any, ...]) -> socket.socket:
    """A socket for an address as of `getaddrinfo`: for clients that ask for one just before they connect.

    Raises:
        InputError: the address is not public.
    """
    family, kind, protocol, _, place = info
    if not is_public(str(place[0])):
        raise refused("the endpoint", str(place[0]))
    return socket.socket(family, kind, protocol)
