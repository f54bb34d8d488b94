"""PostgreSQL 15: a shop database with connection, statement, lock, checkpoint and vacuum logging."""

from __future__ import annotations

import os
import shutil
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
    postgres_bin,
    rng,
    run,
    send_bytes,
    small_disk,
    spawn,
    stop,
    wait_until,
    write_file,
)

BIN = Path(postgres_bin())
HOME = ROOT / "postgresql"
DATA = HOME / "15/main"
PORT = 5432
ADDRESSES = ("10.20.1.31", "10.20.1.32", "10.20.0.13", "10.20.0.11")

CONFIG = f"""
listen_addresses = '0.0.0.0'
port = {PORT}
unix_socket_directories = '{HOME}'
max_connections = 14
superuser_reserved_connections = 2
shared_buffers = 16MB
work_mem = '64kB'
temp_file_limit = '6MB'
log_line_prefix = '%m [%p] %q%u@%d '
log_connections = on
log_disconnections = on
log_checkpoints = on
log_lock_waits = on
log_statement = ddl
log_temp_files = 0
log_replication_commands = on
log_min_duration_statement = 150ms
log_autovacuum_min_duration = 2ms
autovacuum_naptime = 4s
autovacuum_vacuum_threshold = 40
autovacuum_analyze_threshold = 40
deadlock_timeout = 300ms
wal_level = replica
max_wal_size = 32MB
min_wal_size = 32MB
checkpoint_timeout = 30s
archive_mode = on
archive_command = 'cp %p {HOME}/archive/%f'
ssl = on
ssl_cert_file = '{HOME}/db01.crt'
ssl_key_file = '{HOME}/db01.key'
log_timezone = 'UTC'
"""
HBA = """
local   all          postgres               trust
host    replication  replicator  10.20.0.0/16  scram-sha-256
host    shop         all         10.20.0.0/16  scram-sha-256
host    postgres     all         10.20.0.11/32 scram-sha-256
"""
SCHEMA = """
CREATE ROLE shop_app LOGIN PASSWORD 'till-roll';
CREATE ROLE reporter LOGIN PASSWORD 'bar-chart';
CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'mirror';
CREATE DATABASE shop OWNER shop_app;
\\connect shop
SET ROLE shop_app;
CREATE TABLE customers (id serial PRIMARY KEY, email text UNIQUE NOT NULL, credit numeric CHECK (credit >= 0));
CREATE TABLE products (id serial PRIMARY KEY, sku varchar(12) UNIQUE, stock int NOT NULL DEFAULT 0, price numeric);
CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, product int REFERENCES products,
                     amount int NOT NULL CHECK (amount > 0), placed timestamptz DEFAULT now());
CREATE INDEX orders_customer ON orders (customer);
INSERT INTO customers (email, credit) SELECT 'user' || n || '@shop.example', 100 FROM generate_series(1, 400) n;
INSERT INTO products (sku, stock, price) SELECT 'SKU-' || n, 50, n * 1.5 FROM generate_series(1, 200) n;
INSERT INTO orders (customer, product, amount) SELECT n % 400 + 1, n % 200 + 1, 1 FROM generate_series(1, 3000) n;
GRANT SELECT ON customers TO reporter;
"""
# Mistakes an application makes every day; each is answered with its own ERROR.
MISTAKES = (
    "INSERT INTO customers (email, credit) VALUES ('user7@shop.example', 5)",
    "INSERT INTO orders (customer, product, amount) VALUES (99999, 1, 1)",
    "INSERT INTO orders (customer, product, amount) VALUES (1, 1, 0)",
    "INSERT INTO customers (credit) VALUES (3)",
    "INSERT INTO products (sku) VALUES ('SKU-TOO-LONG-FOR-THIS')",
    "SELECT * FROM invoices",
    "SELECT nickname FROM customers",
    "SELECT * FORM orders",
    "SELECT 1 / (SELECT count(*) FROM orders WHERE amount < 0)",
    "SELECT 'twelve'::int",
    "SELECT '2024-02-30'::date",
    "SELECT 2147483647 + 1",
    "SELECT lpad_left('a', 3)",
    "SELECT to_timestamp('late')",
    "SELECT '{\"sku\": }'::json",
    "SELECT customer, count(*) FROM orders",
    "SELECT id FROM customers JOIN orders ON true",
    "UPDATE customers SET credit = -1 WHERE id = 3",
    "DELETE FROM customers WHERE id = 2",
    "DROP TABLE products",
    "CREATE TABLE orders (id int)",
    "SELECT (SELECT id FROM products)",
    "COMMIT; ROLLBACK; SAVEPOINT a",
    "BEGIN; SELECT broken; SELECT 1",
    "SELECT pg_terminate_backend(1)",
    "SET work_mem = 'plenty'",
    "SET search_path_typo = on",
    "SELECT '[1,2'::jsonb",
    "SELECT substring('abc' from 1 for -1)",
    "SELECT array[1,2] || 'x'::text",
    "SELECT 'a' ~ '('",
    "ALTER TABLE orders ADD COLUMN amount int",
    "CREATE INDEX orders_customer ON orders (product)",
    "COPY orders FROM '/srv/shop/import.csv'",
    "SELECT nextval('orders_sequence')",
    "SELECT sqrt(-1)",
    "SELECT chr(0)",
    "SELECT '192.168.1.300'::inet",
    "SELECT '1 fortnight'::interval",
    "LOCK TABLE orders",
    "EXECUTE top_sellers",
    "FETCH NEXT FROM shelf",
    "CREATE EXTENSION shop_tools",
    "SELECT decode('zz', 'hex')",
)
ORDINARY = (
    "SELECT count(*) FROM orders",
    "UPDATE products SET stock = stock - 1 WHERE id = {n}",
    "INSERT INTO orders (customer, product, amount) VALUES ({n}, {n}, 2)",
    "SELECT pg_sleep(0.2), count(*) FROM orders WHERE customer = {n}",
    "CREATE TABLE IF NOT EXISTS basket_{n} (item int)",
    "DO $$ BEGIN RAISE WARNING 'stock of product % is low', {n}; END $$",
    "SELECT a.id FROM orders a, orders b WHERE a.id < {n} ORDER BY b.placed, a.id OFFSET 90000",
    "DELETE FROM orders WHERE id % 200 = {n}",
)


