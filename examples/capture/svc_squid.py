"""Squid 5.7: a forward proxy with passwords, access lists, a disk cache and a parent proxy; its cache.log."""

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
    make_dir,
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
from world import CLIENTS

HOME = ROOT / "squid"
PORT, ORIGIN_PORT, ADDRESS = 3128, 8300, "10.20.0.21"

CONFIG = f"""
http_port {PORT}
visible_hostname proxy01.shop.example
pid_filename {HOME}/squid.pid
cache_log {ROOT}/log/squid-cache.log
access_log stdio:{ROOT}/log/squid-access.log
cache_dir ufs {HOME}/cache 16 4 4
coredump_dir {HOME}
cache_mem 4 MB
dns_nameservers 127.0.0.1
dns_timeout 1 second
connect_timeout 1 second
forward_timeout 2 seconds
read_timeout 2 seconds
request_timeout 2 seconds
shutdown_lifetime 0 seconds
max_filedescriptors 256
pinger_enable off
netdb_filename none
auth_param basic program /usr/lib/squid/basic_ncsa_auth {HOME}/passwords
auth_param basic children 2 startup=1
acl members proxy_auth REQUIRED
acl staff src 10.20.1.0/28 10.20.1.31 10.20.1.32 10.20.0.0/24
acl blocked dstdomain .blocked.example
acl guests src 10.20.1.40
acl sslports port 443 8300
acl uploads method POST
request_body_max_size 64 KB
http_access deny CONNECT !sslports
http_access deny blocked
http_access deny guests
http_access allow staff
http_access allow members
http_access deny all
debug_options ALL,1 11,{{http}} 28,{{acl}}
"""
# An origin server that can be cached, is slow, breaks off or sends a broken header.
ORIGIN = """
import http.server, time
class Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if "slow" in self.path:
            time.sleep(3)
        if "drop" in self.path:
            return self.connection.close()
        if "garbage" in self.path:
            return self.wfile.write(b"HTTP/9.9 what\\r\\nno header\\r\\n\\r\\n")
        if "short" in self.path:
            return self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 9000\\r\\n\\r\\nshort")
        if "double" in self.path:
            return self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nContent-Length: 9\\r\\n\\r\\nbody")
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=60")
        self.end_headers()
        self.wfile.write(b"x" * 4000)
    do_POST = do_HEAD = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", 8300), Origin).serve_forever()
"""


def fetch(path: str, *flags: str, client: str = CLIENTS[0], origin: str = f"127.0.0.1:{ORIGIN_PORT}") -> str:
    """Request a path of the origin server through the proxy."""
    command = ["curl", "-s", "-m", "6", "-x", f"http://{ADDRESS}:{PORT}", "--interface", client, *flags]
    return run([*command, f"http://{origin}{path}"]).stdout


class Proxy:
    """The proxy, its origin server and its log; the proxy writes its own log file."""

    def __init__(self) -> None:
        make_dir(HOME, "proxy")
        make_dir(ROOT / "log", mode=0o777)
        hashed = run(["openssl", "passwd", "-apr1", "-salt", "loopback", "wonder-4711"]).stdout
        write_file(HOME / "passwords", f"alice:{hashed}", "proxy")
        self.log = Recorder("squid", "squid-cache", ROOT / "log/squid-cache.log")
        self.access = Recorder("squid", "squid-access", ROOT / "log/squid-access.log")
        self.origin = self.start_origin()
        self.configure()
        run([*self.command(), "-z", "-N"])
        self.start()

    def start_origin(self) -> subprocess.Popen[bytes]:
        """Start the origin server."""
        origin = spawn(["/usr/bin/python3", "-c", ORIGIN])
        wait_port(ORIGIN_PORT)
        return origin

    def command(self) -> list[str]:
        """Return the command line of the proxy."""
        return ["squid", "-f", str(HOME / "squid.conf")]

    def configure(self, more: str = "", http: int = 1, acl: int = 1) -> None:
        """Write the configuration, with extra lines at its end."""
        write_file(HOME / "squid.conf", CONFIG.format(http=http, acl=acl) + more)

    def start(self) -> None:
        """Start the proxy and wait until it accepts connections."""
        before = self.log.settle()
        self.process = spawn([*self.command(), "-N"], host="proxy01")
        self.log.wait_text("Accepting HTTP Socket connections", before)

    def reload(self, more: str = "", **levels: int) -> None:
        """Write a configuration and make the proxy read it."""
        self.configure(more, **levels)
        before = self.log.settle()
        self.process.send_signal(signal.SIGHUP)
        self.log.wait_text("Accepting HTTP Socket connections", before)

    def end(self) -> None:
        """Shut the proxy down."""
        stop(self.process)
        wait_until(lambda: self.process.poll() is not None, "the end of squid")


