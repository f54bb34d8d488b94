"""Where this server may be sent: URLs that callers store or name lead to public addresses, unless settings allow more.

A caller could else use the server as a way into its own network (SSRF): to the metadata service of a cloud, a database
on loopback, a printer. Names are resolved and every address they have is looked at; a name that changes its address
between this look and the connection (DNS rebinding) is looked at again when a job that uses it is made.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from loglore.api.errors import ApiError
from loglore.settings import load

SCHEMES = ("http", "https")


def check(url: str, param: str) -> None:
    """Refuse a URL that is none, or that leads to loopback, private, link-local or reserved addresses.

    Args:
        url: where to.
        param: field of the request, for the error.

    Raises:
        ApiError: 400 with the reason.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in SCHEMES or not host or parts.username is not None or parts.password is not None:
        raise _refused(param, f"{url[:200]!r}: expected an http or https URL without a user name")
    if any(each.isspace() or not each.isprintable() for each in url):
        raise _refused(param, "a URL with white space or control characters")
    if load().private_endpoints:
        return
    for address in addresses(host, port, param):
        if not is_public(address):
            text = f"{host} is {address}, an address of this machine or a private network; allow such addresses with "
            raise _refused(param, text + "LOGLORE_PRIVATE_ENDPOINTS=1 on the server")


def addresses(host: str, port: int | None, param: str) -> list[str]:
    """All addresses of a host.

    Raises:
        ApiError: 400, it has none.
    """
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _refused(param, f"{host}: no such host") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the internet.

    >>> is_public("127.0.0.1"), is_public("169.254.169.254"), is_public("::ffff:10.0.0.1"), is_public("8.8.8.8")
    (False, False, False, True)
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    if mapped is not None:
        found = mapped
    return found.is_global and not found.is_multicast and not found.is_reserved


def _refused(param: str, text: str) -> ApiError:
    return ApiError(400, f"{param}: {text}", "address_refused", param)
