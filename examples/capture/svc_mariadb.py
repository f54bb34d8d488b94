"""MariaDB 10.11: its error log with warnings on connections, InnoDB messages and several failed starts."""

from __future__ import annotations

import os
import shutil
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
    rng,
    run,
    send_bytes,
    small_disk,
    spawn,
    stop,
    wait_until,
    write_file,
)

HOME = ROOT / "mariadb"
DATA = HOME / "data"
SOCKET = HOME / "mariadb.sock"
PORT, ADDRESS = 3306, "10.20.0.16"

CONFIG = f"""
[mariadbd]
datadir = {DATA}
socket = {SOCKET}
pid-file = {HOME}/mariadb.pid
port = {PORT}
bind-address = 0.0.0.0
skip-name-resolve
log_warnings = 4
max_connections = 12
max_connect_errors = 4
innodb_buffer_pool_size = 16M
innodb_log_file_size = 8M
innodb_lock_wait_timeout = 1
innodb_print_all_deadlocks = on
max_allowed_packet = 1M
connect_timeout = 2
wait_timeout = 3
net_read_timeout = 2
event_scheduler = on
log_bin = {HOME}/binlog
server_id = 2
secure_file_priv = {HOME}
"""
SCHEMA = """
CREATE DATABASE shop;
CREATE USER shop_app IDENTIFIED BY 'till-roll';
CREATE USER reporter IDENTIFIED BY 'bar-chart' WITH MAX_USER_CONNECTIONS 2;
CREATE USER retired IDENTIFIED BY 'gone' ACCOUNT LOCK;
CREATE USER 'office'@'10.20.9.9' IDENTIFIED BY 'x';
GRANT ALL ON shop.* TO shop_app;
GRANT SUPER, REPLICATION SLAVE ON *.* TO shop_app;
USE shop;
CREATE TABLE products (id INT PRIMARY KEY, name VARCHAR(20) UNIQUE, stock INT) ENGINE=InnoDB;
CREATE TABLE visits (id INT AUTO_INCREMENT PRIMARY KEY, page VARCHAR(200)) ENGINE=Aria;
CREATE TABLE archive (id INT AUTO_INCREMENT PRIMARY KEY, page VARCHAR(200)) ENGINE=MyISAM;
INSERT INTO products SELECT seq, CONCAT('product ', seq), 50 FROM seq_1_to_500;
INSERT INTO visits (page) SELECT CONCAT('/product/', seq) FROM seq_1_to_500;
INSERT INTO archive (page) SELECT CONCAT('/product/', seq) FROM seq_1_to_500;
"""


def sql(
    text: str, user: str = "shop_app", password: str = "till-roll", db: str = "shop", host: str = ADDRESS, *flags: str
) -> subprocess.CompletedProcess[str]:
    """Run SQL over TCP, going on after errors."""
    command = ["mariadb", "--no-defaults", "-f", "-h", host, "-P", str(PORT), "-u", user, f"-p{password}", *flags, db]
    return run(command, stdin=text)


def session(text: str) -> subprocess.Popen[bytes]:
    """Start a client that runs its statements in the background."""
    command = [
        "mariadb",
        "--no-defaults",
        "-f",
        "-h",
        ADDRESS,
        "-P",
        str(PORT),
        "-u",
        "shop_app",
        "-ptill-roll",
        "shop",
    ]
    return spawn([*command, "-e", text])


def admin(text: str) -> str:
    """Run SQL as the root user of the database over the socket."""
    return must(run(["mariadb", "--no-defaults", "-N", "-S", SOCKET, "-u", "root"], stdin=text))


