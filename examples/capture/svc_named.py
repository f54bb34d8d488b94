"""BIND 9.18: an authoritative and resolving name server with zones, updates, transfers and query logging."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from random import Random
from typing import BinaryIO

from lab import (
    ROOT,
    Recorder,
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
from world import CLIENTS

HOME = ROOT / "named"
PORT, CONTROL, ADDRESS = 53, 953, "10.20.0.20"
KEY_SECRET = "bG9vcGJhY2stb25seS1rZXktZm9yLXRoZS1kZW1v"

ZONE = """$TTL 300
@ IN SOA ns01 hostmaster ({serial} 60 20 600 30)
@ IN NS ns01
ns01 IN A 10.20.0.20
web01 IN A 10.20.0.11
mail01 IN A 10.20.0.22
@ IN MX 10 mail01
www IN CNAME web01
{extra}
"""
CONFIG = """
logging {{
    channel all_lines {{
        file "{log}";
        print-time iso8601; print-category yes; print-severity yes; severity {level};
    }};
    category default {{ all_lines; }};
    category queries {{ all_lines; }};
    category lame-servers {{ all_lines; }};
    category edns-disabled {{ null; }};
}};
key "ops-key" {{ algorithm hmac-sha256; secret "{secret}"; }};
key "rndc-key" {{ algorithm hmac-sha256; secret "{secret}"; }};
controls {{ inet 127.0.0.1 port {control} allow {{ 127.0.0.1; }} keys {{ "rndc-key"; }}; }};
acl office {{ 10.20.1.31; 10.20.1.32; 10.20.0.20; }};
options {{
    directory "{home}/data";
    pid-file "{home}/named.pid";
    session-keyfile "{home}/session.key";
    listen-on port {port} {{ {address}; }};
    listen-on-v6 {{ none; }};
    recursion yes;
    allow-recursion {{ office; }};
    allow-query-cache {{ office; }};
    allow-transfer {{ key "ops-key"; }};
    querylog yes;
    max-cache-size 32m;
    dnssec-validation no;
    empty-zones-enable no;
    resolver-query-timeout 1000;
    forwarders {{ 127.0.0.1 port 5398; }};
    forward only;
    {options}
}};
zone "shop.example" {{ type primary; file "shop.zone"; allow-update {{ key "ops-key"; }}; notify yes;
                      also-notify {{ 127.0.0.1 port 5397; }}; }};
