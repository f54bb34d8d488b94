"""Mosquitto 2.0: an MQTT broker for shelf sensors, with passwords, access lists and a TLS listener."""

from __future__ import annotations

import signal
import subprocess
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

HOME = ROOT / "mosquitto"
PORT, TLS_PORT = 1883, 8883
ADDRESS = "10.20.0.19"
USERS = {"sensor": "shelf-12", "display": "till-2", "bridge": "span"}

CONFIG = f"""
per_listener_settings false
listener {PORT}
allow_anonymous false
password_file {HOME}/passwords
acl_file {HOME}/acl
persistence true
persistence_location {HOME}/data/
autosave_interval 5
autosave_on_changes false
log_dest file {ROOT}/log/mosquitto.log
log_type all
connection_messages true
log_timestamp true
log_timestamp_format %Y-%m-%dT%H:%M:%S
max_inflight_messages 2
max_queued_messages 5
max_packet_size 200000
max_keepalive 120
listener {TLS_PORT}
certfile {HOME}/iot01.crt
keyfile {HOME}/iot01.key
max_connections 3
"""
ACL = """
user sensor
topic write shelf/+/weight
topic read control/#
user display
topic read shelf/#
topic write display/#
user bridge
topic readwrite #
"""


def client(tool: str, user: str, *flags: str, password: str = "", port: int = PORT) -> list[str]:
    """Return the command line of a publishing or subscribing client."""
    login = ["-u", user, "-P", password or USERS.get(user, "guess")]
    return [f"mosquitto_{tool}", "-h", ADDRESS, "-p", str(port), *login, *flags]


def publish(user: str, topic: str, message: str, *flags: str, password: str = "") -> None:
    """Publish one message."""
    run(client("pub", user, "-t", topic, "-m", message, *flags, password=password), timeout=10)


