"""nginx 1.22: a site with static files, TLS and a proxied shop; both its error log and its access log."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from random import Random

from lab import (
    ROOT,
    Recorder,
    certificate,
    make_dir,
    must,
    rng,
    run,
    send_bytes,
    small_disk,
    spawn,
    stop,
    wait_port,
    wait_until,
    write_file,
)
from svc_shopapp import Shop
from world import CLIENTS

HOME = ROOT / "nginx"
WWW = ROOT / "www"
PORT, TLS_PORT, APP_PORT, RAW_PORT, BAD_TLS_PORT = 80, 443, 8100, 8101, 8102
ADDRESS = "10.20.0.11"
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0",
    "curl/7.88.1",
    "ShopApp/3.2 (Android)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36",
    "uptime-probe/1.4",
)
PAGES = (
    "/",
    "/index.html",
    "/style.css",
    "/logo.svg",
    "/about.html",
    "/terms.html",
    "/app/product?id={n}",
    "/old/{n}",
    "/app/search?q=product+{n}",
    "/app/cart/add?cart=c{n}&product={n}",
    "/missing-{n}.html",
    "/docs",
    "/app/order?product={n}&amount=2",
    "/big.bin",
    "/robots.txt",
    "/app/thumbnail?file=none{n}.png",
)


def config(level: str, extra: str = "", server_extra: str = "") -> str:
    """Return the configuration of nginx."""
    return f"""
