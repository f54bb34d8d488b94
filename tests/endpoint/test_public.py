"""Endpoints that a stranger named, against real servers on loopback: where a connection goes, whatever the name says.

Loopback stands for the inner network; where a test needs an address of the internet, 127.0.0.1 alone is taken for one.
"""

import asyncio
import datetime
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loglore.endpoint import addresses
from loglore.endpoint.client import Endpoint
from loglore.endpoint.target import Request, Session, Target
from loglore.errors import InputError

QUESTION = Request(({"role": "user", "content": "why?"},), 5)
ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "disk full"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Server:
    """A server of one model; `hosts` are the names that it was asked by. With `elsewhere` it redirects there."""

    def __init__(self, address: str = "127.0.0.1", elsewhere: str = "", context: ssl.SSLContext | None = None) -> None:
        self.hosts: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.hosts.append(self.headers["Host"])
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.dumps({"data": [{"id": "m", "object": "model"}], **ANSWER}).encode()
                self.send_response(307 if elsewhere else 200)
                if elsewhere:
                    self.send_header("Location", elsewhere + self.path)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def begin(*arguments: Any, **more: Any) -> Server:
        made.append(Server(*arguments, **more))
        return made[-1]

    yield begin
    for each in made:
        each.close()


@pytest.fixture
def one_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Addresses by name, one a look-up; the last one stays."""
    found: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *arguments: Any, **more: Any) -> Any:
        if host in found:
            host = found[host].pop(0) if len(found[host]) > 1 else found[host][0]
        return real(host, port, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return found


def ask(url: str, public_only: bool = True) -> str:
    async def work() -> str:
        session = Session(Target(url=url, model="m", public_only=public_only), None)
        try:
            await session.check()
            return (await session.ask(QUESTION)).text
        finally:
            await session.close()

    return asyncio.run(work())


def models(url: str) -> list[str]:
    return [each.model_id for each in Endpoint(url, "m", "key", public_only=True).models()]


def test_no_connection_leads_to_this_machine(start: Callable[..., Server]) -> None:
    server = start()
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{server.port}/v1"
        for attempt in (ask, models):
            with pytest.raises(InputError, match=f"{host} is .*, an address of this machine") as fault:
                attempt(url)
            assert "LOGLORE_PRIVATE_ENDPOINTS=1" in str(fault.value)
    assert server.hosts == []
    assert ask(f"http://127.0.0.1:{server.port}/v1", public_only=False) == "disk full"


def test_a_name_that_leads_elsewhere_by_now_is_found_out(
    start: Callable[..., Server], names: dict[str, list[str]]
) -> None:
    server = start()
    for attempt in (ask, models):
        names["teacher.test"] = ["8.8.8.8", "127.0.0.1"]
        addresses.check("teacher.test", addresses.resolve("teacher.test", server.port))
        with pytest.raises(InputError, match=r"teacher.test is 127\.0\.0\.1"):
            attempt(f"http://teacher.test:{server.port}/v1")
    assert server.hosts == []


def test_a_redirect_is_looked_at_like_any_url(start: Callable[..., Server], one_public: None) -> None:
    inner = start("127.0.0.2")
    outer = start(elsewhere=f"http://127.0.0.2:{inner.port}")
    with pytest.raises(InputError, match=r"127\.0\.0\.2 is 127\.0\.0\.2"):
        models(f"http://127.0.0.1:{outer.port}/v1")
    assert len(outer.hosts) == 1
    assert inner.hosts == []


def test_it_connects_to_the_address_that_was_looked_at_and_no_later_one(
    start: Callable[..., Server], one_public: None, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.9:1")  # which would resolve the name by itself
    for attempt, said in ((ask, "disk full"), (models, ["m"])):
        names["teacher.test"] = ["127.0.0.1", "127.0.0.2"]
        assert attempt(f"http://teacher.test:{server.port}/v1") == said
    assert set(server.hosts) == {f"teacher.test:{server.port}"}


def test_tls_verifies_the_name_and_not_the_address(
    start: Callable[..., Server],
    one_public: None,
    names: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = made_for("teacher.test", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = start(context=context)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names["teacher.test"] = names["other.test"] = ["127.0.0.1"]
    assert ask(f"https://teacher.test:{server.port}/v1") == "disk full"
    assert models(f"https://teacher.test:{server.port}/v1") == ["m"]
    with pytest.raises(InputError, match=r"cannot connect .*CERTIFICATE_VERIFY_FAILED"):
        ask(f"https://other.test:{server.port}/v1")


def made_for(name: str, folder: Path) -> Path:
    """A certificate with its key in one file, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number(), now, now.replace(year=2100))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / "certificate.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2001:4860:4860::8888", True), ("64:ff9b::808:808", True),
        ("10.0.0.1", False), ("100.64.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False),
        ("0.0.0.0", False), ("224.0.0.1", False), ("255.255.255.255", False), ("::", False), ("::1", False),
        ("fe80::1%eth0", False), ("fd00::1", False), ("ff02::1", False), ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False), ("64:ff9b::7f00:1", False), ("64:ff9b::a00:1", False),
    ],
)  # fmt: skip
def test_addresses(address: str, public: bool) -> None:
    assert addresses.is_public(address) is public
