"""HAProxy 2.6: a load balancer for HTTP and TCP with health checks, TLS and access lists."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from random import Random

from lab import ROOT, Recorder, certificate, make_dir, rng, run, send_bytes, spawn, stop, wait_port, write_file
from world import CLIENTS

HOME = ROOT / "haproxy"
PORT, TLS_PORT, TCP_PORT = 8200, 8243, 8206
BACKENDS = (8211, 8212, 8213)
ADDRESS = "10.20.0.12"
# A web server that can be slow, fail its health check or break the protocol, by the path and files in its folder.
BACKEND = """
import http.server, os, sys, time
class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/slow"):
            time.sleep(2)
        if self.path.startswith("/drop"):
            return self.connection.close()
        if self.path.startswith("/garbage"):
            return self.wfile.write(b"no http at all\\r\\n\\r\\n")
        sick = self.path == "/health" and os.path.exists(f"sick-{sys.argv[1]}")
        self.send_response(500 if sick else 404 if "missing" in self.path else 200)
        self.end_headers()
        self.wfile.write(b"x" * 500)
    do_POST = do_HEAD = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Site).serve_forever()
"""

CONFIG = f"""
global
    log stdout format timed daemon
    stats socket {HOME}/admin.sock mode 600 level admin
    maxconn 60
    log-send-hostname lb01
    tune.ssl.default-dh-param 2048
defaults
    log global
    mode http
    option httplog
    option dontlognull
    option log-health-checks
    option redispatch
    retries 1
    timeout connect 500ms
    timeout client 2s
    timeout server 1200ms
    timeout queue 700ms
    timeout http-request 1s
frontend shop_http
    bind {ADDRESS}:{PORT}
    bind {ADDRESS}:{TLS_PORT} ssl crt {HOME}/lb01.pem ssl-min-ver TLSv1.2
    capture request header Host len 24
    acl admin path_beg /admin
    acl office src 10.20.1.31
    http-request deny deny_status 403 if admin !office
    http-request deny deny_status 429 if {{ src_http_req_rate(rates) gt 25 }}
    http-request track-sc0 src table rates
    http-request redirect scheme https code 301 if {{ path_beg /account }} !{{ ssl_fc }}
    use_backend static if {{ path_beg /static }}
    use_backend narrow if {{ path_beg /narrow }}
    default_backend app
backend rates
    stick-table type ip size 1k expire 4s store http_req_rate(2s)
backend app
    balance roundrobin
    option httpchk GET /health
    default-server inter 500ms fall 2 rise 2 slowstart 1s
    server app1 127.0.0.1:8211 check
    server app2 127.0.0.1:8212 check
    server spare 127.0.0.1:8213 check backup
backend static
    server files 127.0.0.1:8213 check inter 500ms fall 2 rise 2
backend narrow
    server tight 127.0.0.1:8211 maxconn 1
listen database
    mode tcp
    option tcplog
    no option dontlognull
    bind {ADDRESS}:{TCP_PORT}
    server db1 127.0.0.1:8221 check inter 700ms fall 2 rise 1
