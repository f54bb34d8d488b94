"""HTTP transports for URLs that somebody else named: they connect to public addresses only (`endpoint.addresses`).

A name is resolved, all its addresses are looked at, and the request goes to one of them; TLS verifies the name as ever.
Redirects come through here as well. Proxies of the environment are not used: they would resolve the name themselves.
"""

import asyncio
import time
from collections.abc import Sequence

import httpx2

from loglore.endpoint import addresses

# Addresses that were looked at stay good: it is to them that connections are made.
KEPT_S = 30.0


class _Known:
    """Hosts that were looked at lately, with their addresses."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], tuple[float, Sequence[str]]] = {}

    def get(self, url: httpx2.URL) -> Sequence[str] | None:
        """Addresses looked at less than `KEPT_S` ago."""
        at, found = self._known.get((url.host, url.port), (0.0, ()))
        return found if found and time.monotonic() - at < KEPT_S else None

    def look(self, url: httpx2.URL) -> Sequence[str]:
        """Resolve a host and look at its addresses.

        Raises:
            InputError: one is not public.
            httpx2.ConnectError: it has none.
        """
        try:
            found = addresses.resolve(url.host, url.port)
        except OSError as fault:
            raise httpx2.ConnectError(f"{url.host}: {fault}") from None
        addresses.check(url.host, found)
        self._known[url.host, url.port] = time.monotonic(), found
        return found


class PublicTransport(httpx2.HTTPTransport):
    """For `httpx2.Client`."""

    def __init__(self, limits: httpx2.Limits) -> None:
        super().__init__(limits=limits)
        self._known = _Known()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the first address that accepts a connection."""
        *others, last = self._known.get(request.url) or self._known.look(request.url)
        for address in others:
            try:
                return super().handle_request(_at(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return super().handle_request(_at(request, last))


class PublicAsyncTransport(httpx2.AsyncHTTPTransport):
    """For `httpx2.AsyncClient`."""

    def __init__(self, limits: httpx2.Limits) -> None:
        super().__init__(limits=limits)
        self._known = _Known()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the first address that accepts a connection."""
        found = self._known.get(request.url) or await self._look(request)
        *others, last = found
        for address in others:
            try:
                return await super().handle_async_request(_at(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await super().handle_async_request(_at(request, last))

    async def _look(self, request: httpx2.Request) -> Sequence[str]:
        seconds = request.extensions.get("timeout", {}).get("connect")
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(self._known.look, request.url)
        except TimeoutError:
            raise httpx2.ConnectTimeout(f"{request.url.host}: its name was not resolved in {seconds:g} s") from None


def _at(request: httpx2.Request, address: str) -> httpx2.Request:
    """The request as it is sent to an address: `Host` and the name that TLS verifies stay."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )
