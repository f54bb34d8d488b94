"""The API as the pages see it. Its errors become ours: `InputError` for what the user can change, else `JobError`."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx2

from loglore.errors import InputError, JobError

PART_BYTES = 8 * 1024 * 1024
KEPT_S = 86_400
REFUSED = 400
SERVER_FAULT = 500
# Reading a large log is the slowest answer that does not stream.
TIMEOUT = httpx2.Timeout(300.0, connect=5.0)

Reference = dict[str, str]
Event = tuple[str, dict[str, Any]]


class Api:
    """The studio's API at `url` (without `/v1`)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx2.Client(base_url=self.url, timeout=TIMEOUT, trust_env=False)

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

    def upload(self, name: str, size: int, stream: BinaryIO) -> Reference:
        """Send a log in parts; returns the reference to ask about it."""
        wish = {"filename": name, "bytes": size, "purpose": "user_data", "mime_type": "text/plain"}
        # It is for questions, not for keeping.
        expiry = {"anchor": "created_at", "seconds": KEPT_S}
        upload = self._post("/v1/uploads", {**wish, "expires_after": expiry})["id"]
        parts = []
        while part := stream.read(PART_BYTES):
            with _plain_errors(self.url):
                reply = self._client.post(f"/v1/uploads/{upload}/parts", files={"data": part})
            parts.append(_checked(reply)["id"])
        done = self._post(f"/v1/uploads/{upload}/complete", {"part_ids": parts})
        return {"file": done["file"]["id"]}

    def ask(
        self, logs: Sequence[Reference], question: str, model: str | None, conversation: str | None
    ) -> Iterator[Event]:
        """Ask about logs: events as they come, see `loglore.api.ask`; closing the iterator stops the answer.

        Raises:
            InputError, JobError: the question was refused, or the answer broke off.
        """
        body = {"logs": list(logs), "question": question, "model": model, "conversation": conversation}
        with (
            _plain_errors(self.url),
            self._client.stream(
                "POST", "/v1/studio/ask", json=body, timeout=httpx2.Timeout(None, connect=5.0)
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
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def _checked(reply: httpx2.Response) -> dict[str, Any]:
    if reply.status_code >= REFUSED:
        raise _fault(reply.status_code, reply.json())
    found: dict[str, Any] = reply.json()
    return found


def _fault(status: int, body: dict[str, Any]) -> InputError | JobError:
    kind = InputError if status < SERVER_FAULT else JobError
    return kind(body["error"]["message"])


@contextlib.contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.ConnectError:
        raise JobError(f"the API at {url} does not answer; is `loglore studio` still running?") from None
    except httpx2.HTTPError as fault:
        raise JobError(f"the API at {url} broke off ({type(fault).__name__})") from None