"""
PATHS = (
    "/",
    "/cart/{n}",
    "/static/logo-{n}.svg",
    "/admin/users",
    "/account/{n}",
    "/missing/{n}",
    "/narrow/{n}",
    "/api/v1/orders?page={n}",
    "/product/{n}",
    "/static/missing.js",
)


def fetch(path: str, *flags: str, client: str = CLIENTS[0], port: int = PORT) -> str:
    """Request a path through the load balancer."""
    scheme = "https" if port == TLS_PORT else "http"
    command = ["curl", "-sk", "-m", "6", "-o", "/dev/null", "--interface", client, *flags]
    return run([*command, f"{scheme}://{ADDRESS}:{port}{path}"]).stdout


class Balancer:
    """The load balancer, its backends and its log."""

    def __init__(self) -> None:
        make_dir(HOME)
        cert, key = certificate(HOME, "lb01")
        write_file(HOME / "lb01.pem", cert.read_text() + key.read_text(), mode=0o600)
        self.log = Recorder("haproxy", "haproxy", ROOT / "log/haproxy.log")
        self.backends = {port: self.backend(port) for port in BACKENDS}
        for port in BACKENDS:
            wait_port(port)
        write_file(HOME / "haproxy.cfg", CONFIG)
        self.start()

    def backend(self, port: int) -> subprocess.Popen[bytes]:
        """Start one backend."""
        return spawn(["sh", "-c", f'cd {HOME} && exec "$@"', "sh", "/usr/bin/python3", "-c", BACKEND, str(port)])

    def launch(self) -> subprocess.Popen[bytes]:
        """Start HAProxy in master-worker mode without waiting for it."""
        return spawn(["haproxy", "-W", "-db", "-f", HOME / "haproxy.cfg"], host="lb01", log=self.log.path)

    def start(self) -> None:
        """Start HAProxy and wait until it listens."""
        self.process = self.launch()
        wait_port(PORT, ADDRESS)

    def reload(self, text: str) -> None:
        """Write a configuration and make HAProxy read it."""
        write_file(HOME / "haproxy.cfg", text)
        before = self.log.settle()
        self.process.send_signal(signal.SIGUSR2)
        self.log.wait_text("Loading", before)

    def admin(self, command: str) -> None:
        """Send a command to the statistics socket."""
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
            "s.sendall(sys.argv[2].encode() + b'\\n'); s.recv(9999)"
        )
        run(["/usr/bin/python3", "-c", code, HOME / "admin.sock", command])


def ordinary_work(rounds: int, random: Random) -> None:
    """Browse through the load balancer as several clients."""
    for _ in range(rounds):
        client = random.choice(CLIENTS)
        for path in random.sample(PATHS, 3):
            flags = random.choice(((), ("-I",), ("-d", "a=1"), ("-A", "probe/1.0")))
            fetch(path.format(n=random.randint(1, 99)), *flags, client=client, port=random.choice((PORT, TLS_PORT)))


def backend_faults(balancer: Balancer) -> None:
    """Backends that die, are sick, slow or break the protocol."""
    log = balancer.log
    with log.fault(
        "backend-killed",
        injected="kill -9 of the backend process app1",
        root_cause="The backend app1 died, so its port refuses connections and the health check marks it down.",
        evidence="Server app/app1 is DOWN",
    ):
        stop(balancer.backends[8211], signal.SIGKILL)
        fetch("/cart/1")
        log.wait_text("app/app1 is DOWN")
        balancer.backends[8211] = balancer.backend(8211)
        log.wait_text("app/app1 is UP")
    with log.fault(
        "health-check-status",
        injected="the health page of app2 was made to answer 500",
        root_cause="app2 reports itself as sick: its health page answers 500.",
        evidence="Health check for server app/app2 failed, reason: Layer7 wrong status, code: 500",
    ):
        write_file(HOME / "sick-8212", "")
        log.wait_text("app/app2 is DOWN")
        (HOME / "sick-8212").unlink()
        log.wait_text("app/app2 is UP")
    with log.fault(
        "no-server",
        injected="the only server of backend static was stopped",
        root_cause="The single server of backend static is down, so the backend has no server available.",
        evidence="backend static has no server available!",
    ):
        stop(balancer.backends[8213])
        log.wait_text("backend static has no server available!")
        for number in range(3):
            fetch(f"/static/{number}.css")
        balancer.backends[8213] = balancer.backend(8213)
        log.wait_text("static/files is UP")
    with log.fault(
        "slow-backend",
        injected="requests that take the backend 2 s, with timeout server at 1.2 s",
        root_cause="The backend needs longer for its answer than timeout server.",
        evidence=" 504 ",
    ):
        fetch("/slow/report")
        fetch("/slow/report", client=CLIENTS[3])
    with log.fault(
        "broken-backend",
        injected="requests to which the backend answers nothing or bytes that are not HTTP",
        root_cause="The backend closes connections early or sends an invalid HTTP answer.",
        evidence=" 502 ",
    ):
        fetch("/drop/1")
        fetch("/garbage/1")


def limit_faults(balancer: Balancer) -> None:
    """Queues, rate limits, process limits and clients that misbehave."""
    log = balancer.log
    with log.fault(
        "queue-timeout",
        injected="four requests to a server stopped with SIGSTOP, with maxconn 1 and a queue timeout of 0.7 s",
        root_cause="The server tight hangs and takes one connection at a time, so requests wait in its queue too long.",
        evidence=" 503 ",
    ):
        # A stopped process accepts connections (its backlog does) but never answers them.
        balancer.backends[8211].send_signal(signal.SIGSTOP)
        command = ["curl", "-s", "-o", "/dev/null", f"http://{ADDRESS}:{PORT}/narrow/"]
        for client in [spawn([*command[:-1], command[-1] + str(number)]) for number in range(4)]:
            client.wait(15)
        balancer.backends[8211].send_signal(signal.SIGCONT)
    log.wait_text("Health check for server app/app1 succeeded")
    with log.fault(
        "rate-limit",
        injected="32 requests within two seconds from one client, with a limit of 25",
        root_cause="One client sends more requests than the rate limit permits.",
        evidence=" 429 ",
    ):
        run(
            [
                "curl",
                "-s",
                "-o",
                "/dev/null",
                "--interface",
                CLIENTS[5],
                f"http://{ADDRESS}:{PORT}/api/v1/items?page=[1-32]",
            ]
        )
    with log.fault(
        "bad-requests",
        injected="malformed requests and a request header that never ends",
        root_cause="Clients send malformed HTTP or stall while sending the request header.",
        evidence="<BADREQ>",
    ):
        for data in (b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nBad Header\r\n\r\n", b"\x16\x03\x01\x00\x01\x00\r\n\r\n"):
            send_bytes(PORT, data, ADDRESS)
        send_bytes(PORT, b"GET /stalled HTTP/1.1\r\nHost: lb01\r\n", ADDRESS, linger=1.5)
    with log.fault(
        "tls-handshake",
        injected="plain HTTP, garbage and TLS 1.1 were sent to the TLS port",
        root_cause="Clients with outdated TLS versions or no TLS at all connect to the TLS port.",
        evidence="SSL handshake failure",
    ):
        send_bytes(TLS_PORT, b"GET / HTTP/1.0\r\n\r\n", ADDRESS)
        send_bytes(TLS_PORT, b"\x16\x03\x01\x00\x05hello", ADDRESS)
        run(["curl", "-sk", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", f"https://{ADDRESS}:{TLS_PORT}/"])
        run(["curl", "-s", f"https://{ADDRESS}:{TLS_PORT}/"])
    with log.fault(
        "database-down",
        injected="connections through the TCP proxy to a database that does not run",
        root_cause="The database db1 on port 8221 is down.",
        evidence="database database/<NOSRV>",
    ):
        for _ in range(3):
            send_bytes(TCP_PORT, b"hello\n", ADDRESS)


def operation_faults(balancer: Balancer) -> None:
    """Operator commands, broken configurations, a killed worker and a port in use."""
    log = balancer.log
    for command in (
        "set server app/app1 state drain",
        "set server app/app1 state maint",
        "set server app/app1 state ready",
        "disable frontend shop_http",
        "enable frontend shop_http",
        "set server app/app2 weight 50%",
        "disable health app/app2",
        "enable health app/app2",
        "shutdown sessions server app/app1",
    ):
        balancer.admin(command)
    with log.fault(
        "bad-configuration",
        injected="a reload with an unknown keyword, a missing backend and a wrong timeout unit",
        root_cause="The configuration has an unknown keyword and uses a backend that is not defined.",
        evidence="unknown keyword 'ballance'",
    ):
        broken = (
            CONFIG
            + "backend extra\n    ballance leastconn\n    timeout server 5 weeks\n    server x 127.0.0.1:1 chek\n"
        )
        balancer.reload(broken.replace("default_backend app", "default_backend shop"))
    balancer.reload(CONFIG)
    wait_port(PORT, ADDRESS)
    with log.fault(
        "missing-certificate",
        injected="a reload after the certificate file was moved away",
        root_cause="The certificate file of the TLS port does not exist.",
        evidence="unable to stat SSL certificate from file",
    ):
        balancer.reload(CONFIG.replace("lb01.pem", "lb01-renewed.pem"))
    balancer.reload(CONFIG)
    with log.fault(
        "killed-worker",
        injected="kill -9 of the worker process",
        root_cause="The worker was killed by SIGKILL; the master ends with it.",
        evidence="exited with code 137 (Killed)",
    ):
        path = Path(f"/proc/{balancer.process.pid}/task/{balancer.process.pid}/children")
        os.kill(int(path.read_text().split()[-1]), signal.SIGKILL)
        balancer.process.wait(15)
    balancer.start()
    with log.fault(
        "port-in-use",
        injected="HAProxy was started while another program listened on port 8200",
        root_cause="Port 8200 is held by another process.",
        evidence="cannot bind socket (Address already in use)",
    ):
        stop(balancer.process, signal.SIGTERM)
        squatter = spawn(["/usr/bin/python3", "-m", "http.server", str(PORT)])
        wait_port(PORT)
        balancer.launch().wait(15)
        stop(squatter)
    balancer.start()


def capture() -> list[Recorder]:
    """Run the HAProxy scenario and return its log."""
    random = rng("haproxy")
    balancer = Balancer()
    time.sleep(1.5)  # until the health checks have found the database down
    ordinary_work(22, random)
    backend_faults(balancer)
    ordinary_work(22, random)
    limit_faults(balancer)
    operation_faults(balancer)
    ordinary_work(22, random)
    stop(balancer.process, signal.SIGUSR1)
    return [balancer.log]
