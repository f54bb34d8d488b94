"""OpenSSH server: logins, file transfers and refused clients, with a period at debug level.

sshd writes to the system log, as on most machines; an rsyslogd on the private /dev/log keeps its lines in a file.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from random import Random

from lab import ROOT, Recorder, make_dir, must, port_open, rng, run, send_bytes, spawn, stop, wait_until, write_file
from world import CLIENTS, PEOPLE

HOME = ROOT / "ssh"
KEYS = HOME / "client"
PORT, ADDRESS = 2222, "10.20.0.18"

CONFIG = f"""
Port {PORT}
ListenAddress {ADDRESS}
HostKey {HOME}/host_ed25519
PidFile {HOME}/sshd.pid
UsePAM no
UseDNS no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers alice bruno deploy
MaxAuthTries 3
MaxStartups 4:100:4
LoginGraceTime 3
MaxSessions 2
AllowTcpForwarding local
PermitOpen 127.0.0.1:8080
AuthorizedKeysFile {HOME}/keys/%u
Subsystem sftp internal-sftp -l VERBOSE
"""
CLIENT = [
    "-F",
    "none",
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "LogLevel=ERROR",
    "-o",
    "ConnectTimeout=8",
]


def ssh(
    user: str, *words: str, password: str = "", key: str = "", client: str = CLIENTS[0], options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Log in with a password or a key from a made-up client address and run a command."""
    method = "publickey" if key else "password"
    command = ["ssh", *CLIENT, "-b", client, "-p", str(PORT), "-o", f"PreferredAuthentications={method}", *options]
    if key:
        command += ["-i", str(KEYS / key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
    else:
        command = ["sshpass", "-p", password, *command, "-o", "PubkeyAuthentication=no"]
    return run([*command, f"{user}@{ADDRESS}", *words], timeout=25)


def start_syslog() -> None:
    """Start a system logger that keeps the lines of sshd in a file, in the traditional format."""
    rules = f"""
module(load="imuxsock" SysSock.RateLimit.Interval="0")
$ActionFileDefaultTemplate RSYSLOG_TraditionalFileFormat
:programname, isequal, "sshd" {ROOT}/log/sshd.log
"""
    spawn(["rsyslogd", "-n", "-f", write_file(HOME / "rsyslog.conf", rules), "-i", "/run/rsyslogd.pid"], host="gate01")
    wait_until(Path("/dev/log").exists, "the system logger")


class Server:
    """The SSH server and its log."""

    def __init__(self) -> None:
        make_dir(Path("/run/sshd"))
        make_dir(HOME / "keys")
        make_dir(KEYS)
        make_dir(ROOT / "log", mode=0o777)
        for name, kind in (("host_ed25519", "ed25519"), ("deploy", "ed25519"), ("stranger", "rsa")):
            path = (KEYS if name in ("deploy", "stranger") else HOME) / name
            must(run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{name}@shop.example", "-f", path]))
        for user in ("deploy", "alice"):
            write_file(HOME / "keys" / user, (KEYS / "deploy.pub").read_text(), user, 0o600)
        start_syslog()
        self.log = Recorder("sshd", "sshd", ROOT / "log/sshd.log")
        self.configure("VERBOSE")
        self.start()

    def configure(self, level: str, more: str = "") -> None:
        """Write the configuration for one log level."""
        write_file(HOME / "sshd_config", f"LogLevel {level}\n{CONFIG}{more}")

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server without waiting for it; as under an init system, its standard error goes to the log too."""
        shell = ["bash", "-c", 'exec 2> >(exec logger -i -t sshd) && exec "$@"', "bash"]
        return spawn([*shell, "/usr/sbin/sshd", "-D", "-f", HOME / "sshd_config"], host="gate01")

    def start(self) -> None:
        """Start the server and wait until it listens."""
        self.process = self.launch()
        wait_until(lambda: port_open(PORT, ADDRESS), "sshd")

    def reload(self) -> None:
        """Make the server read its configuration again, which it does by executing itself."""
        before = self.log.settle()
        self.process.send_signal(signal.SIGHUP)
        self.log.wait_text("Server listening", before)


def ordinary_work(rounds: int, random: Random) -> None:
    """Log in with passwords and keys, run commands and move files."""
    for number in range(rounds):
        client = random.choice(CLIENTS)
        user = random.choice(("alice", "bruno"))
        ssh(user, random.choice(("true", "uptime -p", "exit 3", "ls /srv")), password=PEOPLE[user], client=client)
        ssh("deploy", random.choice(("id", "false", "date")), key="deploy", client=client)
        if number % 2 == 0:
            sftp(
                client,
                f"put /etc/hosts release-{number}.tar\nls\nrename release-{number}.tar current\n"
                f"mkdir shared{number}\nget missing.conf\nchmod 600 current\nrm current\n",
            )


def sftp(client: str, batch: str) -> None:
    """Run an sftp batch as the deploy user; its failing commands do not end it."""
    lines = "".join(f"-{line}\n" for line in batch.splitlines())
    command = ["sftp", *CLIENT, "-P", str(PORT), "-i", str(KEYS / "deploy"), "-b", "-", "-o", f"BindAddress={client}"]
    run([*command, f"deploy@{ADDRESS}"], stdin=lines)


def login_faults(log: Recorder) -> None:
    """Wrong passwords, unknown users, forbidden users and keys."""
    with log.fault(
        "wrong-password",
        injected="bruno logged in with a wrong password twice",
        root_cause="The user bruno (or someone in his name) gave a wrong password.",
        evidence="Failed password for bruno from",
    ):
        for word in ("gran-torino-8", "password"):
            ssh("bruno", "true", password=word, client=CLIENTS[1])
    with log.fault(
        "user-guessing",
        injected="one client tried eight user names that do not exist",
        root_cause="A client guesses user names and passwords (a brute force attempt from 10.20.1.40).",
        evidence="Invalid user oracle from 10.20.1.40",
    ):
        for name in ("admin", "test", "oracle", "ubuntu", "git", "pi", "ftpuser", "support"):
            ssh(name, "true", password="123456", client="10.20.1.40")
    with log.fault(
        "root-login",
        injected="a root login with a password",
        root_cause="Root logins are not allowed by the configuration.",
        evidence="User root from 10.20.1.40 not allowed because not listed in AllowUsers",
    ):
        ssh("root", "true", password="toor", client="10.20.1.40")
    with log.fault(
        "user-not-allowed",
        injected="carla, a valid user, logged in with the right password but is not in AllowUsers",
        root_cause="carla is missing from AllowUsers in the server configuration.",
        evidence="User carla from 10.20.1.35 not allowed because not listed in AllowUsers",
    ):
        ssh("carla", "true", password=PEOPLE["carla"], client="10.20.1.35")
    with log.fault(
        "unknown-key",
        injected="deploy logged in with a key that is not authorized",
        root_cause="The offered key is not in the authorized keys of deploy.",
        evidence="Failed publickey for deploy from 10.20.1.36",
    ):
        ssh("deploy", "true", key="stranger", client="10.20.1.36")
    with log.fault(
        "too-many-keys",
        injected="a client offered four wrong keys with MaxAuthTries at 3",
        root_cause="The agent of the client offers too many keys before the right one.",
        evidence="maximum authentication attempts exceeded for alice",
    ):
        extra: list[str] = []
        for number in range(4):
            path = KEYS / f"old{number}"
            must(run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "old", "-f", path]))
            extra += ["-i", str(path)]
        ssh("alice", "true", key="stranger", client="10.20.1.37", options=tuple(extra))


def key_file_faults(log: Recorder) -> None:
    """Authorized keys files with wrong permissions or broken content."""
    with log.fault(
        "key-file-permissions",
        injected="the authorized keys file of deploy was made writable for everyone",
        root_cause="The authorized keys file has mode 0666, so sshd ignores it.",
        evidence="Authentication refused: bad ownership or modes for file",
    ):
        (HOME / "keys/deploy").chmod(0o666)
        ssh("deploy", "true", key="deploy", client="10.20.1.31")
        (HOME / "keys/deploy").chmod(0o600)
    with log.fault(
        "revoked-address",
        injected="a key restricted to another address was used",
        root_cause="The from= option of the key does not permit the address of the client.",
        evidence="Authentication tried for alice with correct key but not from a permitted host",
    ):
        line = 'from="10.20.9.9" ' + (KEYS / "deploy.pub").read_text()
        write_file(HOME / "keys/alice", line, "alice", 0o600)
        ssh("alice", "true", key="deploy", client="10.20.1.31")


def protocol_faults(server: Server) -> None:
    """Clients that speak something else, hang or find no common algorithm."""
    log = server.log
    with log.fault(
        "not-ssh",
        injected="an HTTP request, a TLS hello and a bare newline were sent to the SSH port",
        root_cause="Clients that do not speak SSH connected to the port.",
        evidence="banner exchange: Connection from",
    ):
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n", b"\r\n", b"SSH-1.5-old\r\n"):
            send_bytes(PORT, data, ADDRESS)
    with log.fault(
        "old-algorithms",
        injected="clients offered only outdated key exchange, ciphers and MACs",
        root_cause="Client and server share no key exchange method (the client is too old).",
        evidence="no matching key exchange method found",
    ):
        for option in (
            "KexAlgorithms=diffie-hellman-group1-sha1",
            "Ciphers=3des-cbc",
            "MACs=hmac-md5",
            "HostKeyAlgorithms=ssh-rsa",
        ):
            ssh("alice", "true", password="x", client="10.20.1.38", options=("-o", option))
    with log.fault(
        "login-timeout",
        injected="seven clients connected and sent nothing, with MaxStartups at 4 and LoginGraceTime at 3 s",
        root_cause="Idle unauthenticated connections fill MaxStartups so new ones are dropped.",
        evidence="beginning MaxStartups throttling",
        timeout=15,
    ):
        hold = [spawn(["/usr/bin/python3", "-c", HOLD, ADDRESS, str(PORT)]) for _ in range(7)]
        for client in hold:
            client.wait(15)
    with log.fault(
        "dropped-transport",
        injected="SIGTERM to an ssh client in the middle of its session",
        root_cause="The ssh client of bruno was ended from outside while its command ran.",
        evidence="Disconnected from user bruno",
    ):
        command = ["sshpass", "-p", PEOPLE["bruno"], "ssh", *CLIENT, "-b", CLIENTS[3], "-p", str(PORT)]
        client = spawn([*command, f"bruno@{ADDRESS}", "sleep 2"])
        log.wait_text("Starting session: command for bruno")
        os.killpg(client.pid, signal.SIGTERM)


HOLD = "import socket, sys, time; s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); time.sleep(4)"


def forwarding_faults(log: Recorder) -> None:
    """Port forwardings that the server refuses or cannot serve."""
    with log.fault(
        "forwarding-refused",
        injected="a tunnel to the database port was opened although only 127.0.0.1:8080 is allowed",
        root_cause="PermitOpen does not allow tunnels to 10.20.0.15:5432.",
        evidence="to connect to host 10.20.0.15 port 5432, but the request was denied",
    ):
        ssh("deploy", key="deploy", options=("-W", "10.20.0.15:5432"))
    with log.fault(
        "forwarding-target-down",
        injected="a permitted tunnel was opened to a port on which nothing listens",
        root_cause="The target of the tunnel, 127.0.0.1:8080, is down.",
        evidence="connect_to 127.0.0.1 port 8080: failed.",
    ):
        ssh("deploy", key="deploy", options=("-W", "127.0.0.1:8080"))
    ssh("deploy", "true", key="deploy", options=("-R", "9000:127.0.0.1:22"))


def start_faults(server: Server) -> None:
    """Configuration mistakes and a port in use."""
    log = server.log
    with log.fault(
        "port-in-use",
        injected="a second server was started on the same port",
        root_cause="Another process listens on port 2222 already.",
        evidence="Bind to port 2222 on 10.20.0.18 failed: Address already in use.",
    ):
        server.launch().wait(15)
    with log.fault(
        "bad-configuration",
        injected="the server was started with a misspelt option and a bad value in its configuration",
        root_cause="sshd_config contains the unknown option PermitRotLogin.",
        evidence="Bad configuration option: PermitRotLogin",
    ):
        server.configure("VERBOSE", "PermitRotLogin no\nClientAliveInterval soon\n")
        server.launch().wait(15)
        server.configure("VERBOSE")
    with log.fault(
        "host-key-permissions",
        injected="the server was started with a host key readable to everyone",
        root_cause="The private host key has mode 0644, so sshd does not load it.",
        evidence="UNPROTECTED PRIVATE KEY FILE",
    ):
        stop(server.process)
        (HOME / "host_ed25519").chmod(0o644)
        server.launch().wait(15)
        (HOME / "host_ed25519").chmod(0o600)
    with log.fault(
        "corrupt-host-key",
        injected="the server was started with a host key file cut in half",
        root_cause="The host key file is damaged and cannot be parsed.",
        evidence="error in libcrypto",
    ):
        key = HOME / "host_ed25519"
        text = key.read_text()
        write_file(key, text[: len(text) // 2], mode=0o600)
        server.launch().wait(15)
        write_file(key, text, mode=0o600)
    server.start()


def capture() -> list[Recorder]:
    """Run the SSH scenario and return its log."""
    random = rng("sshd")
    server = Server()
    ordinary_work(6, random)
    login_faults(server.log)
    key_file_faults(server.log)
    ordinary_work(4, random)
    protocol_faults(server)
    server.configure("DEBUG1")
    server.reload()
    ordinary_work(2, random)
    forwarding_faults(server.log)
    server.configure("VERBOSE")
    server.reload()
    start_faults(server)
    ordinary_work(6, random)
    stop(server.process)
    return [server.log]
