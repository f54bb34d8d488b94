"""`/ll/uploads…` of the page server: uploads in parts, passed on to the API byte by byte, so that nothing is held here.

    browser ── slices of a file ──▶ page server ── as they come ──▶ API `/v1/uploads…`

The pages' own address is used, because it is the only one that a visitor's browser is sure to reach: the API may listen
on loopback alone. So nothing has to be opened to other origins, either: a request must come from a page of this server.
A visitor's key goes along as it was sent; the API decides.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx2
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

PREFIX = "/ll/uploads"
UPLOAD = re.compile(r"upload_[0-9a-zA-Z]{1,60}")
VERBS = ("parts", "complete", "cancel")
PASSED = ("authorization", "content-type", "content-length")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BLOCK = 1 << 18
# A slow line may take its time over a part; the API has the last word.
TIMEOUT_S = 3600.0


def routes(api_url: str, host: str) -> "list[BaseRoute]":
    """The routes, for an API at `api_url` and pages that are bound to `host`."""
    import httpx2
    from starlette.routing import Route

    timeout = httpx2.Timeout(TIMEOUT_S, connect=5.0)
    client = httpx2.AsyncClient(timeout=timeout, trust_env=False, verify=api_url.startswith("https:"))
    target = f"{api_url.rstrip('/')}/v1/uploads"

    async def relay(request: "Request") -> "Response":
        if not same_origin(request.headers.get("host", ""), request.headers.get("origin"), host):
            return _refused(403, "uploads are taken from the pages of this server alone")
        upload, verb = request.path_params.get("upload", ""), request.path_params.get("verb", "")
        if (upload and not UPLOAD.fullmatch(upload)) or (verb and verb not in VERBS):
            return _refused(404, "no such upload")
        return await _pass_on(client, request, "/".join((target, *filter(None, (upload, verb)))))

    return [
        Route(PREFIX, relay, methods=["POST"]),
        Route(PREFIX + "/{upload}", relay, methods=["GET"]),
        Route(PREFIX + "/{upload}/{verb}", relay, methods=["POST"]),
    ]


def same_origin(host: str, origin: str | None, bound: str) -> bool:
    """Whether a request comes from a page of this server.

    Without keys (pages on loopback) the name in `Host` must be loopback's, too: any other was pointed here (DNS
    rebinding).

    >>> same_origin("127.0.0.1:8501", "http://127.0.0.1:8501", "127.0.0.1")
    True
    >>> same_origin("127.0.0.1:8501", "http://evil.example", "127.0.0.1")
    False
    >>> same_origin("evil.example:8501", "http://evil.example:8501", "127.0.0.1")
    False
    """
    try:
        named, came = urlsplit(f"//{host}"), urlsplit(origin or f"//{host}")
    except ValueError:
        return False
    if bound in LOOPBACK and named.hostname not in LOOPBACK:
        return False
    return came.netloc == named.netloc


async def _pass_on(client: "httpx2.AsyncClient", request: "Request", url: str) -> "Response":
    import httpx2
    from starlette.requests import ClientDisconnect
    from starlette.responses import Response

    headers = {name: value for name, value in request.headers.items() if name in PASSED}
    body: dict[str, Any] = {} if request.method == "GET" else {"content": _blocks(request)}
    try:
        reply = await client.request(request.method, url, headers=headers, **body)
    except ClientDisconnect:
        return Response(status_code=499)
    except httpx2.HTTPError as fault:
        return _refused(502, f"the API does not answer ({type(fault).__name__}); is `loglore studio` still running?")
    return Response(reply.content, reply.status_code, media_type=reply.headers.get("content-type"))


async def _blocks(request: "Request") -> AsyncIterator[bytes]:
    async with contextlib.aclosing(request.stream()) as stream:
        async for block in stream:
            yield block


def _refused(status: int, message: str) -> "Response":
    from starlette.responses import JSONResponse

    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status)