def ordinary_work(rounds: int, random: Random) -> None:
    """Fetch pages with and without a login."""
    for _ in range(rounds):
        client = random.choice(CLIENTS[:4])
        path = random.choice(("/", "/news", "/img/{n}.png", "/js/{n}.js")).format(n=random.randint(1, 20))
        flags = random.choice(((), ("-I",), ("-U", "alice:wonder-4711"), ("-U", "alice:wonder-4711", "-d", "a=1")))
        fetch(path, *flags, client=client)
    fetch("/", origin="www.blocked.example")
    fetch("/", origin="nosuch.shop.example")


def access_faults(proxy: Proxy) -> None:
    """Refused requests, seen in the access log."""
    with proxy.access.fault(
        "wrong-password",
        injected="requests with a wrong proxy password and an unknown user",
        root_cause="The client gave wrong proxy credentials, so the proxy asks for authentication again.",
        evidence="TCP_DENIED/407",
    ):
        fetch("/", "-U", "alice:wrong", client="10.20.1.36")
        fetch("/", "-U", "mallory:guess", client="10.20.1.37")
    with proxy.access.fault(
        "denied",
        injected="requests of a guest address, to a blocked domain and to a forbidden CONNECT port",
        root_cause="The access lists deny guests, blocked domains and tunnels to other ports than 443.",
        evidence="TCP_DENIED/403",
    ):
        fetch("/", client="10.20.1.40")
        fetch("/", origin="games.blocked.example")
        run(["curl", "-s", "-m", "5", "-x", f"http://{ADDRESS}:{PORT}", "https://127.0.0.1:25/"])
    with proxy.access.fault(
        "origin-down",
        injected="the origin server was stopped and pages requested that are not cached",
        root_cause="The origin server refuses connections, so the proxy answers 503.",
        evidence="TCP_MISS/503",
    ):
        stop(proxy.origin)
        for number in range(4):
            fetch(f"/uncached/{number}", "-H", "Cache-Control: no-cache", client=CLIENTS[1])
        proxy.origin = proxy.start_origin()
    with proxy.access.fault(
        "origin-slow",
        injected="requests that take the origin server 3 s, with read_timeout at 2 s",
        root_cause="The origin server answers slower than read_timeout.",
        evidence="TCP_MISS/504",
    ):
        fetch("/slow/1")
        fetch("/slow/2", client=CLIENTS[1])