user www-data;
pid {HOME}/nginx.pid;
worker_processes 2;
error_log {ROOT}/log/nginx-error.log {level};
events {{ worker_connections 64; }}
http {{
    types {{ text/html html; text/css css; image/svg+xml svg; }}
    access_log {ROOT}/log/nginx-access.log combined;
    client_body_temp_path {HOME}/body;
    proxy_temp_path {HOME}/proxy;
    fastcgi_temp_path {HOME}/fastcgi;
    uwsgi_temp_path {HOME}/uwsgi;
    scgi_temp_path {HOME}/scgi;
    limit_req_zone $binary_remote_addr zone=search:1m rate=2r/s;
    limit_conn_zone $binary_remote_addr zone=downloads:1m;
    client_header_buffer_size 512;
    large_client_header_buffers 2 1k;
    proxy_connect_timeout 1s;
    proxy_read_timeout 1s;
    resolver 127.0.0.1:5399 valid=1s;
    resolver_timeout 1s;
    upstream shop {{ server 127.0.0.1:{APP_PORT} max_fails=3 fail_timeout=2s; }}
    upstream pair {{
        server 127.0.0.1:8103 max_fails=1 fail_timeout=2s;
        server 127.0.0.1:8104 max_fails=1 fail_timeout=2s;
    }}
    server {{
        listen {PORT};
        listen {TLS_PORT} ssl;
        server_name web01.shop.example;
        ssl_certificate {HOME}/web01.crt;
        ssl_certificate_key {HOME}/web01.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        root {WWW};
        client_max_body_size 1m;
        client_header_timeout 1s;
        location /app/ {{ proxy_pass http://shop/; }}
        location /pair/ {{ proxy_pass http://pair/; }}
        location /raw/ {{ proxy_pass http://127.0.0.1:{RAW_PORT}/; proxy_buffer_size 1k; }}
        location /bank/ {{ proxy_pass https://127.0.0.1:{BAD_TLS_PORT}/; proxy_ssl_verify on;
                          proxy_ssl_trusted_certificate {HOME}/bank.crt; }}
        location /dynamic/ {{ set $target "http://stock.shop.example:8105"; proxy_pass $target; }}
        location /upload/ {{ client_body_in_file_only clean; client_body_temp_path {HOME}/upload;
                            proxy_pass http://shop/; }}
        location /search/ {{ limit_req zone=search burst=2 nodelay; proxy_pass http://shop/search; }}
        location /download/ {{ limit_conn downloads 1; limit_rate 100k; alias {WWW}/; }}
        location /admin/ {{ auth_basic "staff"; auth_basic_user_file {HOME}/htpasswd; alias {WWW}/; }}
        location /internal/ {{ allow 10.20.0.11; deny all; alias {WWW}/; }}
        location /loop/ {{ rewrite ^/loop/(.*)$ /loop/$1x last; }}
        location /old/ {{ return 301 /app/product?id=1; }}
        {server_extra}
    }}
    {extra}
}}
"""


def fetch(path: str, *flags: str, client: str = CLIENTS[0], scheme: str = "http") -> str:
    """Request a path of the site from a made-up client address."""
    return run(["curl", "-sk", "-m", "6", "--interface", client, *flags, f"{scheme}://{ADDRESS}{path}"]).stdout


class Server:
    """The web server, its backend and its logs."""

    def __init__(self) -> None:
        make_dir(HOME)
        make_dir(WWW / "docs")
        make_dir(ROOT / "log", mode=0o777)
        for name in ("index.html", "about.html", "terms.html", "style.css", "logo.svg"):
            write_file(WWW / name, f"<html>{name}</html>\n" * 30)
        write_file(WWW / "big.bin", "0123456789abcdef" * 40_000)
        certificate(HOME, "web01")
        certificate(HOME, "bank", days=-1)
        hashed = must(run(["openssl", "passwd", "-apr1", "-salt", "loopback", "wonder-4711"]))
        write_file(HOME / "htpasswd", f"alice:{hashed}", "www-data")
        self.error = Recorder("nginx", "nginx-error", ROOT / "log/nginx-error.log")
        self.access = Recorder("nginx", "nginx-access", ROOT / "log/nginx-access.log")
        self.app = Shop("backend", ROOT / "backend", APP_PORT)
        self.start()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start nginx without waiting for it."""
        return spawn(["nginx", "-c", HOME / "nginx.conf", "-g", "daemon off;"], host="web01")

    def start(self) -> None:
        """Start nginx; only then raise its log level, for its start notices would name the kernel of the machine."""
        write_file(HOME / "nginx.conf", config("warn"))
        self.process = self.launch()
        wait_port(PORT)
        self.reload(config("info"))

    def reload(self, text: str) -> None:
        """Write a configuration and make nginx read it."""
        write_file(HOME / "nginx.conf", text)
        before = self.error.settle()
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.error.settle(0.5) >= before, "the reload")


def ordinary_work(rounds: int, random: Random) -> None:
    """Browse the site as several clients."""
    for _ in range(rounds):
        client, agent = random.choice(CLIENTS), random.choice(AGENTS)
        urls = [random.choice(PAGES).format(n=random.randint(1, 119)) for _ in range(3)]
        command = ["curl", "-sk", "-m", "6", "--interface", client, "-A", agent, "-e", f"http://{ADDRESS}/"]
        scheme = random.choice(("http", "https"))
        run([*command, *(f"{scheme}://{ADDRESS}{url}" for url in urls), "-o", "/dev/null"])
    fetch("/admin/index.html", "-u", "alice:wonder-4711")
    fetch("/style.css", "-I")
    fetch("/app/order", "-d", '{"product": "5", "amount": "1"}')


def upstream_faults(server: Server) -> None:
    """The backend is down, slow or answers nonsense."""
    log = server.error
    with (
        log.fault(
            "upstream-down",
            injected="the application behind /app/ was stopped",
            root_cause="The upstream application on port 8100 is down and refuses connections.",
            evidence="connect() failed (111: Connection refused) while connecting to upstream",
        ),
        server.access.fault(
            "upstream-down-access",
            injected="the application behind /app/ was stopped",
            root_cause="The upstream application on port 8100 is down, so nginx answers 502.",
            evidence='" 502 ',
        ),
    ):
        stop(server.app.process)
        for number in range(4):
            fetch(f"/app/product?id={number + 1}", client=CLIENTS[number])
        server.app.start()
    time.sleep(2)  # until the upstream counts as alive again
    with (
        log.fault(
            "upstream-slow",
            injected="requests that take the backend 1.6 s, with proxy_read_timeout at 1 s",
            root_cause="The backend needs longer for its answer than proxy_read_timeout.",
            evidence="upstream timed out (110: Connection timed out) while reading response header from upstream",
        ),
        server.access.fault(
            "upstream-slow-access",
            injected="requests that take the backend 1.6 s, with proxy_read_timeout at 1 s",
            root_cause="The backend needs longer than proxy_read_timeout, so nginx answers 504.",
            evidence='" 504 ',
        ),
    ):
        fetch("/app/slow?seconds=1.6")
        fetch("/app/slow?seconds=1.7", client=CLIENTS[2])
    with log.fault(
        "no-live-upstreams",
        injected="requests to a pair of backends that are both down",
        root_cause="Both servers of upstream pair are down and marked as failed.",
        evidence="no live upstreams while connecting to upstream",
    ):
        for _ in range(3):
            fetch("/pair/")
    raw_upstream_faults(log)


def raw_upstream_faults(log: Recorder) -> None:
    """Upstreams that break the protocol, with TLS and without, and a name that does not resolve."""
    answers = {
        "invalid-header": (
            b"HELLO THERE\r\n\r\n",
            "upstream sent no valid HTTP/1.0 header",
            "The upstream does not speak HTTP.",
        ),
        "premature-close": (
            b"",
            "upstream prematurely closed connection while reading response header",
            "The upstream closes the connection without an answer.",
        ),
        "big-header": (
            b"HTTP/1.0 200 OK\r\nX-Filler: " + b"x" * 3000 + b"\r\n\r\n",
            "upstream sent too big header",
            "The upstream sends a header larger than proxy_buffer_size.",
        ),
        "short-body": (
            b"HTTP/1.0 200 OK\r\nContent-Length: 900\r\n\r\nhalf",
            "while reading upstream",
            "The upstream ends its answer before the announced length.",
        ),
    }
    for slug, (answer, evidence, cause) in answers.items():
        with log.fault(
            slug, injected="a raw socket server answered for the upstream", root_cause=cause, evidence=evidence
        ):
            backend = spawn(["/usr/bin/python3", "-c", RAW_BACKEND, str(RAW_PORT), answer.hex()])
            wait_port(RAW_PORT)
            fetch("/raw/page")
            stop(backend)
    with log.fault(
        "upstream-certificate",
        injected="the TLS upstream presented a certificate that expired yesterday",
        root_cause="The TLS certificate of the upstream has expired.",
        evidence="upstream SSL certificate verify error: (10:certificate has expired)",
    ):
        files = ["-cert", HOME / "bank.crt", "-key", HOME / "bank.key"]
        bank = spawn(["openssl", "s_server", "-accept", str(BAD_TLS_PORT), *files, "-www", "-quiet"])
        wait_port(BAD_TLS_PORT)
        fetch("/bank/balance")
        stop(bank)
    with log.fault(
        "resolver-down",
        injected="a request to an upstream whose name must be resolved while the resolver is down",
        root_cause="The configured name server on port 5399 does not answer, so the upstream name cannot be resolved.",
        evidence="could not be resolved",
    ):
        fetch("/dynamic/stock")


RAW_BACKEND = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    peer, _ = server.accept()
    if peer.recv(4096):
        peer.sendall(bytes.fromhex(sys.argv[2] if len(sys.argv) > 2 else ""))
    peer.close()
"""


def client_faults(server: Server) -> None:
    """Requests that nginx refuses or cannot serve."""
    log = server.error
    with log.fault(
        "wrong-password",
        injected="requests for /admin/ with a wrong password and an unknown user",
        root_cause="The client gave a wrong password for alice (and a user that is not in the password file).",
        evidence='user "alice": password mismatch',
    ):
        fetch("/admin/", "-u", "alice:wrong")
        fetch("/admin/", "-u", "mallory:guess", client="10.20.1.40")
    with log.fault(
        "body-too-large",
        injected="an upload of 3 MB with client_max_body_size at 1 MB",
        root_cause="The upload is larger than client_max_body_size.",
        evidence="client intended to send too large body",
    ):
        run(["curl", "-s", "-m", "6", "--data-binary", "@-", f"http://{ADDRESS}/app/order"], stdin=b"x" * 3_000_000)
    with log.fault(
        "file-permission",
        injected="a static file was made unreadable for www-data and a folder without index requested",
        root_cause="The file terms.html is readable for root only.",
        evidence="failed (13: Permission denied)",
    ):
        (WWW / "terms.html").chmod(0o600)
        fetch("/terms.html")
        fetch("/docs/")
        (WWW / "terms.html").chmod(0o644)
    with log.fault(
        "denied-address",
        injected="a client asked for /internal/, which is allowed for 10.20.0.11 only",
        root_cause="The address of the client is denied by the access rules.",
        evidence="access forbidden by rule",
    ):
        fetch("/internal/index.html", client="10.20.1.41")
    with (
        log.fault(
            "rate-limit",
            injected="nine searches at once with a limit of two a second",
            root_cause="One client sends more searches than the limit_req zone permits.",
            evidence="limiting requests, excess:",
        ),
        server.access.fault(
            "rate-limit-access",
            injected="nine searches at once with a limit of two a second",
            root_cause="One client sends more searches than the limit_req zone permits, so nginx answers 503.",
            evidence='" 503 ',
        ),
    ):
        for number in range(9):
            fetch(f"/search/?q=product+{number}", client="10.20.1.42")
    with log.fault(
        "connection-limit",
        injected="three parallel downloads from one address with limit_conn at 1",
        root_cause="The client opens more parallel downloads than limit_conn permits.",
        evidence='limiting connections by zone "downloads"',
    ):
        loaders = [spawn(["curl", "-s", "-m", "2", f"http://{ADDRESS}/download/big.bin"]) for _ in range(3)]
        for loader in loaders:
            loader.wait(10)
    with log.fault(
        "rewrite-loop",
        injected="a request to a location whose rewrite rule matches its own result",
        root_cause="The rewrite rule of /loop/ rewrites to itself.",
        evidence="rewrite or internal redirection cycle",
    ):
        fetch("/loop/a")
    protocol_faults(log)


def protocol_faults(log: Recorder) -> None:
    """Bytes that are no valid HTTP or TLS."""
    with log.fault(
        "malformed-requests",
        injected="requests with an invalid method, version, header and host and a header that is too long",
        root_cause="A client (a scanner) sends malformed HTTP requests.",
        evidence="client sent invalid method while reading client request line",
    ):
        for data in (
            b"get / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b/..\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /../../etc/passwd HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            b"GET / HTTP/1.0\r\nX: " + b"y" * 5000 + b"\r\n\r\n",
            b"GET /" + b"z" * 1200 + b" HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.0\r\nbad header: 1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        ):
            send_bytes(PORT, data, ADDRESS)
    with log.fault(
        "tls-handshake",
        injected="plain HTTP to the TLS port, TLS 1.1, an unknown authority alert and garbage",
        root_cause="Clients with outdated TLS versions or no TLS at all connect to the TLS port.",
        evidence="SSL_do_handshake() failed",
    ):
        send_bytes(TLS_PORT, b"GET / HTTP/1.0\r\n\r\n", ADDRESS)
        send_bytes(TLS_PORT, b"\x16\x03\x01\x00\x05hello", ADDRESS)
        run(["curl", "-sk", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", f"https://{ADDRESS}/"])
        run(["curl", "-s", f"https://{ADDRESS}/"])
    with log.fault(
        "slow-client",
        injected="a client sent half of a request header and then nothing",
        root_cause="The client stalls while sending its request header and runs into client_header_timeout.",
        evidence="client timed out (110: Connection timed out) while reading client request headers",
    ):
        send_bytes(PORT, b"GET /app/order HTTP/1.1\r\nHost: web01\r\nX-Half: ", ADDRESS, linger=2.0)


def resource_faults(server: Server) -> None:
    """A full disk, too few connections, a killed worker."""
    log = server.error
    with (
        small_disk(HOME / "upload", "64k", "www-data"),
        log.fault(
            "disk-full",
            injected="an upload of 500 KB with the body folder on a 64 KB disk",
            root_cause="The file system of client_body_temp_path is full.",
            evidence="No space left on device",
        ),
    ):
        server.reload(config("info"))
        run(["curl", "-s", "-m", "6", "--data-binary", "@-", f"http://{ADDRESS}/upload/"], stdin=b"x" * 500_000)
    with log.fault(
        "too-few-connections",
        injected="150 idle connections with worker_connections at 64",
        root_cause="More connections are open than worker_connections allows.",
        evidence="64 worker_connections are not enough",
    ):
        spawn(["/usr/bin/python3", "-c", CROWD, ADDRESS, str(PORT)]).wait(15)
    with log.fault(
        "killed-worker",
        injected="kill -9 of a worker process",
        root_cause="A worker was killed by SIGKILL; the master started a new one.",
        evidence="exited on signal 9",
    ):
        workers = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        os.kill(int(workers[0]), signal.SIGKILL)


CROWD = """
import socket, sys, time
crowd = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(150)]
time.sleep(1)
"""


def configuration_faults(server: Server) -> None:
    """Reloads and starts with a broken configuration."""
    log = server.error
    mistakes = {
        "unknown-directive": (
            "proxy_past http://shop/;",
            'unknown directive "proxy_past"',
            "A directive in the configuration is misspelt.",
        ),
        "duplicate-location": (
            "location /app/ { return 204; }",
            'duplicate location "/app/"',
            "The location /app/ is configured twice.",
        ),
        "missing-upstream": (
            "location /x/ { proxy_pass http://basket_backend/; }",
            "host not found in upstream",
            "The upstream basket_backend is neither defined nor resolvable.",
        ),
        "missing-certificate": (
            f"ssl_certificate {HOME}/renewed.crt; ssl_certificate_key {HOME}/web01.key;",
            "cannot load certificate",
            "The certificate file named in the configuration does not exist.",
        ),
    }
    for slug, (line, evidence, cause) in mistakes.items():
        with log.fault(slug, injected=f"a reload with the line: {line}", root_cause=cause, evidence=evidence):
            server.reload(config("info", server_extra=line))
    with log.fault(
        "port-in-use",
        injected="a second nginx was started on the same ports",
        root_cause="Ports 80 and 443 are in use by the nginx that runs already.",
        evidence="bind() to 0.0.0.0:80 failed (98: Address already in use)",
    ):
        write_file(HOME / "nginx.conf", config("warn").replace("nginx.pid", "second.pid"))
        server.launch().wait(15)
    server.reload(config("info"))


def capture() -> list[Recorder]:
    """Run the nginx scenario and return its logs."""
    random = rng("nginx")
    server = Server()
    ordinary_work(40, random)
    upstream_faults(server)
    ordinary_work(30, random)
    client_faults(server)
    ordinary_work(30, random)
    resource_faults(server)
    configuration_faults(server)
    ordinary_work(40, random)
    stop(server.process, signal.SIGQUIT)
    stop(server.app.process)
    return [server.error, server.access]