zone "stock.example" {{ type primary; file "stock.zone"; notify no; }};
zone "partner.example" {{ type secondary; file "partner.zone"; primaries port 5396 {{ 127.0.0.1; }};
                         allow-notify {{ 127.0.0.1; }}; }};
{more}
"""


def dig(*words: str, client: str = CLIENTS[0]) -> str:
    """Ask the name server from a made-up client address."""
    return run(["dig", f"@{ADDRESS}", "-b", client, "+time=1", "+tries=1", *words], timeout=15).stdout


def update(commands: str, key: str = "ops-key") -> None:
    """Send a dynamic update."""
    text = f"server {ADDRESS} {PORT}\n" + commands + "send\n"
    flags = ["-y", f"hmac-sha256:{key}:{KEY_SECRET}"] if key else []
    run(["nsupdate", *flags], stdin=text)


class Server:
    """The name server and its log; the server writes its own log file."""

    def __init__(self) -> None:
        make_dir(HOME, "bind")
        make_dir(HOME / "data", "bind")
        make_dir(ROOT / "log", mode=0o777)
        key = f'key "rndc-key" {{ algorithm hmac-sha256; secret "{KEY_SECRET}"; }};\n'
        write_file(HOME / "rndc.conf", key + 'options { default-key "rndc-key"; default-server 127.0.0.1; };\n')
        self.serial = 1
        self.zone("shop")
        self.zone("stock")
        self.log = Recorder("named", "named", ROOT / "log/named.log")
        self.configure()
        self.start()

    def zone(self, name: str, extra: str = "") -> None:
        """Write a zone file with the next serial number."""
        self.serial += 1
        write_file(HOME / f"data/{name}.zone", ZONE.format(serial=self.serial, extra=extra), "bind")

    def configure(self, options: str = "", more: str = "", level: str = "info") -> None:
        """Write the configuration, with extra options and statements."""
        text = CONFIG.format(
            log=self.log.path,
            home=HOME,
            port=PORT,
            address=ADDRESS,
            control=CONTROL,
            secret=KEY_SECRET,
            options=options,
            more=more,
            level=level,
        )
        write_file(HOME / "named.conf", text, "bind")

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server without waiting for it."""
        return spawn(["named", "-f", "-u", "bind", "-c", HOME / "named.conf"], host="ns01")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process = self.launch()
        wait_until(lambda: "NOERROR" in dig("web01.shop.example"), "named")

    def rndc(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a control command."""
        return run(["rndc", "-c", HOME / "rndc.conf", *words])


def ordinary_work(rounds: int, random: Random) -> None:
    """Look up names, transfer the zone and change records."""
    kinds = ("A", "MX", "CNAME", "TXT", "AAAA", "NS", "SOA")
    for number in range(rounds):
        name = random.choice(("web01", "mail01", "www", f"desk{number}", "ns01", "_sip._tcp"))
        flags = random.choice((("+tcp",), ("+norecurse",), ("+dnssec",), ("+cookie",)))
        dig(
            f"{name}.{random.choice(('shop', 'stock'))}.example",
            random.choice(kinds),
            *flags,
            client=random.choice(CLIENTS),
        )
        update(f"update add desk{number}.shop.example 60 A 10.20.1.{number + 40}\n")
    update("update delete desk1.shop.example A\n")
    dig("shop.example", "AXFR", "-y", f"hmac-sha256:ops-key:{KEY_SECRET}")
    dig("shop.example", "IXFR=2", "-y", f"hmac-sha256:ops-key:{KEY_SECRET}")


def client_faults(server: Server) -> None:
    """Requests that the server refuses."""
    log = server.log
    with log.fault(
        "recursion-denied",
        injected="a client outside the office asked for foreign names",
        root_cause="The address of the client is not in allow-recursion.",
        evidence="query (cache) 'www.foreign.example/A/IN' denied",
    ):
        dig("www.foreign.example", client="10.20.1.41")
        dig("mail.foreign.example", "MX", client="10.20.1.42")
    with log.fault(
        "transfer-denied",
        injected="zone transfers without a key",
        root_cause="The client has no key that allow-transfer accepts.",
        evidence="zone transfer 'shop.example/AXFR/IN' denied",
    ):
        dig("shop.example", "AXFR", client="10.20.1.40")
        dig("nosuch.example", "AXFR", client="10.20.1.40")
    with log.fault(
        "bad-key",
        injected="updates with an unknown key, a wrong secret and no key",
        root_cause="The update is signed with a key the server does not know (or with a wrong secret).",
        evidence="tsig verify failure",
    ):
        update("update add x.shop.example 60 A 10.20.1.1\n", key="old-key")
        update("update add x.shop.example 60 A 10.20.1.1\n", key="")
        dig("shop.example", "AXFR", "-y", "hmac-sha256:ops-key:d3Jvbmcgc2VjcmV0")
    with log.fault(
        "update-rejected",
        injected="updates of a zone that is not dynamic, with a failed prerequisite and with a CNAME beside other data",
        root_cause="stock.example is not configured for dynamic updates.",
        evidence="update 'stock.example/IN' denied",
    ):
        update("update add x.stock.example 60 A 10.20.1.1\n")
        update("prereq nxdomain web01.shop.example\nupdate add web01.shop.example 60 A 10.20.1.1\n")
        update("update add web01.shop.example 60 CNAME www.shop.example\n")
        update("update delete shop.example SOA\nupdate add web01.other.example 60 A 10.20.1.1\n")
    with log.fault(
        "forwarder-down",
        injected="lookups of foreign names while the forwarder on port 5398 is down",
        root_cause="The forwarder at 127.0.0.1 port 5398 is down.",
        evidence="resolving 'www.foreign.example/A/IN'",
    ):
        for name in ("www.foreign.example", "api.foreign.example"):
            dig(name, "+time=3")


def zone_faults(server: Server) -> None:
    """Broken zone files, missing files and a primary that is down."""
    log = server.log
    with log.fault(
        "zone-syntax",
        injected="a reload of stock.example with a bad address, an unknown record type and a CNAME conflict",
        root_cause="The zone file of stock.example has a syntax error.",
        evidence="zone stock.example/IN: not loaded due to errors.",
    ):
        server.zone("stock", "printer IN A 10.20.300.1\nscanner IN AA 10.20.1.3\nweb01 IN CNAME ns01\n")
        server.rndc("reload", "stock.example")
    with log.fault(
        "zone-serial",
        injected="a zone was changed and its serial number set back",
        root_cause="The serial number of the zone went backwards.",
        evidence="zone serial",
    ):
        server.zone("stock")
        server.rndc("reload", "stock.example")
        server.rndc("reload", "stock.example")
        server.serial = 1
        server.zone("stock", "printer IN A 10.20.1.9\n")
        server.rndc("reload", "stock.example")
        server.serial = 50
        server.zone("stock", "desk IN MX 10 www\nlost IN NS nowhere\nbad_name IN A 10.20.1.3\n")
        server.rndc("reload", "stock.example")
    with log.fault(
        "zone-missing",
        injected="the zone file of stock.example was removed and the zone reloaded",
        root_cause="The zone file stock.zone does not exist.",
        evidence="loading from master file stock.zone failed: file not found",
    ):
        (HOME / "data/stock.zone").unlink()
        server.rndc("reload", "stock.example")
    server.zone("stock")
    with log.fault(
        "zone-permission",
        injected="the zone file of stock.example was made readable for root only and the zone reloaded",
        root_cause="named runs as bind and may not read stock.zone.",
        evidence="permission denied",
    ):
        write_file(HOME / "data/stock.zone", (HOME / "data/stock.zone").read_text(), "root", 0o600)
        os.utime(HOME / "data/stock.zone", (time.time() + 5, time.time() + 5))
        server.rndc("reload", "stock.example")
        shutil.chown(HOME / "data/stock.zone", "bind")
    server.rndc("reload", "stock.example")
    with log.fault(
        "primary-down",
        injected="a refresh of the secondary zone while its primary is down",
        root_cause="The primary of partner.example at 127.0.0.1 port 5396 is down.",
        evidence="zone partner.example/IN: refresh: failure trying primary 127.0.0.1#5396",
    ):
        server.rndc("retransfer", "partner.example")
        server.rndc("refresh", "partner.example")
        dig("www.partner.example")
        log.wait_text("zone partner.example/IN: refresh: failure")


def operation_faults(server: Server) -> None:
    """Control commands, broken configurations, a full disk, a broken journal and a killed server."""
    log = server.log
    for words in (
        ("flush",),
        ("stats",),
        ("freeze", "shop.example"),
        ("thaw", "shop.example"),
        ("sync", "shop.example"),
        ("notify", "shop.example"),
        ("querylog", "off"),
        ("querylog", "on"),
        ("trace", "2"),
        ("notrace",),
        ("flushname", "www.foreign.example"),
        ("status",),
        ("reload", "nosuch.example"),
        ("nta", "x.example"),
        ("dumpdb", "-zones"),
        ("retransfer", "shop.example"),
        ("bogus",),
    ):
        server.rndc(*words)
    with log.fault(
        "bad-configuration",
        injected="a reconfiguration with an unknown option and a zone without a file",
        root_cause="named.conf has the unknown option recursoin.",
        evidence="unknown option 'recursoin'",
    ):
        server.configure("recursoin yes;", 'zone "half.example" { type primary; };')
        server.rndc("reconfig")
    server.configure("max-ncache-ttl 60;", 'zone "new.example" { type primary; file "new.zone"; };')
    with log.fault(
        "new-zone-missing",
        injected="a reconfiguration with a new zone whose file was forgotten",
        root_cause="The file new.zone of the new zone does not exist.",
        evidence="zone new.example/IN: loading from master file new.zone failed: file not found",
    ):
        server.rndc("reconfig")
    with log.fault(
        "control-wrong-key",
        injected="a control command with a wrong secret and bytes that are no command",
        root_cause="The control client uses a wrong key.",
        evidence="invalid command from 127.0.0.1",
    ):
        text = (HOME / "rndc.conf").read_text().replace(KEY_SECRET, "d3Jvbmcgc2VjcmV0")
        run(["rndc", "-c", write_file(HOME / "wrong.conf", text), "status"])
        send_bytes(CONTROL, b"\x00\x00\x00\x04\x00\x00\x00\x09")
    server.configure()
    server.rndc("reconfig")
    with log.fault(
        "corrupt-journal",
        injected="kill -9 of the server, then its journal was overwritten with text before the next start",
        root_cause="The journal of the dynamic zone is damaged, so the zone is not loaded.",
        evidence="zone shop.example/IN: journal open failed",
    ):
        stop(server.process, signal.SIGKILL)
        write_file(HOME / "data/shop.zone.jnl", "no journal\n" * 40, "bind")
        broken = server.launch()
        log.wait_text("journal open failed")
        stop(broken)
        (HOME / "data/shop.zone.jnl").unlink()
    server.start()
    with log.fault(
        "port-in-use",
        injected="a reconfiguration to listen on port 8053 too, on which another program listens",
        root_cause="Port 8053 is held by another process.",
        evidence="address in use",
    ):
        squatter = spawn(["/usr/bin/python3", "-m", "http.server", "8053"])
        wait_port(8053)
        server.configure(f"listen-on port 8053 {{ {ADDRESS}; }};")
        server.rndc("reconfig")
        log.wait_text("address in use")
        stop(squatter)
    server.configure()
    server.rndc("reconfig")


def disk_fault(server: Server) -> None:
    """A data folder on a full disk."""
    log = server.log
    keep = {path.name: path.read_text() for path in (HOME / "data").glob("*.zone")}
    stop(server.process)
    with (
        small_disk(HOME / "data", "24k", "bind"),
        log.fault(
            "disk-full",
            injected="dynamic updates with the zones on a full 24 KB disk",
            root_cause="The file system of the zones and journals is full.",
            evidence="disc full",
        ),
    ):
        for name, text in keep.items():
            write_file(HOME / "data" / name, text, "bind")
        server.start()
        with (HOME / "data/filler").open("wb", buffering=0) as filler:
            while filler_room(filler):
                pass
        update("update add late.shop.example 60 A 10.20.1.9\n")
        server.rndc("sync", "shop.example")
        stop(server.process)
    server.start()


def filler_room(filler: BinaryIO) -> bool:
    """Write another page to the file; tell whether there was room for it."""
    try:
        return filler.write(b"x" * 4096) > 0
    except OSError:
        return False


def capture() -> list[Recorder]:
    """Run the name server scenario and return its log."""
    random = rng("named")
    server = Server()
    must(server.rndc("status"))
    ordinary_work(12, random)
    client_faults(server)
    zone_faults(server)
    ordinary_work(10, random)
    operation_faults(server)
    disk_fault(server)
    ordinary_work(8, random)
    stop(server.process)
    return [server.log]