def origin_faults(proxy: Proxy) -> None:
    """Origins and clients that break the protocol."""
    log = proxy.log
    proxy.reload(http=2, acl=1)
    with log.fault(
        "broken-origin",
        injected="the origin server answered with broken headers, two lengths, too little data or nothing",
        root_cause="The origin server sends invalid or truncated HTTP answers.",
        evidence="X-Squid-Error: ERR_INVALID_RESP",
    ):
        for path in ("/garbage", "/double", "/short", "/drop"):
            fetch(path)
    with proxy.access.fault(
        "malformed-requests",
        injected="requests that are not HTTP, too large a body and conflicting headers",
        root_cause="Clients send malformed requests to the proxy.",
        evidence="error:invalid-request",
    ):
        for data in (
            b"\x16\x03\x01\x00\x05hello\r\n\r\n",
            b"GET\r\n\r\n",
            b"FETCH http://a b c HTTP/1.1\r\n\r\n",
            b"GET http://127.0.0.1:8300/ HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        ):
            send_bytes(PORT, data, ADDRESS)
        run(
            [
                "curl",
                "-s",
                "-m",
                "5",
                "-x",
                f"http://{ADDRESS}:{PORT}",
                "--data-binary",
                "@-",
                f"http://127.0.0.1:{ORIGIN_PORT}/upload",
            ],
            stdin="x" * 100_000,
        )
    proxy.reload()


def operation_faults(proxy: Proxy) -> None:
    """Dead helpers, bad configurations, a full disk, too many clients and a damaged cache."""
    log = proxy.log
    with log.fault(
        "killed-helper",
        injected="kill -9 of the password helper processes",
        root_cause="The basic authentication helpers were killed by SIGKILL; the proxy started new ones.",
        evidence="WARNING: basicauthenticator #Hlpr",
    ):
        fetch("/", "-U", "alice:wonder-4711")
        path = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children")
        with path.open(encoding="ascii") as children:
            for pid in children.read().split():
                os.kill(int(pid), signal.SIGKILL)
    with log.fault(
        "bad-configuration",
        injected="a reload with an unknown directive, a missing access list file and an overlapping network",
        root_cause="squid.conf contains the unknown directive cache_memm, so the proxy ends at the reload.",
        evidence="unrecognized: 'cache_memm'",
    ):
        proxy.configure(
            'cache_memm 8 MB\nacl late src 10.20.1.31 10.20.1.31\nacl empty src "/srv/shop/squid/none.acl"\n'
            "acl sites dstdomain .shop.example www.shop.example\n"
        )
        proxy.process.send_signal(signal.SIGHUP)
        proxy.process.wait(15)
    proxy.configure()
    proxy.start()
    with log.fault(
        "too-many-clients",
        injected="120 slow requests at once with a limit of 256 file descriptors",
        root_cause="The proxy has run out of file descriptors.",
        evidence="WARNING! Your cache is running out of filedescriptors",
        timeout=25,
    ):
        spawn(["/usr/bin/python3", "-c", CROWD, ADDRESS, str(PORT)]).wait(20)
        fetch("/")


CROWD = """
import socket, sys, time
crowd = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) for _ in range(120)]
for number, client in enumerate(crowd):
    client.sendall(b"GET http://127.0.0.1:8300/slow/%d HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" % number)
time.sleep(2)
"""


def start_faults(proxy: Proxy) -> None:
    """Starts with a port in use, an unreadable cache, a dead process and a fatal configuration."""
    log = proxy.log
    with log.fault(
        "port-in-use",
        injected="the proxy was started while another program listened on port 3128",
        root_cause="Port 3128 is held by another process.",
        evidence="(98) Address already in use",
    ):
        proxy.end()
        squatter = spawn(["/usr/bin/python3", "-m", "http.server", str(PORT)])
        wait_port(PORT)
        spawn([*proxy.command(), "-N"], host="proxy01").wait(15)
        stop(squatter)
    with log.fault(
        "cache-permission",
        injected="the cache folder was given to root before a start",
        root_cause="squid runs as proxy and may not write to its cache folder.",
        evidence="(13) Permission denied",
    ):
        run(["chown", "-R", "root", HOME / "cache"])
        run(["chmod", "-R", "go-rwx", HOME / "cache"])
        failing = spawn([*proxy.command(), "-N"], host="proxy01")
        log.wait_text("(13) Permission denied")
        stop(failing, signal.SIGKILL)
        run(["chown", "-R", "proxy", HOME / "cache"])
    (HOME / "squid.pid").unlink(missing_ok=True)
    with log.fault(
        "killed-proxy",
        injected="kill -9 of the proxy, its cache index overwritten with text, then a start",
        root_cause="The proxy was killed by SIGKILL and its cache index is damaged, so it rebuilds the cache.",
        evidence="Rebuilding storage in /srv/shop/squid/cache (dirty log)",
    ):
        proxy.start()
        stop(proxy.process, signal.SIGKILL)
        write_file(HOME / "cache/swap.state", "this is no index\n" * 50, "proxy")
        (HOME / "squid.pid").unlink(missing_ok=True)
        proxy.start()
    with (
        small_disk(HOME / "tiny", "64k", "proxy") as disk,
        log.fault(
            "disk-full",
            injected="the cache was moved to a 64 KB disk and pages fetched",
            root_cause="The file system of the cache folder is full.",
            evidence="(28) No space left on device",
        ),
    ):
        proxy.end()
        keep = CONFIG.replace(f"{HOME}/cache 16", f"{disk} 16")
        write_file(HOME / "squid.conf", keep.format(http=1, acl=1))
        run([*proxy.command(), "-z", "-N"])
        proxy.start()
        for number in range(30):
            fetch(f"/fill/{number}")
        proxy.end()
    proxy.configure()
    proxy.start()


def capture() -> list[Recorder]:
    """Run the proxy scenario and return its logs."""
    random = rng("squid")
    proxy = Proxy()
    ordinary_work(30, random)
    access_faults(proxy)
    origin_faults(proxy)
    ordinary_work(30, random)
    operation_faults(proxy)
    start_faults(proxy)
    ordinary_work(30, random)
    time.sleep(1)
    proxy.end()
    return [proxy.log, proxy.access]
