"""dnsmasq 2.90: a small DNS, DHCP-less, forwarder of a branch office, with query logging."""

from __future__ import annotations

import signal
import subprocess
import time
from random import Random

from lab import ROOT, Recorder, make_dir, rng, run, spawn, stop, wait_until, write_file
from world import CLIENTS

HOME = ROOT / "dnsmasq"
PORT, UPSTREAM_PORT, ADDRESS = 5353, 5354, "10.20.0.23"

CONFIG = f"""
port={PORT}
listen-address={ADDRESS}
bind-interfaces
no-resolv
no-hosts
server=127.0.0.1#{UPSTREAM_PORT}
server=/depot.example/127.0.0.1#5355
local=/branch.example/
domain=branch.example
expand-hosts
addn-hosts={HOME}/hosts
addn-hosts={HOME}/more-hosts
address=/blocked.example/
cname=www.branch.example,gw01.branch.example
mx-host=branch.example,gw01.branch.example,10
stop-dns-rebind
dns-loop-detect
dns-forward-max=8
cache-size=40
log-queries=extra
user=dnsmasq
pid-file={HOME}/dnsmasq.pid
"""
HOSTS = "10.20.0.23 gw01\n10.20.1.31 till1\n10.20.1.32 till2\n10.20.1.33 printer\n"
# The provider's name server is another dnsmasq; its answers for rebind.example are private addresses.
UPSTREAM = [
    "--no-resolv",
    "--no-hosts",
    f"--port={UPSTREAM_PORT}",
    "--listen-address=127.0.0.1",
    "--bind-interfaces",
    "--address=/rebind.example/10.66.66.66",
    "--address=/supplier.example/127.0.0.9",
    "--keep-in-foreground",
    "--address=/cdn.example/198.18.0.7",
    "--txt-record=news.example,hello",
    "--conf-file=/dev/null",
    "--local=/gone.example/",
    "--pid-file",
]


def dig(name: str, *words: str, client: str = CLIENTS[0]) -> None:
    """Ask the forwarder."""
    run(["dig", f"@{ADDRESS}", "-p", str(PORT), "-b", client, "+time=1", "+tries=1", name, *words])


