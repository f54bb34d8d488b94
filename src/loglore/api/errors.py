"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` with a fitting status."""

import errno
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from loglore.errors import DiskFullError, InputError, JobError, UnavailableError

T = TypeVar("T")
SERVER_FAULT = 500
UNAVAILABLE, DISK_FULL = 503, 507
CLIENT_GONE = 499
# A client that is told so tries again by itself.
RETRY = {"Retry-After": "2"}
# OpenAI's names of errors other than a bad request.
KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """An answer other than 200.

    Args:
        status: HTTP status.
        message: what was wrong, for a person.
        code: for a program, such as `model_not_found`.
        param: the field of the request at fault.
        headers: further headers of the answer, such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = headers


def not_found(what: str) -> ApiError:
    """404 for something named in the path or body that is not there."""
    return ApiError(404, f"{what}: not found", "not_found")


def known(find: Callable[[], T]) -> T:
    """What `find` finds; its InputError becomes 404: the thing is named in the path, and it is not there."""
    try:
        return find()
    except InputError as fault:
        raise ApiError(404, str(fault), "not_found") from None


def body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The error object of a status."""
    kind = "server_error" if status >= SERVER_FAULT else KINDS.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def of(fault: Exception) -> tuple[int, dict[str, Any]]:
    """Status and error object of one of our own errors: bad input is the client's fault, a failed job the server's."""
    if isinstance(fault, ApiError):
        return fault.status, body(fault.status, fault.message, fault.code, fault.param)
    if isinstance(fault, UnavailableError):
        return UNAVAILABLE, body(UNAVAILABLE, str(fault), "unavailable")
    if isinstance(fault, DiskFullError):
        return DISK_FULL, body(DISK_FULL, str(fault), "disk_full")
    if isinstance(fault, OSError):
        return DISK_FULL, body(DISK_FULL, "the server's disk is full; make room and try again", "disk_full")
    status = 400 if isinstance(fault, InputError) else 500
    return status, body(status, str(fault))


def headers_of(fault: Exception) -> Mapping[str, str] | None:
    """Further headers of the answer to an error."""
    if isinstance(fault, ApiError):
        return fault.headers
    return RETRY if isinstance(fault, UnavailableError) else None


def install(app: FastAPI) -> None:
    """Give every error of the app this shape."""

    async def ours(_: Request, fault: Exception) -> JSONResponse:
        status, content = of(fault)
        return JSONResponse(content, status, headers=headers_of(fault))

    async def of_disk(request: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, OSError)
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            return await ours(request, fault)
        return await unexpected(request, fault)

    async def http(_: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, HTTPException)
        return JSONResponse(body(fault.status_code, str(fault.detail)), fault.status_code, headers=fault.headers)

    async def invalid(_: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, RequestValidationError)
        first = fault.errors()[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body") or None
        text = f"{param}: {first['msg']}" if param else str(first["msg"])
        return JSONResponse(body(400, text, "invalid_value", param), 400)

    async def unexpected(_: Request, fault: Exception) -> JSONResponse:
        # The text of a stray exception may quote files or bodies: it goes to the server's log, not to the client.
        return JSONResponse(body(500, f"internal error ({type(fault).__name__}); see the server's log"), 500)

    async def gone(_: Request, fault: Exception) -> JSONResponse:
        # Nobody reads it; without an answer of ours it would be a fault of the server in its log.
        return JSONResponse(body(CLIENT_GONE, "the client left before its request was whole"), CLIENT_GONE)

    app.add_exception_handler(ClientDisconnect, gone)
    for kind in (ApiError, InputError, JobError):
        app.add_exception_handler(kind, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(OSError, of_disk)
    app.add_exception_handler(Exception, unexpected)
