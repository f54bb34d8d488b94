"""Postfix 3.7: a mail server with local mailboxes, relaying, TLS and its own log file."""

from __future__ import annotations

import os
import shutil
import signal
import time
from random import Random

from lab import (
    ROOT,
    Recorder,
    certificate,
    make_dir,
    must,
    port_open,
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

HOME = ROOT / "postfix"
CONF, QUEUE = HOME / "conf", HOME / "spool"
ADDRESS = "10.20.0.22"

MAIN = f"""
compatibility_level = 3.6
queue_directory = {QUEUE}
data_directory = {HOME}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail01.shop.example
mydomain = shop.example
mydestination = $myhostname, shop.example, localhost
inet_interfaces = {ADDRESS}
inet_protocols = ipv4
mynetworks = 127.0.0.0/8, 10.20.1.31/32, {ADDRESS}/32
maillog_file = {ROOT}/log/postfix.log
maillog_file_prefixes = {ROOT}/log
smtpd_tls_cert_file = {HOME}/mail01.crt
smtpd_tls_key_file = {HOME}/mail01.key
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
alias_maps = hash:{CONF}/aliases
transport_maps = texthash:{CONF}/transport
smtp_host_lookup = native
smtp_connect_timeout = 2s
smtp_helo_timeout = 2s
smtpd_timeout = 4s
message_size_limit = 20000
mailbox_size_limit = 60000
mailbox_command =
home_mailbox =
mail_spool_directory = {HOME}/mail
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, reject_unknown_sender_domain
smtpd_helo_required = yes
smtpd_helo_restrictions = permit_mynetworks, reject_invalid_helo_hostname
smtpd_error_sleep_time = 0s
smtpd_hard_error_limit = 4
smtpd_client_connection_rate_limit = 12
anvil_rate_time_unit = 10s
minimal_backoff_time = 5s
maximal_backoff_time = 10s
queue_run_delay = 5s
bounce_queue_lifetime = 1h
debug_peer_list =
"""
MASTER = """
smtp inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
ALIASES = """orders: alice, bruno
postmaster: alice
spam: /dev/null
printer: "|/bin/false"
archive: /srv/shop/nowhere/archive.mbox
loop: loop2
loop2: loop
"""
TRANSPORT = """down.example smtp:[127.0.0.1]:2599
busy.example smtp:[127.0.0.1]:2598
refusing.example smtp:[127.0.0.1]:2597
mute.example smtp:[127.0.0.1]:2596
old.example error:this company has closed
odd.example pigeon:
"""
# A remote mail server: greylists, refuses a recipient or says nothing, by its port.
REMOTE = """
import socketserver, sys
class Remote(socketserver.StreamRequestHandler):
    def handle(self):
        port = self.server.server_address[1]
        if port == 2596:
            return self.rfile.readline()
        self.wfile.write(b"220 remote.example ESMTP\\r\\n")
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"RCPT":
                answer = b"451 4.7.1 Greylisted, try later" if port == 2598 else b"550 5.1.1 User unknown"
            else:
                answer = b"221 Bye" if word == b"QUIT" else b"250 OK"
            self.wfile.write(answer + b"\\r\\n")
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Remote).serve_forever()
"""


def mail(sender: str, recipient: str, body: str = "Hello.", client: str = "10.20.1.31", *flags: str) -> None:
    """Send one message over SMTP from a made-up client address."""
    text = f"From: {sender}\r\nTo: {recipient}\r\nSubject: order\r\n\r\n{body}\r\n"
    command = ["curl", "-sk", "-m", "8", "--interface", client, "--mail-from", sender, "--mail-rcpt", recipient]
    run([*command, *flags, "-T", "-", f"smtp://{ADDRESS}:25/desk.shop.example"], stdin=text)


def dialogue(*lines: str, linger: float = 0.3, client: bytes = b"") -> None:
    """Send SMTP commands all at once."""
    send_bytes(25, client + "".join(f"{line}\r\n" for line in lines).encode(), ADDRESS, linger)


class Server:
    """The mail server and its log; the server writes its own log file."""

    def __init__(self) -> None:
        make_dir(CONF)
        make_dir(HOME / "data", "postfix")
        make_dir(HOME / "mail", "mail", 0o1777)
        make_dir(QUEUE)
        self.log = Recorder("postfix", "postfix", ROOT / "log/postfix.log")
        certificate(HOME, "mail01")
        write_file(CONF / "aliases", ALIASES)
        write_file(CONF / "transport", TRANSPORT)
        self.configure()
        must(run(["postalias", "-c", CONF, f"hash:{CONF}/aliases"]))
        self.remotes = [spawn(["/usr/bin/python3", "-c", REMOTE, str(port)]) for port in (2596, 2597, 2598)]
        wait_port(2598)
        self.start()

    def configure(self, main: str = "", master: str = "") -> None:
        """Write the configuration, with extra lines at its ends."""
        write_file(CONF / "main.cf", MAIN + main)
        write_file(CONF / "master.cf", MASTER + master)

    def control(self, *words: str) -> int:
        """Run the postfix command."""
        return run(["postfix", "-c", CONF, *words], host="mail01", timeout=40).returncode

    def start(self) -> None:
        """Start the mail server and wait until it listens."""
        self.control("start")
        wait_until(lambda: port_open(25, ADDRESS), "postfix")

    def reload(self) -> None:
        """Make the mail server read its configuration again."""
        before = self.log.settle()
        self.control("reload")
        self.log.wait_text("reload -- version", before)

    def children(self, name: str) -> list[int]:
        """Return the processes of this name that belong to the mail server."""
        found = run(["pgrep", "-x", "-P", (QUEUE / "pid/master.pid").read_text().strip(), name]).stdout
        return [int(word) for word in found.split()]


def ordinary_work(rounds: int, random: Random) -> None:
    """Send local and foreign mail, by SMTP and by command."""
    people = ("alice", "bruno", "carla", "orders", "spam", "postmaster")
    for number in range(rounds):
        sender = f"customer{random.randint(1, 9)}@shop.example"
        flags = random.choice(((), ("--ssl",)))
        mail(
            sender, f"{random.choice(people)}@shop.example", "Thank you. " * random.randint(1, 40), "10.20.1.31", *flags
        )
        if number % 3 == 0:
            text = f"Subject: report {number}\n\nAll well.\n"
            run(
                ["sendmail", "-C", CONF, "-f", "deploy@shop.example", f"{random.choice(people)}@shop.example"],
                stdin=text,
            )


def delivery_faults(server: Server) -> None:
    """Mail that cannot be delivered, at this server or at others."""
    log = server.log
    cases = {
        "unknown-user": (
            "nosuch@shop.example",
            "Recipient address rejected: User unknown in local recipient table",
            "The recipient does not exist on this server.",
        ),
        "remote-down": (
            "ann@down.example",
            "connect to 127.0.0.1[127.0.0.1]:2599: Connection refused",
            "The mail server of down.example does not run.",
        ),
        "greylisted": ("ann@busy.example", "451 4.7.1 Greylisted, try later", "The remote server greylists our mail."),
        "remote-user-unknown": (
            "ann@refusing.example",
            "550 5.1.1 User unknown",
            "The remote recipient does not exist.",
        ),
        "remote-mute": (
            "ann@mute.example",
            "timed out while receiving the initial server greeting",
            "The remote server accepts connections but never greets.",
        ),
        "closed-domain": ("ann@old.example", "this company has closed", "The transport table rejects old.example."),
        "bad-transport": (
            "ann@odd.example",
            "connect to transport private/pigeon: No such file or directory",
            "The transport table names the service pigeon, not in master.cf.",
        ),
        "unresolvable": (
            "ann@nosuch.invalid",
            "Host or domain name not found",
            "The domain nosuch.invalid does not resolve.",
        ),
        "failing-command": (
            "printer@shop.example",
            "Command died with status 1",
            "The alias pipes to a failing command.",
        ),
        "missing-mailbox-folder": (
            "archive@shop.example",
            "/srv/shop/nowhere/archive.mbox",
            "The alias writes to a file in a folder that does not exist.",
        ),
        "alias-loop": ("loop@shop.example", "alias database loop for loop2", "Two aliases refer to each other."),
    }
    for slug, (recipient, evidence, cause) in cases.items():
        with log.fault(slug, injected=f"a mail to {recipient}", root_cause=cause, evidence=evidence):
            mail("alice@shop.example", recipient)


def client_faults(server: Server) -> None:
    """SMTP clients that are refused or misbehave."""
    log = server.log
    with log.fault(
        "relay-denied",
        injected="a client outside mynetworks tried to send mail to a foreign domain",
        root_cause="The client is not in mynetworks and may not relay.",
        evidence="Relay access denied",
    ):
        mail("spammer@bulk.example", "victim@elsewhere.example", client="10.20.1.40")
        mail("x@nosuch.invalid", "alice@shop.example", client="10.20.1.41")
    with log.fault(
        "message-too-large",
        injected="a message of 30 KB with message_size_limit at 20 KB",
        root_cause="The message is larger than message_size_limit.",
        evidence="Message size exceeds fixed limit",
    ):
        mail("alice@shop.example", "bruno@shop.example", "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 430)
        dialogue("EHLO desk", "MAIL FROM:<alice@shop.example> SIZE=90000", "QUIT")
    with log.fault(
        "too-many-errors",
        injected="an SMTP session with seven wrong commands and an HTTP request",
        root_cause="The client (a scanner) sends commands that are not SMTP.",
        evidence="too many errors after",
    ):
        dialogue("EHLO desk", "FOO", "BAR", "VRFY", "RCPT TO:<a>", "DATA", "EXPN all", "MAIL TO", "QUIT")
        dialogue("GET / HTTP/1.1", "Host: mail01", "")
        dialogue("MAIL FROM:<a@b>", "HELO -bad-", "RCPT TO:<alice@shop.example>")
    with log.fault(
        "client-timeout",
        injected="a client said EHLO and then nothing for longer than smtpd_timeout",
        root_cause="The client stalls in its SMTP session.",
        evidence="timeout after EHLO from",
    ):
        dialogue("EHLO desk", linger=0.5)
        run(["/usr/bin/python3", "-c", STALL, ADDRESS])
    with log.fault(
        "tls-handshake",
        injected="a client asked for TLS and sent garbage, another offered TLS 1.0 only",
        root_cause="The TLS handshake failed: garbage and an outdated TLS version.",
        evidence="SSL_accept error from",
    ):
        run(["/usr/bin/python3", "-c", STALL, ADDRESS, "STARTTLS"])
        run(
            [
                "curl",
                "-sk",
                "-m",
                "4",
                "--ssl-reqd",
                "--tls-max",
                "1.0",
                "--ciphers",
                "DEFAULT@SECLEVEL=0",
                f"smtp://{ADDRESS}:25",
            ]
        )
    with log.fault(
        "connection-rate",
        injected="24 connections within seconds with a limit of 12 in 10 s",
        root_cause="The client 10.20.1.42 connects more often than smtpd_client_connection_rate_limit allows.",
        evidence="Connection rate limit exceeded",
    ):
        code = (
            "import socket, sys\nfor _ in range(24): socket.create_connection((sys.argv[1], 25), 3, ('10.20.1.42', 0))"
        )
        run(["/usr/bin/python3", "-c", code, ADDRESS])


# Says EHLO, asks for TLS when told to, sends bytes that are no TLS, and waits longer than the server does.
STALL = """
import socket, sys, time
peer = socket.create_connection((sys.argv[1], 25))
peer.recv(999)
peer.sendall(b"EHLO desk\\r\\n")
peer.recv(999)
if len(sys.argv) > 2:
    peer.sendall(b"STARTTLS\\r\\n")
    peer.recv(999)
    peer.sendall(b"this is not a TLS hello\\r\\n")
    time.sleep(0.5)