def psql(
    sql: str,
    user: str = "shop_app",
    password: str = "till-roll",
    host: str = ADDRESSES[0],
    db: str = "shop",
    extra: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run SQL as an application user over TCP."""
    target = f"host={host} port={PORT} dbname={db} user={user} connect_timeout=5 {extra}"
    return run(["psql", "-X", "-q", target, "-c", sql], env={"PGPASSWORD": password})


def admin(sql: str, db: str = "shop") -> str:
    """Run SQL as the superuser over the socket and return the bare answer."""
    target = f"host={HOME} port={PORT} dbname={db} user=postgres"
    return must(run(["psql", "-X", "-qAt", target], stdin=sql, user="postgres")).strip()


def session(sql: str, user: str = "shop_app") -> subprocess.Popen[bytes]:
    """Start a client that runs its statements in the background."""
    target = f"host={ADDRESSES[1]} port={PORT} dbname=shop user={user}"
    words = [word for part in sql.split(";") for word in ("-c", part.strip())]
    return spawn(["psql", "-X", "-q", target, *words], env={"PGPASSWORD": "till-roll"})


class Server:
    """The database server and its log."""

    def __init__(self) -> None:
        make_dir(HOME, "postgres")
        make_dir(HOME / "archive", "postgres")
        certificate(HOME, "db01", owner="postgres")
        self.log = Recorder("postgresql", "postgresql", ROOT / "log/postgresql.log")
        must(run([BIN / "initdb", "-D", DATA, "--auth=trust", "--data-checksums"], user="postgres", timeout=90))
        self.configure()
        write_file(DATA / "pg_hba.conf", HBA, "postgres")
        self.start()

    def configure(self, more: str = "") -> None:
        """Write the configuration, with extra lines at its end."""
        write_file(DATA / "postgresql.conf", CONFIG + more, "postgres")

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server process without waiting for it to serve."""
        return spawn([BIN / "postgres", "-D", DATA], host="db01", user="postgres", log=self.log.path)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process = self.launch()
        self.wait()

    def wait(self) -> None:
        """Wait until the server answers."""
        ready = [BIN / "pg_isready", "-q", "-h", HOME, "-p", str(PORT)]
        wait_until(lambda: run(ready).returncode == 0, "PostgreSQL", 40)

    def reload(self) -> None:
        """Make the server read its configuration again."""
        self.process.send_signal(signal.SIGHUP)


def ordinary_work(rounds: int, random: Random) -> None:
    """Run a mix of good and mistaken statements from several addresses."""
    pool = list(MISTAKES)
    random.shuffle(pool)
    for _ in range(rounds):
        words = [random.choice(ORDINARY).format(n=random.randint(1, 180)) for _ in range(2)]
        words += [pool.pop() for _ in range(2) if pool]
        flags = [flag for sql in words for flag in ("-c", sql)]
        name = random.choice(("storefront", "worker", "backoffice"))
        host = random.choice(ADDRESSES)
        target = f"host={host} port={PORT} dbname=shop user=shop_app application_name={name}"
        run(["psql", "-X", "-q", target, *flags], env={"PGPASSWORD": "till-roll"})
    admin("VACUUM ANALYZE orders; CHECKPOINT;")


def access_faults(log: Recorder) -> None:
    """Refused logins of several kinds."""
    with log.fault(
        "wrong-password",
        injected="three logins of shop_app with a wrong password",
        root_cause="A client of role shop_app used an outdated password.",
        evidence='password authentication failed for user "shop_app"',
    ):
        for host in ADDRESSES[:3]:
            psql("SELECT 1", password="old-till-roll", host=host)
    with log.fault(
        "no-hba-entry",
        injected="a login to database postgres from an address that pg_hba.conf does not allow",
        root_cause="pg_hba.conf has no entry for this client, user and database.",
        evidence="no pg_hba.conf entry for host",
    ):
        psql("SELECT 1", user="reporter", password="bar-chart", db="postgres", host="10.20.1.33")
    with log.fault(
        "missing-database",
        injected="a client asked for database shop_staging, which does not exist",
        root_cause="The client is configured with the name of a database that was never created.",
        evidence='database "shop_staging" does not exist',
    ):
        run(["psql", f"host={HOME} dbname=shop_staging user=postgres", "-c", "SELECT 1"], user="postgres")
    with log.fault(
        "permission-denied",
        injected="role reporter read a table it was not granted",
        root_cause="Role reporter lacks the SELECT privilege on orders.",
        evidence="permission denied for table orders",
    ):
        psql("SELECT sum(amount) FROM orders", user="reporter", password="bar-chart")
    with log.fault(
        "protocol-garbage",
        injected="an HTTP request and random bytes were sent to the database port",
        root_cause="A client that does not speak the PostgreSQL protocol connected to the port.",
        evidence="invalid length of startup packet",
    ):
        send_bytes(PORT, b"GET / HTTP/1.1\r\n\r\n", "10.20.1.33")
        send_bytes(PORT, b"\x00\x00\x00\x09\x04\xd2\x16\x2f\x01", "10.20.1.33")
        send_bytes(PORT, b"\x00\x00\x00\x08\x00\x05\x00\x00", "10.20.1.33")
    with log.fault(
        "tls-handshake",
        injected="a client started TLS and then sent bytes that are no TLS handshake",
        root_cause="The client broke the TLS handshake with invalid records.",
        evidence="could not accept SSL connection",
    ):
        send_bytes(PORT, b"\x00\x00\x00\x08\x04\xd2\x16\x2fhello, this is not TLS at all", "10.20.1.33")


def lock_faults(log: Recorder) -> None:
    """Deadlock, lock wait, timeouts and an idle transaction."""
    with log.fault(
        "deadlock",
        injected="two transactions updated the same two products in opposite order",
        root_cause="Two sessions take row locks on products in opposite order, so each waits for the other.",
        evidence="deadlock detected",
    ):
        update = "UPDATE products SET stock = 9 WHERE id = {}"
        pairs = [
            session(f"BEGIN; {update.format(a)}; SELECT pg_sleep(0.4); {update.format(b)}; COMMIT")
            for a, b in ((1, 2), (2, 1))
        ]
        for client in pairs:
            client.wait(20)
    with log.fault(
        "lock-wait",
        injected="a session held an exclusive lock on orders while another wanted to read it with a lock timeout",
        root_cause="A long transaction holds ACCESS EXCLUSIVE on orders and blocks the reader past its lock_timeout.",
        evidence="canceling statement due to lock timeout",
    ):
        holder = session("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4); COMMIT")
        held = "(mode, relation) = ('AccessExclusiveLock', 'orders'::regclass)"
        wait_until(lambda: admin(f"SELECT count(*) > 0 FROM pg_locks WHERE {held}") == "t", "the lock")
        psql("SELECT count(*) FROM orders", extra="options='-c lock_timeout=700'")
        holder.wait(20)
    with log.fault(
        "statement-timeout",
        injected="a report query ran into its statement_timeout of 400 ms",
        root_cause="The unindexed cross join takes far longer than the statement_timeout of the client.",
        evidence="canceling statement due to statement timeout",
    ):
        query = "SELECT count(*) FROM orders a, orders b, customers c WHERE a.id * b.id <> c.id"
        psql(query, extra="options='-c statement_timeout=400'")
    with log.fault(
        "idle-transaction",
        injected="a client opened a transaction, took a row lock and went idle",
        root_cause="The client left its transaction open, so idle_in_transaction_session_timeout ended the session.",
        evidence="terminating connection due to idle-in-transaction timeout",
    ):
        target = f"host={ADDRESSES[1]} port={PORT} dbname=shop user=shop_app"
        script = "SET idle_in_transaction_session_timeout = 300; BEGIN; UPDATE products SET stock = 1 WHERE id = 9;\n"
        run(["psql", "-X", "-q", target], stdin=script + "\\! sleep 0.8\nCOMMIT;\n", env={"PGPASSWORD": "till-roll"})


def resource_faults(log: Recorder) -> None:
    """A full disk, temporary file limit and too many connections."""
    with (
        small_disk(HOME / "space", "4M", "postgres") as disk,
        log.fault(
            "disk-full",
            injected="a table grew in a tablespace on a 4 MB disk",
            root_cause="The file system of the tablespace is full.",
            evidence="No space left on device",
        ),
    ):
        admin(f"CREATE TABLESPACE cramped LOCATION '{disk}'; GRANT CREATE ON TABLESPACE cramped TO shop_app;")
        psql("CREATE TABLE clicks (url text) TABLESPACE cramped")
        psql("INSERT INTO clicks SELECT repeat('http://web01/', 9) FROM generate_series(1, 90000)")
        admin("DROP TABLE clicks; DROP TABLESPACE cramped;")
    with log.fault(
        "temp-file-limit",
        injected="a sort of 300,000 wide rows with temp_file_limit at 6 MB",
        root_cause="The sort spills to disk because of the small work_mem and passes temp_file_limit.",
        evidence="temporary file size exceeds temp_file_limit",
    ):
        psql("SELECT n, repeat('x', 80) FROM generate_series(1, 300000) n ORDER BY 2, 1 DESC")
    with log.fault(
        "too-many-connections",
        injected="16 clients connected at once with max_connections at 14",
        root_cause="The clients open more connections than max_connections allows.",
        evidence="remaining connection slots are reserved",
    ):
        crowd = [session("SELECT pg_sleep(1.5)") for _ in range(16)]
        for client in crowd:
            client.wait(20)


def crash_faults(server: Server) -> None:
    """Killed backend, corrupt page, broken settings, taken port, bad archive and missing certificate."""
    log = server.log
    with log.fault(
        "killed-backend",
        injected="kill -9 of the backend process of a running query",
        root_cause="A backend was killed by SIGKILL, so the postmaster restarted all sessions and ran crash recovery.",
        evidence="was terminated by signal 9: Killed",
    ):
        client = session("SELECT 'report', pg_sleep(15)")
        find = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT ''report''%'"
        wait_until(lambda: admin(find) != "", "the query")
        os.kill(int(admin(find)), signal.SIGKILL)
        client.wait(20)
        server.wait()
    with log.fault(
        "corrupt-page",
        injected="bytes of a heap page of table products were overwritten on disk",
        root_cause="A data page of products is damaged on disk, which its checksum shows.",
        evidence="page verification failed",
    ):
        relation = DATA / admin("SELECT pg_relation_filepath('products')")
        stop(server.process, signal.SIGINT)
        with relation.open("r+b") as heap:
            heap.seek(4000)
            heap.write(b"\xde\xad\xbe\xef" * 16)
        server.start()
        psql("SELECT sum(price) FROM products")
        admin("SET zero_damaged_pages = on; VACUUM FULL products;")
    with log.fault(
        "archive-failure",
        injected="the archive folder was made read-only to the server and WAL was switched",
        root_cause="The archive_command cannot write: the archive folder belongs to root now.",
        evidence="archive command failed with exit code 1",
    ):
        shutil.chown(HOME / "archive", "root")
        admin("SELECT pg_switch_wal();")
        log.wait_text("archive command failed")
        shutil.chown(HOME / "archive", "postgres")


def configuration_faults(server: Server) -> None:
    """Configuration mistakes at reload and at start."""
    log = server.log
    with log.fault(
        "bad-reload",
        injected="a reload with an invalid value and a setting that needs a restart",
        root_cause="postgresql.conf has an invalid value for work_mem.",
        evidence='invalid value for parameter "work_mem": "lots"',
    ):
        server.configure("work_mem = 'lots'\nmax_connections = 30\n")
        server.reload()
        log.wait_text("contains errors")
    server.configure("log_min_duration_statement = 100ms\nwork_mem = '256kB'\n")
    server.reload()
    with log.fault(
        "bad-hba",
        injected="a reload with a misspelt authentication method in pg_hba.conf",
        root_cause="pg_hba.conf names an authentication method that does not exist, so the old rules stay.",
        evidence='invalid authentication method "scram-sha-265"',
    ):
        write_file(DATA / "pg_hba.conf", HBA + "host all all 10.20.0.0/16 scram-sha-265\n", "postgres")
        server.reload()
    write_file(DATA / "pg_hba.conf", HBA, "postgres")
    with log.fault(
        "port-in-use",
        injected="the server was restarted while another program listened on port 5432",
        root_cause="Port 5432 is held by another process, so the server cannot bind it.",
        evidence="Address already in use",
    ):
        stop(server.process, signal.SIGINT)
        squatter = spawn(["/usr/bin/python3", "-m", "http.server", str(PORT)])
        wait_until(lambda: run(["curl", "-s", f"http://127.0.0.1:{PORT}/"]).returncode == 0, "the squatter")
        server.launch().wait(20)
        stop(squatter)
    with log.fault(
        "missing-key",
        injected="the server was started after its TLS private key was made readable to everyone",
        root_cause="The private key file has permissions that are too open, which the server refuses.",
        evidence="has group or world access",
    ):
        (HOME / "db01.key").chmod(0o644)
        server.launch().wait(20)
        (HOME / "db01.key").chmod(0o600)
    with log.fault(
        "stale-permissions",
        injected="the server was started with a data folder open to everyone",
        root_cause="The data directory has mode 0777; the server demands 0700 or 0750.",
        evidence="has invalid permissions",
    ):
        DATA.chmod(0o777)
        server.launch().wait(20)
        DATA.chmod(0o700)
    server.start()


def replication_faults(log: Recorder) -> None:
    """Replication clients that ask for things that are not there."""
    with log.fault(
        "missing-slot",
        injected="a replication client asked for a replication slot that was dropped",
        root_cause="The replica is configured with replication slot replica_2, which does not exist on the primary.",
        evidence='replication slot "replica_2" does not exist',
    ):
        replicate("START_REPLICATION SLOT replica_2 PHYSICAL 0/1000000")
    with log.fault(
        "wrong-timeline",
        injected="a replication client asked for WAL of timeline 7",
        root_cause="The replica asks for a timeline that is not in the history of this server.",
        evidence="requested timeline 7 is not in this server's history",
    ):
        replicate("START_REPLICATION 0/9000000 TIMELINE 7")
    target = "host=10.20.0.16 user=replicator"
    run([BIN / "pg_basebackup", "-D", "/tmp/base", "-d", target, "-c", "fast"], env={"PGPASSWORD": "mirror"})
    for command in ("IDENTIFY_SYSTEM", "TIMELINE_HISTORY 9", "DROP_REPLICATION_SLOT replica_2", "SHOW work_mem"):
        replicate(command)


def replicate(command: str) -> None:
    """Send one replication command."""
    target = f"host=10.20.0.16 port={PORT} user=replicator dbname=shop replication=true"
    run(["psql", "-X", target, "-c", command], env={"PGPASSWORD": "mirror"})


def capture() -> list[Recorder]:
    """Run the PostgreSQL scenario and return its log."""
    random = rng("postgresql")
    server = Server()
    admin(SCHEMA, "postgres")
    ordinary_work(6, random)
    access_faults(server.log)
    ordinary_work(8, random)
    lock_faults(server.log)
    resource_faults(server.log)
    ordinary_work(6, random)
    crash_faults(server)
    replication_faults(server.log)
    configuration_faults(server)
    ordinary_work(10, random)
    time.sleep(2)  # one more round of autovacuum
    stop(server.process, signal.SIGTERM)
    return [server.log]
