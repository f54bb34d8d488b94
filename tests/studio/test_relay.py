"""Uploads through the page server: in parts, resumed, cancelled, from the pages' own origin alone, in flat memory."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from loglore.studio import relay
from loglore.studio import start as starter

PART = 8 << 20


@dataclass
class Server:
    """Pages and API over one home; `page`: process of the pages."""

    url: str
    api: str
    key: str
    home: Path
    page: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API that wants a key, and a page server over it."""
    home = tmp_path_factory.mktemp("relay")
    environment = {**os.environ, "LOGLORE_HOME": str(home)}
    command = [sys.executable, "-m", "loglore.api", "--port", "0", "--until-eof", "--require-key"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as api:
        assert api.stdin is not None
        assert api.stdout is not None
        url, key = api.stdout.readline().decode().strip(), api.stdout.readline().decode().strip()
        port = starter._free_port("127.0.0.1", 0)
        with starter._child("loglore.studio.process", ["127.0.0.1", str(port), url], home / "log") as process:
            starter._wait_for_page(f"http://127.0.0.1:{port}", process, home / "log")
            yield Server(f"http://127.0.0.1:{port}", url, key, home, process.pid)
        api.stdin.close()


def _client(server: Server, key: str | None = None) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {key or server.key}"}, timeout=60)


def _begin(client: httpx2.Client, size: int) -> str:
    made = client.post(
        relay.PREFIX, json={"filename": "app.log", "bytes": size, "purpose": "user_data", "mime_type": "text/plain"}
    )
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def test_a_log_arrives_whole_in_parts_and_goes_on_after_a_break(server: Server) -> None:
    content = os.urandom(3 * PART + 4321)
    slices = [content[at : at + PART] for at in range(0, len(content), PART)]
    with _client(server) as client:
        upload = _begin(client, len(content))
        parts = [
            client.post(f"{relay.PREFIX}/{upload}/parts", files={"data": part}).json()["id"] for part in slices[:2]
        ]
        # The visitor's line broke; what is there is asked for, and only the rest is sent.
        there = [part["id"] for part in client.get(f"{relay.PREFIX}/{upload}").json()["parts"]]
        assert sorted(there) == sorted(parts)
        parts += [
            client.post(f"{relay.PREFIX}/{upload}/parts", files={"data": part}).json()["id"] for part in slices[2:]
        ]
        done = client.post(f"{relay.PREFIX}/{upload}/complete", json={"part_ids": parts}).json()
    assert done["file"]["bytes"] == len(content)
    assert done["file"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_cancelled_upload_leaves_nothing(server: Server) -> None:
    def kept() -> int:
        return sum(path.stat().st_size for path in (server.home / "storage").rglob("*") if path.is_file())

    before = kept()
    with _client(server) as client:
        upload = _begin(client, 1 << 31)
        assert client.post(f"{relay.PREFIX}/{upload}/parts", files={"data": os.urandom(PART)}).status_code == 200
        assert kept() >= before + PART
        assert client.post(f"{relay.PREFIX}/{upload}/cancel", json={}).json()["status"] == "cancelled"
        assert kept() == before
        assert client.post(f"{relay.PREFIX}/{upload}/parts", files={"data": b"more"}).status_code == 400


def test_the_page_server_holds_nothing_of_it(server: Server) -> None:
    page = psutil.Process(server.page)
    with _client(server) as client:
        upload = _begin(client, 40 * PART)
        part = os.urandom(PART)
        client.post(f"{relay.PREFIX}/{upload}/parts", files={"data": part})
        before = page.memory_info().rss
        for _ in range(12):
            assert client.post(f"{relay.PREFIX}/{upload}/parts", files={"data": part}).status_code == 200
        assert page.memory_info().rss - before < 3 * PART
        client.post(f"{relay.PREFIX}/{upload}/cancel", json={})


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Origin": "http://evil.example"}, "", 403),
        ({"Host": "evil.example:80", "Origin": "http://evil.example:80"}, "", 403),
        ({"Origin": "null"}, "", 403),
        ({"Authorization": "Bearer ll-wrong"}, "", 401),
        ({}, "/upload_x%2F..%2F..%2Ffiles/cancel", 400),
        ({}, "/files/cancel", 404),
        ({}, "/upload_abc/elsewhere", 404),
    ],
)
def test_only_our_pages_and_only_uploads_pass(server: Server, headers: dict[str, str], path: str, status: int) -> None:
    with _client(server) as client:
        wish = {"filename": "a", "bytes": 1, "purpose": "user_data", "mime_type": "text/plain"}
        assert client.post(relay.PREFIX + path, json=wish, headers=headers).status_code == status


def test_who_may_send() -> None:
    import doctest

    assert doctest.testmod(relay).failed == 0
    assert relay.same_origin("studio.example:8501", "http://studio.example:8501", "0.0.0.0")
    assert not relay.same_origin("studio.example:8501", "http://other.example:8501", "0.0.0.0")
    assert not relay.same_origin("[", None, "0.0.0.0")


def test_the_bare_address_leads_to_the_chat(server: Server) -> None:
    with httpx2.Client(base_url=server.url) as client:
        for query, place in (("", "chat"), ("?lang=ja", "chat?lang=ja")):
            reply = client.get(f"/{query}")
            # Relative: behind a proxy the pages may lie below a prefix.
            assert (reply.status_code, reply.headers["location"]) == (307, place)