else:
    time.sleep(5)
"""


def operation_faults(server: Server) -> None:
    """Full disks, full and unwritable mailboxes, killed processes, a bad configuration."""
    log = server.log
    run(["sh", "-c", f"postqueue -c {CONF} -p; postsuper -c {CONF} -d ALL deferred"], host="mail01")
    with log.fault(
        "mailbox-full",
        injected="mail for a mailbox of 59 KB with mailbox_size_limit at 60 KB",
        root_cause="The mailbox of carla has reached mailbox_size_limit.",
        evidence="cannot update mailbox /srv/shop/postfix/mail/carla for user carla",
    ):
        write_file(
            HOME / "mail/carla", "From a@b Mon Jan  1 00:00:00 2024\n\n" + ("x" * 70 + "\n") * 840, "carla", 0o600
        )
        for _ in range(3):
            mail("alice@shop.example", "carla@shop.example", "x" * 900)
    with log.fault(
        "mailbox-permission",
        injected="the mailbox of bruno was given to root",
        root_cause="bruno does not own his mailbox, so local delivery refuses it.",
        evidence="cannot update mailbox /srv/shop/postfix/mail/bruno for user bruno",
    ):
        write_file(HOME / "mail/bruno", "", "root", 0o600)
        mail("alice@shop.example", "bruno@shop.example")
        (HOME / "mail/bruno").unlink()
    with log.fault(
        "killed-queue-manager",
        injected="kill -9 of the queue manager process",
        root_cause="qmgr was killed by SIGKILL; master starts it again.",
        evidence="killed by signal 9",
    ):
        os.kill(server.children("qmgr")[0], signal.SIGKILL)
    with log.fault(
        "bad-alias-file",
        injected="the alias table was removed and mail sent",
        root_cause="The alias table aliases.db does not exist, so lookups fail.",
        evidence="open database /srv/shop/postfix/conf/aliases.db: No such file or directory",
    ):
        server.reload()
        (CONF / "aliases.db").rename(CONF / "aliases.old")
        mail("alice@shop.example", "orders@shop.example")
        time.sleep(1)
        (CONF / "aliases.old").rename(CONF / "aliases.db")
    with log.fault(
        "bad-configuration",
        injected="a reload with an unused parameter, a bad number and an undefined service",
        root_cause="main.cf has a value for smtpd_timeout that is no time.",
        evidence="fatal: invalid smtpd_timeout:",
    ):
        server.configure("smtpd_timeout = soon\nmesage_size_limit = 1\n")
        server.control("check")
        server.reload()
        dialogue("EHLO desk", linger=2.0)
        time.sleep(1)
    server.configure()
    server.reload()
    wait_until(lambda: port_open(25, ADDRESS), "postfix", 70)


def start_faults(server: Server) -> None:
    """A full queue disk, a second start, a killed master and a port in use."""
    log = server.log
    with log.fault(
        "second-start",
        injected="the mail server was started while it ran already",
        root_cause="The Postfix mail system is running already.",
        evidence="the Postfix mail system is already running",
    ):
        server.control("start")
    with log.fault(
        "port-in-use",
        injected="the mail server was started while another program listened on port 25",
        root_cause="Port 25 is held by another process.",
        evidence="Address already in use",
    ):
        server.control("stop")
        squatter = spawn(["/usr/bin/python3", "-m", "http.server", "--bind", ADDRESS, "25"])
        wait_port(25, ADDRESS)
        server.control("start")
        stop(squatter)
    server.start()
    server.control("stop")
    shutil.rmtree(QUEUE)
    with (
        small_disk(QUEUE, "3M") as disk,
        log.fault(
            "disk-full",
            injected="the queue was moved to a 3 MB disk that was then filled",
            root_cause="The file system of the mail queue is full, so no new mail is accepted.",
            evidence="not enough free space in mail queue",
        ),
    ):
        server.start()
        mail("alice@shop.example", "bruno@shop.example")
        run(["dd", "if=/dev/zero", f"of={disk}/filler", "bs=4k"])
        for _ in range(3):
            mail("alice@shop.example", "bruno@shop.example", "x" * 9000)
        (disk / "filler").unlink()
        server.control("stop")


def capture() -> list[Recorder]:
    """Run the mail scenario and return its log."""
    random = rng("postfix")
    server = Server()
    must(run(["postconf", "-c", CONF, "mail_version"]))
    ordinary_work(14, random)
    delivery_faults(server)
    ordinary_work(8, random)
    client_faults(server)
    time.sleep(10)  # until the rate limit forgets, and the queue has been run again
    operation_faults(server)
    ordinary_work(8, random)
    start_faults(server)
    return [server.log]