class Server:
    """The forwarder, the name server of the provider and the log."""

    def __init__(self) -> None:
        make_dir(HOME, "dnsmasq")
        write_file(HOME / "hosts", HOSTS)
        write_file(HOME / "more-hosts", "10.20.1.34 camera\n")
        self.log = Recorder("dnsmasq", "dnsmasq", ROOT / "log/dnsmasq.log")
        self.upstream = self.provider()
        self.configure()
        self.start()

    def provider(self) -> subprocess.Popen[bytes]:
        """Start the name server of the provider."""
        return spawn(["dnsmasq", *UPSTREAM])

    def configure(self, old: str = "", new: str = "") -> None:
        """Write the configuration, with one of its lines changed."""
        write_file(HOME / "dnsmasq.conf", CONFIG.replace(old, new))

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the forwarder without waiting for it."""
        command = ["dnsmasq", "-C", HOME / "dnsmasq.conf", "--keep-in-foreground", f"--log-facility={self.log.path}"]
        return spawn(command, host="gw01", log=self.log.path)

    def start(self) -> None:
        """Start the forwarder and wait until it reports its start."""
        before = self.log.settle()
        self.process = self.launch()
        self.log.wait_text("read ", before)

    def reread(self) -> None:
        """Make the forwarder clear its cache and read its hosts files again."""
        before = self.log.settle()
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log.settle() > before, "the reload")


def ordinary_work(rounds: int, random: Random) -> None:
    """Look up local and foreign names."""
    for number in range(rounds):
        names = (
            "till1.branch.example",
            "www.branch.example",
            "nosuch.branch.example",
            "blocked.example",
            f"img{number}.cdn.example",
            "news.example",
            "printer",
            f"old{number}.gone.example",
        )
        for name in random.sample(names, 2):
            kind = random.choice(("A", "A", "AAAA", "TXT", "MX"))
            dig(name, kind, client=random.choice(CLIENTS))
    dig("-x", "10.20.1.31")
    dig("-x", "10.20.1.99")
    dig("version.bind", "CH", "TXT")


def lookup_faults(server: Server) -> None:
    """Lookups that fail: upstream down, depot down, rebinding, too many at once."""
    log = server.log
    with log.fault(
        "upstream-down",
        injected="the provider's name server was stopped",
        root_cause="The upstream server 127.0.0.1 port 5354 is down, so foreign names are not answered.",
        evidence="forwarded shoes.cdn.example to 127.0.0.1#5354",
    ):
        stop(server.upstream)
        for name in ("shoes.cdn.example", "hats.cdn.example", "socks.cdn.example"):
            dig(name)
        server.upstream = server.provider()
        time.sleep(0.5)
    with log.fault(
        "rebind-attack",
        injected="names of a foreign domain that resolve to private addresses were looked up",
        root_cause="A foreign domain answers with a private address, which stop-dns-rebind discards.",
        evidence="possible DNS-rebind attack detected: portal.rebind.example",
    ):
        dig("portal.rebind.example")
        dig("api.supplier.example")
    with log.fault(
        "too-many-queries",
        injected="30 lookups at once of a domain whose name server is down, with dns-forward-max at 8",
        root_cause="The name server of depot.example does not answer, so pending queries reach dns-forward-max.",
        evidence="Maximum number of concurrent DNS queries",
    ):
        mute = spawn(["/usr/bin/python3", "-c", MUTE])
        time.sleep(0.4)
        crowd = [
            spawn(["dig", f"@{ADDRESS}", "-p", str(PORT), "+time=1", "+tries=1", f"bin{number}.depot.example"])
            for number in range(14)
        ]
        for client in crowd:
            client.wait(10)
        stop(mute)


# A name server that takes queries and never answers.
MUTE = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 5355)); time.sleep(6)"


def file_faults(server: Server) -> None:
    """Hosts files that are missing, broken or unreadable."""
    log = server.log
    with log.fault(
        "hosts-missing",
        injected="an additional hosts file was removed and the files read again",
        root_cause="The file more-hosts does not exist any more.",
        evidence=f"failed to load names from {HOME}/more-hosts: No such file or directory",
    ):
        (HOME / "more-hosts").unlink()
        server.reread()
    with log.fault(
        "hosts-broken",
        injected="a hosts file with a wrong address and an invalid name was read",
        root_cause="The hosts file has a line with a bad address.",
        evidence=f"bad address at {HOME}/more-hosts line 1",
    ):
        write_file(HOME / "more-hosts", "10.20.1.934 camera\n10.20.1.35 front..door\n")
        server.reread()
    with log.fault(
        "hosts-permission",
        injected="a hosts file was made readable for root only and the files read again",
        root_cause="dnsmasq runs as an unprivileged user and may not read more-hosts.",
        evidence=f"failed to load names from {HOME}/more-hosts: Permission denied",
    ):
        write_file(HOME / "more-hosts", "10.20.1.34 camera\n", mode=0o600)
        server.reread()
    write_file(HOME / "more-hosts", "10.20.1.34 camera\n")
    server.reread()
    server.process.send_signal(signal.SIGUSR1)


def start_faults(server: Server) -> None:
    """Starts that fail."""
    log = server.log
    with log.fault(
        "port-in-use",
        injected="a second forwarder was started on the same address",
        root_cause="Port 5353 of 10.20.0.23 is in use by the forwarder that runs already.",
        evidence="failed to create listening socket for 10.20.0.23: Address already in use",
    ):
        server.launch().wait(10)
    stop(server.process)
    mistakes = {
        "bad-option": (
            "cache-size=40",
            "cache-sise=40",
            "bad option at line",
            "An option in the configuration is misspelt.",
        ),
        "bad-value": ("cache-size=40", "cache-size=many", " at line ", "cache-size is not a number."),
        "unknown-user": (
            "user=dnsmasq",
            "user=nameserver",
            "unknown user or group: nameserver",
            "The configured user does not exist.",
        ),
        "bad-address": (
            f"listen-address={ADDRESS}",
            "listen-address=10.99.0.1",
            "Cannot assign requested address",
            "The machine does not have the address 10.99.0.1 that it should listen on.",
        ),
    }
    for slug, (old, new, evidence, cause) in mistakes.items():
        with log.fault(slug, injected=f"a start with the line: {new}", root_cause=cause, evidence=evidence):
            server.configure(old, new)
            server.launch().wait(10)
    server.configure()
    server.start()
    with log.fault(
        "killed-server",
        injected="kill -9 of the forwarder, then a start",
        root_cause="The process was killed by SIGKILL, so it wrote no exit message before the next start.",
        evidence="started, version",
    ):
        stop(server.process, signal.SIGKILL)
        server.start()


def capture() -> list[Recorder]:
    """Run the forwarder scenario and return its log."""
    random = rng("dnsmasq")
    server = Server()
    ordinary_work(24, random)
    lookup_faults(server)
    ordinary_work(20, random)
    file_faults(server)
    start_faults(server)
    ordinary_work(20, random)
    stop(server.process)
    stop(server.upstream)
    return [server.log]
