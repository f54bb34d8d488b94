"""Where this server may be sent: URLs that callers store or name lead to public addresses, unless settings allow more.

The look at a URL when it is stored or named gives a clear answer; what connects later looks again at the very address
that it connects to (`endpoint.addresses`): a name may lead elsewhere by then.
"""

from urllib.parse import urlsplit

from loglore.api.errors import ApiError
from loglore.endpoint import addresses
from loglore.errors import InputError
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
    if not public_only():
        return
    try:
        addresses.check(host, addresses.resolve(host, port))
    except OSError:
        raise _refused(param, f"{host}: no such host") from None
    except InputError as fault:
        raise _refused(param, str(fault)) from None


def public_only() -> bool:
    """Whether callers may name public addresses only: what the one who connects is to be told."""
    return not load().private_endpoints


def _refused(param: str, text: str) -> ApiError:
    return ApiError(400, f"{param}: {text}", "address_refused", param)
