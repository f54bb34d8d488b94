"""The API as the pages see it. Its errors become ours: `InputError` for what the user can change, else `JobError`."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx2

from loglore.errors import InputError, JobError
from loglore.studio import apart

PART_BYTES = 8 * 1024 * 1024
KEPT_S = 86_400
REFUSED = 400
KEY_MISSING = 401
LOG_BLOCK = 1 << 20  # the API sends a log in blocks of a megabyte
LOG_TAIL = 64_000
SERVER_FAULT = 500
PAGE = 100
MOST_OBJECTS = 1000
# Reading a large log is the slowest answer that does not stream.
TIMEOUT = httpx2.Timeout(300.0, connect=5.0)

Reference = dict[str, str]
Event = tuple[str, dict[str, Any]]


class KeyNeededError(InputError):
    """The API wants a key, or another one."""


class Api:
    """The studio's API at `url` (without `/v1`); `key` is sent with every request."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url, self.has_key = url.rstrip("/"), key is not None
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Reading the certificates of the world takes a twentieth of a second, and loopback has none.
        self._verify = self.url.startswith("https:")
        self._client = httpx2.Client(
            base_url=self.url, timeout=TIMEOUT, trust_env=False, headers=self._headers, verify=self._verify
        )

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The answer of `/v1` + path; queries that are None are left out."""
        wanted = {name: value for name, value in query.items() if value is not None}
        with _plain_errors(self.url):
            return _checked(self._client.get(f"/v1{path}", params=wanted))

    def every(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """The objects of a list with pages, at most `MOST_OBJECTS`."""
        found: list[dict[str, Any]] = []
        after = None
        while len(found) < MOST_OBJECTS:
            page = self.get(path, limit=PAGE, after=after, **query)
            found += page["data"]
            if not page["has_more"]:
                break
            after = page["last_id"]
        return found

    def content(self, path: str) -> bytes:
        """The bytes of `/v1` + path."""
        with _plain_errors(self.url):
            reply = self._client.get(f"/v1{path}")
        if reply.status_code >= REFUSED:
            _checked(reply)
        return reply.content

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of `/v1` + path to a JSON body."""
        with _plain_errors(self.url):
            return _checked(self._client.post(f"/v1{path}", json=dict(body or {})))

    def delete(self, path: str) -> dict[str, Any]:
        """The answer of `/v1` + path."""
        with _plain_errors(self.url):
            return _checked(self._client.delete(f"/v1{path}"))

    def log_tail(self, job: str) -> str:
        """The end of what a job printed."""
        tail, offset = b"", 0
        while True:
            with _plain_errors(self.url):
                reply = self._client.get(f"/v1/studio/jobs/{quote(job, safe='')}/log", params={"offset": offset})
            if reply.status_code >= REFUSED:
                _checked(reply)
            tail = (tail + reply.content)[-LOG_TAIL:]
            offset += len(reply.content)
            if len(reply.content) < LOG_BLOCK:
                return tail.decode("utf-8", "replace")

    def chat(self, body: Mapping[str, Any]) -> Iterator[str]:
        """Pieces of the answer of `/v1/chat/completions`; closing the iterator stops it.

        While nothing comes, an empty piece every second is where a caller can stop.

        Raises:
            InputError, JobError: the question was refused, or the answer broke off.
        """
        options: dict[str, Any] = {"base_url": self.url, "headers": self._headers, "verify": self._verify}
        lines = apart.lines(options, "/v1/chat/completions", {**body, "stream": True}, _refused)
        with _plain_errors(self.url), contextlib.closing(lines):  # type: ignore[type-var]
            for line in lines:
                if line is None:
                    yield ""
                elif line.startswith("data: {"):
                    chunk = json.loads(line.removeprefix("data: "))
                    if "error" in chunk:
                        raise _fault(SERVER_FAULT, chunk)
                    for choice in chunk.get("choices", []):
                        yield choice["delta"].get("content") or ""

    def models(self) -> list[dict[str, Any]]:
        """Models on offer, the newest first."""
        return list(self._get("/v1/models")["data"])

    def runs(self) -> dict[str, Any]:
        """`data`: runs with their jobs; `root`: the folder they lie in."""
        return self._get("/v1/studio/runs")

    def run(self, run: str) -> dict[str, Any]:
        """One run with its jobs."""
        return self._get(f"/v1/studio/runs/{quote(run, safe='')}")

    def job(self, run: str, job: str) -> dict[str, Any]:
        """One job with spec, report and events."""
        return self._get(self._job_path(run, job))

    def metrics(self, run: str, job: str) -> list[dict[str, Any]]:
        """Rows of the job's metrics so far."""
        return list(self._get(self._job_path(run, job) + "/metrics")["data"])

    def file_url(self, run: str, job: str, name: str) -> str:
        """Where a browser finds a file of a job."""
        return f"{self.url}{self._job_path(run, job)}/files/{quote(name)}"

    def logs(self) -> dict[str, Any]:
        """`data`: logs that can be named by path; `root`: the folder they lie in."""
        return self._get("/v1/studio/logs")

    def facts(self, logs: Sequence[Reference]) -> dict[str, Any]:
        """What the logs say before any model."""
        return self._post("/v1/studio/logs/facts", {"logs": list(logs)})

    def upload(self, name: str, size: int, stream: BinaryIO, purpose: str = "user_data") -> Reference:
        """Send a file in parts; returns the reference to it."""
        wish: dict[str, Any] = {"filename": name, "bytes": size, "purpose": purpose, "mime_type": "text/plain"}
        if purpose == "user_data":  # a log is for questions, not for keeping
            wish["expires_after"] = {"anchor": "created_at", "seconds": KEPT_S}
        upload = self._post("/v1/uploads", wish)["id"]
        parts = []
        while part := stream.read(PART_BYTES):
            with _plain_errors(self.url):
                reply = self._client.post(f"/v1/uploads/{upload}/parts", files={"data": part})
            parts.append(_checked(reply)["id"])
        done = self._post(f"/v1/uploads/{upload}/complete", {"part_ids": parts})
        return {"file": done["file"]["id"]}

    def ask(self, wish: Mapping[str, Any]) -> Iterator[Event]:
        """Ask about logs: events as they come, see `loglore.api.ask`; closing the iterator stops the answer.

        While nothing comes, an event `waiting` every second is where a caller can stop.

        Raises:
            InputError, JobError: the question was refused, or the answer broke off.
        """
        with (
            _plain_errors(self.url),
            self._client.stream(
                "POST", "/v1/studio/ask", json=dict(wish), timeout=httpx2.Timeout(None, connect=5.0)
            ) as reply,
        ):
            if reply.status_code >= REFUSED:
                reply.read()
                _checked(reply)
            for name, data in _events(reply.iter_lines()):
                if name == "error":
                    raise _fault(int(data["status"]), data)
                yield name, data

    def _job_path(self, run: str, job: str) -> str:
        return f"/v1/studio/runs/{quote(run, safe='')}/{quote(job, safe='')}"

    def _get(self, path: str) -> dict[str, Any]:
        with _plain_errors(self.url):
            return _checked(self._client.get(path))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with _plain_errors(self.url):
            return _checked(self._client.post(path, json=body))


def _events(lines: Iterator[str]) -> Iterator[Event]:
    name = ""
    for line in lines:
        if line.startswith(":"):
            yield "waiting", {}
        elif line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def _refused(reply: httpx2.Response) -> None:
    if reply.status_code >= REFUSED:
        _checked(reply)


def _checked(reply: httpx2.Response) -> dict[str, Any]:
    if reply.status_code >= REFUSED:
        raise _fault(reply.status_code, reply.json())
    found: dict[str, Any] = reply.json()
    return found


def _fault(status: int, body: dict[str, Any]) -> InputError | JobError:
    kind = KeyNeededError if status == KEY_MISSING else InputError if status < SERVER_FAULT else JobError
    return kind(body["error"]["message"])


@contextlib.contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout):
        raise JobError(f"the API at {url} does not answer; is `loglore studio` still running?") from None
    except httpx2.HTTPError as fault:
        raise JobError(f"the API at {url} broke off ({type(fault).__name__})") from None