class Server:
    """The database server and its log."""

    def __init__(self) -> None:
        make_dir(HOME, "mysql")
        certificate(HOME, "db02", owner="mysql")
        certificate(HOME, "other", owner="mysql")
        self.log = Recorder("mariadb", "mariadb", ROOT / "log/mariadb.log")
        self.configure()
        install = [
            "mariadb-install-db",
            f"--defaults-file={HOME}/my.cnf",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--user=mysql",
        ]
        must(run(install, timeout=90))
        self.start()

    def configure(self, more: str = "") -> None:
        """Write the configuration, with extra lines at its end."""
        write_file(HOME / "my.cnf", CONFIG + more, "mysql")

    def launch(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start the server without waiting for it; its log goes to the standard error."""
        command = ["mariadbd", f"--defaults-file={HOME}/my.cnf", *flags]
        return spawn(command, host="db02", user="mysql", log=self.log.path)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process = self.launch()
        ping = ["mariadb-admin", "--no-defaults", "-S", SOCKET, "-u", "root", "ping"]
        wait_until(lambda: run(ping).returncode == 0, "MariaDB", 60)

    def fails_to_start(self, *flags: str) -> None:
        """Start the server, which is expected to give up, and wait for its end."""
        self.launch(*flags).wait(40)


def ordinary_work(rounds: int, random: Random) -> None:
    """Run statements, some of which warn, as several users."""
    choices = (
        "UPDATE products SET stock = stock - 1 WHERE id = {n};",
        "INSERT INTO visits (page) VALUES ('/cart/{n}');",
        "UPDATE products SET stock = 3 WHERE stock > 10 LIMIT 2;",
        "INSERT IGNORE INTO products SELECT {n}, UUID(), 1 LIMIT 1;",
        "SET SESSION wait_timeout = 1; DO SLEEP(0.01);",
        "CREATE TABLE IF NOT EXISTS basket_{n} (id INT); DROP TABLE basket_{n};",
        "KILL CONNECTION_ID();",
        "CREATE EVENT IF NOT EXISTS tidy{n} ON SCHEDULE AT NOW() DO DELETE FROM shop.missing_{n};",
        "FLUSH TABLES; ANALYZE TABLE products; CHECK TABLE visits;",
    )
    for _ in range(rounds):
        sql("".join(random.choice(choices).format(n=random.randint(1, 300)) for _ in range(2)))


def access_faults(server: Server) -> None:
    """Refused and broken connections."""
    log = server.log
    with log.fault(
        "wrong-password",
        injected="logins with a wrong password, as an unknown user, a locked one and one from another address",
        root_cause="The clients used a wrong password for shop_app or accounts that may not log in from there.",
        evidence="Access denied for user 'shop_app'@'10.20.0.16' (using password: YES)",
    ):
        sql("SELECT 1", password="old-till-roll")
        sql("SELECT 1", user="mallory", password="guess")
        sql("SELECT 1", user="retired", password="gone")
        sql("SELECT 1", user="office", password="x")
        sql("SELECT 1", user="reporter", password="bar-chart", db="shop")
        sql("SELECT 1", db="shop_staging")
    with log.fault(
        "too-many-connections",
        injected="18 clients connected at once with max_connections at 12",
        root_cause="The clients open more connections than max_connections allows.",
        evidence="Too many connections",
    ):
        crowd = [session("SELECT SLEEP(1.5)") for _ in range(18)]
        for client in crowd:
            client.wait(15)
    with log.fault(
        "aborted-clients",
        injected="a client was killed in its query, another idled past wait_timeout, a third sent a huge packet",
        root_cause="Clients vanish, idle past wait_timeout or send packets larger than max_allowed_packet.",
        evidence="Got an error reading communication packets",
    ):
        victim = session("SELECT SLEEP(1)")
        time.sleep(0.3)
        stop(victim, signal.SIGKILL)
        sql("SELECT 1; \\! sleep 4\nSELECT 2;")
        sql(
            "INSERT INTO visits (page) VALUES ('" + "x" * 2_000_000 + "');",
            "shop_app",
            "till-roll",
            "shop",
            ADDRESS,
            "--max-allowed-packet=16M",
        )
    with log.fault(
        "protocol-garbage",
        injected="bytes that are not the MariaDB protocol were sent, and connections that said nothing",
        root_cause="A client (a port scanner) connects without speaking the MariaDB protocol.",
        evidence="This connection closed normally without authentication",
    ):
        for data in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\x05\x00\x00\x01hello", b"\x00"):
            send_bytes(PORT, data, ADDRESS)


def table_faults(server: Server) -> None:
    """Deadlock, broken tables, a full disk and a failing replica."""
    log = server.log
    with log.fault(
        "deadlock",
        injected="two transactions updated the same two products in opposite order",
        root_cause="Two transactions lock products 1 and 2 in opposite order.",
        evidence="Transactions deadlock detected, dumping detailed information.",
    ):
        update = "UPDATE products SET stock = 9 WHERE id = {};"
        pair = [
            session(f"BEGIN; {update.format(a)} DO SLEEP(0.5); {update.format(b)} COMMIT") for a, b in ((1, 2), (2, 1))
        ]
        for client in pair:
            client.wait(15)
    with log.fault(
        "crashed-table",
        injected="the index file of a MyISAM table was cut",
        root_cause="The index file of table archive is damaged.",
        evidence="Index for table './shop/archive.MYI' is corrupt; try to repair it",
    ):
        admin("FLUSH TABLES;")
        os.truncate(DATA / "shop/archive.MYI", 900)
        sql("SELECT COUNT(*) FROM archive WHERE id > 3; INSERT INTO archive (page) VALUES ('a'); REPAIR TABLE archive;")
    with log.fault(
        "event-error",
        injected="a scheduled event used a table that does not exist",
        root_cause="The event report_totals deletes from the missing table shop.totals.",
        evidence="Table 'shop.totals' doesn't exist",
    ):
        sql("CREATE EVENT report_totals ON SCHEDULE AT NOW() DO DELETE FROM shop.totals;")
    with log.fault(
        "replica-source-down",
        injected="replication was started from a source that is down",
        root_cause="The replication source at 127.0.0.1:3399 is down.",
        evidence="error connecting to master 'replicator@127.0.0.1:3399'",
    ):
        admin(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=3399, MASTER_USER='replicator',"
            " MASTER_CONNECT_RETRY=1; START SLAVE;"
        )
        log.wait_text("error connecting to master")
        admin("STOP SLAVE; RESET SLAVE ALL;")
    with (
        small_disk(HOME / "space", "1M", "mysql") as disk,
        log.fault(
            "disk-full",
            injected="a table with its data on a 1 MB disk grew",
            root_cause="The file system that holds the table clicks is full.",
            evidence="Disk is full",
        ),
    ):
        sql(f"CREATE TABLE clicks (page VARCHAR(250)) ENGINE=MyISAM DATA DIRECTORY='{disk}';")
        filler = session("INSERT INTO clicks SELECT REPEAT('x', 250) FROM seq_1_to_9000")
        log.wait_text("Disk is full")
        stop(filler)
    with log.fault(
        "unsafe-statement",
        injected="statements that are unsafe for statement-based replication",
        root_cause="UPDATE with LIMIT and UUID() are not deterministic, hence unsafe for statement format.",
        evidence="Unsafe statement written to the binary log",
    ):
        sql("SET SESSION binlog_format = STATEMENT; UPDATE products SET stock = 5 LIMIT 3;")


def start_faults(server: Server) -> None:
    """Crash recovery and starts that fail."""
    log = server.log
    with log.fault(
        "killed-server",
        injected="kill -9 of the server, then a start",
        root_cause="The server was killed by SIGKILL, so InnoDB runs crash recovery at the next start.",
        evidence="Starting crash recovery from checkpoint LSN",
    ):
        sql("UPDATE products SET stock = stock + 1;")
        stop(server.process, signal.SIGKILL)
        server.start()
    with log.fault(
        "data-locked",
        injected="a second server was started on the same data folder and port",
        root_cause="Another MariaDB server holds the lock on the data files.",
        evidence="Unable to lock ./ibdata1 error: 11",
        timeout=60,
    ):
        second = server.launch("--innodb-fast-shutdown=0", "--skip-log-bin", "--aria-log-dir-path=/tmp")
        log.wait_text("Unable to lock ./ibdata1")
        stop(second, signal.SIGKILL)
    stop(server.process)
    mistakes = {
        "bad-option": (
            ("--innodb-bufer-pool-size=1G",),
            "unknown variable 'innodb-bufer-pool-size=1G'",
            "A server option is misspelt.",
        ),
        "port-in-use": (
            (),
            "Can't start server: Bind on TCP/IP port. Got error: 98: Address already in use",
            "Port 3306 is held by another process.",
        ),
        "bad-tls-key": (
            (f"--ssl-cert={HOME}/db02.crt", f"--ssl-key={HOME}/missing.key"),
            "Failed to setup SSL",
            "The TLS private key file does not exist.",
        ),
        "missing-plugin": (
            ("--plugin-load-add=ha_rocket",),
            "Can't open shared library",
            "The plugin ha_rocket that the options name is not installed.",
        ),
        "missing-tmp": (
            ("--tmpdir=/srv/shop/mariadb/nowhere",),
            "Can't create/write to file '/srv/shop/mariadb/nowhere/",
            "The folder for temporary files does not exist.",
        ),
    }
    for slug, (flags, evidence, cause) in mistakes.items():
        injected = "a start with " + (" ".join(flags) or "another program listening on port 3306")
        with log.fault(slug, injected=injected, root_cause=cause, evidence=evidence, timeout=40):
            squatter = spawn(["/usr/bin/python3", "-m", "http.server", str(PORT)]) if not flags else None
            time.sleep(0.8 if squatter else 0)
            starting = server.launch(*flags)
            log.wait_text(evidence, timeout=40)
            stop(starting, timeout=30)
            if squatter:
                stop(squatter)
    with log.fault(
        "data-permission",
        injected="ibdata1 was given to root before a start",
        root_cause="The server runs as mysql and may not open ibdata1.",
        evidence="The data file './ibdata1' must be writable",
    ):
        shutil.chown(DATA / "ibdata1", "root")
        (DATA / "ibdata1").chmod(0o600)
        server.fails_to_start()
        shutil.chown(DATA / "ibdata1", "mysql")
    with log.fault(
        "corrupt-redo-log",
        injected="the redo log was overwritten with garbage before a start",
        root_cause="The InnoDB redo log ib_logfile0 is damaged.",
        evidence="InnoDB: Invalid log header checksum",
    ):
        keep = (DATA / "ib_logfile0").read_bytes()
        with (DATA / "ib_logfile0").open("r+b") as redo:
            redo.write(b"garbage!" * 2048)
        server.fails_to_start()
        (DATA / "ib_logfile0").write_bytes(keep)
    server.start()


def capture() -> list[Recorder]:
    """Run the MariaDB scenario and return its log."""
    random = rng("mariadb")
    server = Server()
    admin(SCHEMA)
    ordinary_work(12, random)
    access_faults(server)
    ordinary_work(12, random)
    table_faults(server)
    start_faults(server)
    ordinary_work(14, random)
    stop(server.process)
    return [server.log]