class Broker:
    """The broker and its log."""

    def __init__(self) -> None:
        make_dir(HOME, "mosquitto")
        make_dir(HOME / "data", "mosquitto")
        make_dir(ROOT / "log", mode=0o777)
        certificate(HOME, "iot01", owner="mosquitto")
        for number, (user, password) in enumerate(USERS.items()):
            must(run(["mosquitto_passwd", "-b", *(["-c"] if number == 0 else []), HOME / "passwords", user, password]))
        write_file(HOME / "passwords", (HOME / "passwords").read_text(), "mosquitto", 0o600)
        write_file(HOME / "acl", ACL, "mosquitto", 0o600)
        self.log = Recorder("mosquitto", "mosquitto", ROOT / "log/mosquitto.log")
        write_file(self.log.path, "", "mosquitto")
        self.configure()
        self.start()

    def configure(self, text: str = CONFIG) -> None:
        """Write the configuration."""
        write_file(HOME / "mosquitto.conf", text, "mosquitto")

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the broker without waiting for it; what it says before it opens its log goes to the same file."""
        command = ["mosquitto", "-c", HOME / "mosquitto.conf"]
        return spawn(command, host="iot01", user="mosquitto", log=self.log.path)

    def start(self) -> None:
        """Start the broker and wait until it listens."""
        self.process = self.launch()
        wait_port(PORT)

    def reload(self, text: str) -> None:
        """Write a configuration and make the broker read it."""
        self.configure(text)
        before = self.log.settle()
        self.process.send_signal(signal.SIGHUP)
        self.log.wait_text("Reloading config", before)

    def restart_with(self, text: str) -> None:
        """Start the stopped broker with another configuration, with which it gives up."""
        self.configure(text)
        self.launch().wait(15)
        self.configure()


def ordinary_work(rounds: int, random: Random) -> None:
    """Publish, subscribe, retain and unsubscribe as several clients."""
    listen = client("sub", "display", "-t", "shelf/#", "-q", "1", "-i", f"display-{random.randint(1, 9)}", "-W", "4")
    watcher = spawn(listen)
    for number in range(rounds):
        shelf, name = random.randint(1, 20), f"shelf-{random.randint(1, 20)}"
        flags = random.choice((("-q", "2"), ("-q", "1"), ("-r",), ("-V", "5"), ("-V", "31"), ()))
        publish("sensor", f"shelf/{shelf}/weight", str(random.randint(100, 900)), "-i", name, *flags)
        if number % 4 == 0:
            publish("bridge", "control/reset", "now", "--will-topic", "control/gone", "--will-payload", "x", "-q", "1")
    run(client("sub", "display", "-t", "shelf/+/weight", "-U", "shelf/9/weight", "-C", "2", "-W", "2", "-V", "5"))
    watcher.wait(10)


def access_faults(broker: Broker) -> None:
    """Refused clients: passwords, access lists, TLS and protocol errors."""
    log = broker.log
    with log.fault(
        "wrong-password",
        injected="clients with a wrong password, an unknown user and no user at all",
        root_cause="The clients use wrong credentials (or none, and anonymous clients are not allowed).",
        evidence="not authorised",
    ):
        publish("sensor", "shelf/1/weight", "5", password="shelf-11")
        publish("mallory", "shelf/1/weight", "5")
        run(["mosquitto_pub", "-h", ADDRESS, "-p", str(PORT), "-t", "a", "-m", "b", "-i", "nobody"])
    with log.fault(
        "acl-denied",
        injected="a sensor published to a topic that its access list does not allow",
        root_cause="The access list does not let user sensor write to control topics.",
        evidence="Denied PUBLISH from rogue-sensor",
    ):
        publish("sensor", "control/reset", "now", "-i", "rogue-sensor", "-q", "1", "-V", "5")
        publish("display", "shelf/3/weight", "1", "-i", "rogue-sensor", "-q", "2")
        run(client("sub", "sensor", "-t", "shelf/#", "-W", "1", "-i", "nosy-sensor"))
    with log.fault(
        "client-takeover",
        injected="two clients connected with the same client id",
        root_cause="Two devices use the same client id, so each connection ends the other.",
        evidence="already connected, closing old connection",
    ):
        first = spawn(client("sub", "display", "-t", "shelf/#", "-i", "till-2", "-W", "3"))
        log.wait_text("as till-2")
        run(client("sub", "display", "-t", "shelf/#", "-i", "till-2", "-W", "1"))
        stop(first)
    with log.fault(
        "tls-handshake",
        injected="a plain MQTT client, an HTTP request and a distrusting client connected to the TLS port",
        root_cause="Clients without TLS, or that do not trust the certificate, connect to the TLS listener.",
        evidence="OpenSSL Error",
    ):
        run(client("pub", "sensor", "-t", "a", "-m", "b", port=TLS_PORT), timeout=15)
        send_bytes(TLS_PORT, b"GET / HTTP/1.0\r\n\r\n", ADDRESS)
        run(
            client(
                "pub", "sensor", "-t", "a", "-m", "b", "--cafile", "/etc/ssl/certs/ca-certificates.crt", port=TLS_PORT
            )
        )
    with log.fault(
        "protocol-error",
        injected="bytes that are not MQTT, an unsupported protocol version and a packet that is too large",
        root_cause="Broken clients send packets that violate the MQTT protocol.",
        evidence="protocol error",
    ):
        for data in (
            b"\x10\x0e\x00\x04MQTT\x03\x02\x00\x3c\x00\x02ab",
            b"\x10\x0c\x00\x06MQIsdx\x09\x02\x00\x3c",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x30\x05\x00\x01ahi",
            b"\xc0\x00",
            b"\x10\xff\xff\xff\xff\xff",
        ):
            send_bytes(PORT, data, ADDRESS)
        publish("bridge", "control/file", "x" * 120_000, "-q", "1")
        run(client("pub", "bridge", "-t", "control/file", "-s", "-i", "uploader"), stdin="y" * 300_000, timeout=10)


def delivery_faults(broker: Broker) -> None:
    """Clients that hang, vanish or queue too much."""
    log = broker.log
    with log.fault(
        "keepalive-timeout",
        injected="a client with a keep-alive of 5 s was stopped with SIGSTOP",
        root_cause="The client hangs and sends no keep-alive packets.",
        evidence="exceeded timeout",
        timeout=25,
    ):
        frozen = spawn(client("sub", "display", "-t", "shelf/#", "-k", "5", "-i", "frozen-display"))
        log.wait_text("as frozen-display")
        frozen.send_signal(signal.SIGSTOP)
        log.wait_text("exceeded timeout", timeout=25)
        stop(frozen, signal.SIGKILL)
    with log.fault(
        "queue-full",
        injected="12 messages for a disconnected client with a persistent session and max_queued_messages at 5",
        root_cause="The session of archiver is offline and its message queue is full, so messages are dropped.",
        evidence="Outgoing messages are being dropped for client archiver",
    ):
        run(client("sub", "display", "-t", "shelf/#", "-q", "1", "-c", "-i", "archiver", "-W", "1"))
        for number in range(12):
            publish("bridge", f"shelf/{number}/weight", str(number), "-q", "1")
    with log.fault(
        "killed-client",
        injected="kill -9 of a subscribed client",
        root_cause="The client died without an MQTT DISCONNECT, so its will was published.",
        evidence="Client doomed closed its connection.",
    ):
        doomed = spawn(
            client(
                "sub",
                "display",
                "-t",
                "shelf/#",
                "-i",
                "doomed",
                "--will-topic",
                "display/gone",
                "--will-payload",
                "bye",
            )
        )
        log.wait_text("as doomed")
        stop(doomed, signal.SIGKILL)
    with log.fault(
        "too-many-clients",
        injected="seven connections to a listener with max_connections at 3",
        root_cause="The listener on port 8883 has reached max_connections.",
        evidence="max_connections exceeded",
    ):
        code = (
            "import socket, time; s = [socket.create_connection(('10.20.0.19', 8883)) for _ in range(7)]; time.sleep(1)"
        )
        spawn(["/usr/bin/python3", "-c", code]).wait(10)


def operation_faults(broker: Broker) -> None:
    """Reloads, failing saves, a dead bridge and starts that fail."""
    log = broker.log
    broker.reload(CONFIG + "max_inflight_bytes 0\n")
    with log.fault(
        "bad-reload",
        injected="a reload with an unknown option and a wrong value",
        root_cause="mosquitto.conf has an unknown configuration variable.",
        evidence='Unknown configuration variable "max_inflght"',
    ):
        broker.reload(CONFIG + "max_inflght 3\n")
    broker.reload(CONFIG)
    with (
        small_disk(HOME / "data", "16k", "mosquitto"),
        log.fault(
            "disk-full",
            injected="the broker saved its retained messages to a 16 KB disk",
            root_cause="The file system of the persistence folder is full.",
            evidence="No space left on device",
        ),
    ):
        for number in range(4):
            publish("bridge", f"control/blob{number}", "z" * 9000, "-r", "-q", "1")
        broker.process.send_signal(signal.SIGUSR1)
        time.sleep(1.5)
    with log.fault(
        "bridge-down",
        injected="the broker was restarted with a bridge to a broker that is down",
        root_cause="The remote broker of bridge depot at 127.0.0.1:1999 is down.",
        evidence="Error creating bridge:",
    ):
        stop(broker.process)
        broker.configure(CONFIG + "connection depot\naddress 127.0.0.1:1999\ntopic shelf/# out\nrestart_timeout 1 2\n")
        broker.start()
        time.sleep(4)
        stop(broker.process)
        broker.configure()
    broker.start()
    start_faults(broker)


def start_faults(broker: Broker) -> None:
    """Starts that fail."""
    log = broker.log
    with log.fault(
        "port-in-use",
        injected="a second broker was started on the same ports",
        root_cause="Port 1883 is in use by the broker that runs already.",
        evidence="Error: Address already in use",
    ):
        broker.launch().wait(15)
    stop(broker.process)
    wait_until(lambda: not port_open(PORT), "the end of the broker")
    with log.fault(
        "missing-certificate",
        injected="a start with a certificate file that does not exist",
        root_cause="The certificate file of the TLS listener is missing.",
        evidence="Unable to load server certificate",
    ):
        broker.restart_with(CONFIG.replace("iot01.crt", "iot01-2025.crt"))
    with log.fault(
        "key-mismatch",
        injected="a start with a TLS key that belongs to another certificate",
        root_cause="The TLS key and certificate do not match.",
        evidence="Unable to load server key file",
    ):
        certificate(HOME, "other", owner="mosquitto")
        broker.restart_with(CONFIG.replace("iot01.crt", "other.crt"))
    with log.fault(
        "password-file-permission",
        injected="the password file was given to root with mode 0600 before a start",
        root_cause="The broker runs as mosquitto and may not read its password file.",
        evidence="Unable to open pwfile",
    ):
        write_file(HOME / "passwords", (HOME / "passwords").read_text(), "root", 0o600)
        broker.launch().wait(15)
        write_file(HOME / "passwords", (HOME / "passwords").read_text(), "mosquitto", 0o600)
    with log.fault(
        "corrupt-database",
        injected="the persistence file was overwritten with text before a start",
        root_cause="mosquitto.db is not a database of the broker.",
        evidence="Unable to restore persistent database",
    ):
        write_file(HOME / "data/mosquitto.db", "this is no database\n" * 9, "mosquitto", 0o600)
        broker.launch().wait(15)
        (HOME / "data/mosquitto.db").unlink()
    broker.start()


def capture() -> list[Recorder]:
    """Run the MQTT scenario and return its log."""
    random = rng("mosquitto")
    broker = Broker()
    ordinary_work(10, random)
    access_faults(broker)
    ordinary_work(8, random)
    delivery_faults(broker)
    operation_faults(broker)
    ordinary_work(8, random)
    stop(broker.process)
    return [broker.log]
