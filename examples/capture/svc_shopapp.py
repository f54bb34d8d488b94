"""The small Python shop in shop/shopapp.py: ordinary requests, and requests that meet its bugs and its limits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from lab import (
    ROOT,
    Recorder,
    certificate,
    make_dir,
    rng,
    run,
    send_bytes,
    small_disk,
    spawn,
    stop,
    wait_port,
    write_file,
)

SOURCE = Path("/mnt/capture/shop/shopapp.py")
HOME = ROOT / "app"
PORT, PAY_PORT, TLS_PORT = 8000, 9099, 9443
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x80\x00\x00\x01\xe0"
SETTINGS = {
    "payment_url": f"http://127.0.0.1:{PAY_PORT}/pay",
    "timeout": 0.6,
    "smtp": "127.0.0.1:2525",
    "pdf_program": "/bin/echo",
    "discounts": {},
    "categories": {"shoes": "clothes", "boots": "shoes"},
}
# The payment service: answers well, slowly, with a page of HTML or with an error, by the cart that is paid.
PAYMENT = """
import http.server, json, time
class Pay(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        cart = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["cart"]
        time.sleep(2 if cart == "slow" else 0)
        self.send_response(503 if cart == "busy" else 200)
        self.end_headers()
        self.wfile.write(b"<html>maintenance</html>" if cart == "html" else b'{"receipt": "R-%d"}' % len(cart))
http.server.ThreadingHTTPServer(("127.0.0.1", 9099), Pay).serve_forever()
"""


def get(path: str, port: int = PORT, limit: float = 8.0) -> str:
    """Send one GET request and return the answer."""
    return run(["curl", "-s", "-m", str(limit), f"http://127.0.0.1:{port}{path}"]).stdout


class Shop:
    """The application process and its log."""

    def __init__(self, name: str = "shopapp", home: Path = HOME, port: int = PORT) -> None:
        self.home, self.port = home, port
        make_dir(home, "www-data")
        for folder in ("data", "import", "export", "pictures"):
            make_dir(home / folder, "www-data")
        shutil.copy(SOURCE, home / "shopapp.py")
        self.settings()
        self.log = Recorder("shopapp", name, ROOT / f"log/{name}.log")
        self.start()

    def settings(self, **changes: object) -> None:
        """Write the settings with some changes."""
        write_file(self.home / "settings.json", json.dumps(SETTINGS | changes), "www-data")

    def reload(self, **changes: object) -> None:
        """Change settings and make the shop read them."""
        self.settings(**changes)
        before = self.log.settle()
        self.process.send_signal(signal.SIGHUP)
        self.log.wait_text("setting ", before)

    def launch(self, level: str = "INFO", memory: int = 700) -> subprocess.Popen[bytes]:
        """Start the application without waiting for it."""
        command = ["/usr/bin/python3", "-B", "shopapp.py", str(self.port)]
        command = ["sh", "-c", f'cd {self.home} && exec "$@"', "sh", *command]
        env = {"SHOP_LOG_LEVEL": level, "SHOP_MEMORY_MB": str(memory)}
        return spawn(command, host="app01", user="www-data", log=self.log.path, env=env)

    def start(self, level: str = "INFO", memory: int = 700) -> None:
        """Start the application and wait until it serves."""
        self.process = self.launch(level, memory)
        wait_port(self.port)


def ordinary_work(rounds: int, random: Random) -> None:
    """Browse, fill carts, order and pay."""
    for _ in range(rounds):
        product, cart = random.randint(1, 119), f"c{random.randint(100, 140)}"
        paths = [
            f"/product?id={product}",
            f"/search?q=product+{product % 9}",
            f"/cart/add?cart={cart}&product={product}",
        ]
        paths += random.sample(
            (
                f"/order?product={product}&amount={random.randint(1, 6)}",
                f"/checkout?cart={cart}",
                f"/cart/discount?cart={cart}",
                "/favicon.ico",
                "/slow?seconds=0.3",
                "/category?name=boots",
                f"/invoice?number={product}&customer=Ann&total=12",
                "/thumbnail?file=shoe.png",
                "/import?file=delivery.csv",
                f"/export?file=week{product}.txt&pages=2",
                "/wp-login.php",
            ),
            3,
        )
        for path in paths:
            get(path)


def request_fault(log: Recorder, slug: str, paths: list[str], cause: str, evidence: str) -> None:
    """Send requests that meet one bug and record the incident."""
    injected = "requests " + " and ".join(path if len(path) < 60 else path[:57] + "..." for path in paths)
    with log.fault(slug, injected=injected, root_cause=cause, evidence=evidence):
        for path in paths:
            get(path)


def bug_faults(log: Recorder) -> None:
    """Requests that meet plain bugs of the application."""
    request_fault(
        log,
        "missing-argument",
        ["/product", "/search?order=name"],
        "The views read their arguments without checking that the client sent them.",
        "KeyError: 'id'",
    )
    request_fault(
        log,
        "unknown-product",
        ["/product?id=9999"],
        "show_product unpacks the row without checking that the product exists (fetchone returned None).",
        "TypeError: cannot unpack non-iterable NoneType object",
    )
    request_fault(
        log,
        "not-a-number",
        ["/product?id=seven", "/order?product=1&amount=two"],
        "The views convert arguments with int() without validation.",
        "ValueError: invalid literal for int() with base 10: 'seven'",
    )
    request_fault(
        log,
        "empty-search",
        ["/search?q=zeppelin"],
        "search() takes the first hit although nothing was found.",
        "IndexError: list index out of range",
    )
    request_fault(
        log,
        "sql-injection",
        ["/search?q=a&order=price;drop", "/search?q=a&order=colour"],
        "The sort order goes from the request into the SQL text without quoting.",
        "sqlite3.OperationalError: no such column: colour",
    )
    request_fault(
        log,
        "empty-cart-discount",
        ["/cart/discount?cart=nobody"],
        "discount() divides by the number of items, which is zero for an empty cart.",
        "decimal.DivisionByZero",
    )
    request_fault(
        log,
        "bad-voucher",
        ["/cart/add?cart=v&product=3", "/cart/discount?cart=v&voucher=5%2C00"],
        "A voucher with a decimal comma is passed to Decimal unchecked.",
        "decimal.InvalidOperation",
    )
    request_fault(
        log,
        "cart-position",
        ["/cart/remove?cart=v&position=7", "/cart/remove?cart=w&position=0"],
        "The position in the cart is not checked against its length.",
        "IndexError: pop index out of range",
    )
    request_fault(
        log,
        "foreign-key",
        ["/order?product=4711"],
        "place_order inserts an order for a product that does not exist.",
        "sqlite3.IntegrityError: FOREIGN KEY constraint failed",
    )
    request_fault(
        log,
        "invoice-total",
        ["/invoice?number=1&customer=Ann"],
        "The invoice template needs a total that the request lacks.",
        "KeyError: 'total'",
    )
    request_fault(
        log,
        "printer-encoding",
        ["/export?file=menu.txt&title=caf%C3%A9"],
        "The export is written as ASCII, which cannot hold the letter of the title.",
        "UnicodeEncodeError: 'ascii' codec can't encode character",
    )


def data_faults(shop: Shop) -> None:
    """Broken input files and request bodies."""
    log = shop.log
    write_file(HOME / "import/latin1.csv", "id,stock,delivered\n")
    (HOME / "import/latin1.csv").write_bytes(b"id,stock,delivered\n3,5,2024-05-01 \xe9t\xe9\n")
    write_file(HOME / "import/dates.csv", "id,stock,delivered\n1,5,2024-05-01\n2,5,01.05.2024\n")
    write_file(HOME / "import/secret.csv", "id,stock,delivered\n", mode=0o600)
    (HOME / "pictures/cut.png").write_bytes(PNG[:19])
    request_fault(
        log,
        "import-encoding",
        ["/import?file=latin1.csv"],
        "The delivery file is Latin-1, but the import reads UTF-8.",
        "UnicodeDecodeError: 'utf-8' codec",
    )
    request_fault(
        log,
        "import-date",
        ["/import?file=dates.csv"],
        "A delivery date is not in ISO format.",
        "ValueError: Invalid isoformat string: '01.05.2024'",
    )
    request_fault(
        log,
        "import-missing",
        ["/import?file=monday.csv"],
        "The delivery file was never uploaded.",
        "FileNotFoundError: [Errno 2] No such file or directory",
    )
    request_fault(
        log,
        "import-permission",
        ["/import?file=secret.csv"],
        "The delivery file is readable for root only, and the shop runs as www-data.",
        "PermissionError: [Errno 13] Permission denied",
    )
    request_fault(
        log,
        "truncated-picture",
        ["/thumbnail?file=cut.png"],
        "The picture file is truncated, so its size cannot be unpacked.",
        "struct.error: unpack requires a buffer of 8 bytes",
    )
    with log.fault(
        "bad-json-body",
        injected="POST requests with a truncated JSON body, a list instead of an object and no length",
        root_cause="A client posts invalid JSON.",
        evidence="json.decoder.JSONDecodeError",
    ):
        for body in ('{"product": 3, "amount"', "[1, 2]", "amount=3"):
            run(["curl", "-s", "-d", body, f"http://127.0.0.1:{PORT}/order"])
        send_bytes(PORT, b"POST /order HTTP/1.1\r\nHost: app01\r\n\r\n")
    with log.fault(
        "bad-http",
        injected="bytes that are no HTTP request and a client that left before its answer",
        root_cause="Clients send malformed requests or disconnect early.",
        evidence="code 400, message Bad",
    ):
        send_bytes(PORT, b"HELO shop\r\n\r\n")
        send_bytes(PORT, b"GET /product?id=1 HTTP/9.x\r\n\r\n")
        send_bytes(PORT, b"BREW /pot HTTP/1.1\r\n\r\n")


def payment_faults(shop: Shop, payment: subprocess.Popen[bytes]) -> None:
    """The payment service hangs, answers nonsense, is down or has an expired certificate."""
    log = shop.log
    for cart in ("slow", "html", "busy", "late", "tls"):
        get(f"/cart/add?cart={cart}&product=5")
    request_fault(
        log,
        "payment-timeout",
        ["/checkout?cart=slow"],
        "The payment service needs 2 s, longer than the timeout of 0.6 s.",
        "TimeoutError: timed out",
    )
    request_fault(
        log,
        "payment-html",
        ["/checkout?cart=html"],
        "The payment service answers with an HTML page instead of JSON.",
        "json.decoder.JSONDecodeError: Expecting value",
    )
    request_fault(
        log,
        "payment-busy",
        ["/checkout?cart=busy"],
        "The payment service answers 503.",
        "urllib.error.HTTPError: HTTP Error 503",
    )
    with log.fault(
        "payment-down",
        injected="the payment service was stopped and three carts were checked out",
        root_cause="The payment service is down, so its port refuses connections.",
        evidence="ConnectionRefusedError: [Errno 111] Connection refused",
    ):
        stop(payment)
        for _ in range(3):
            get("/checkout?cart=late")
    cert, key = certificate(HOME, "localhost", days=-1)
    server = spawn(["openssl", "s_server", "-accept", str(TLS_PORT), "-cert", cert, "-key", key, "-www", "-quiet"])
    cert.chmod(0o644)
    wait_port(TLS_PORT)
    shop.reload(payment_url=f"https://localhost:{TLS_PORT}/pay", ca_file=str(cert))
    request_fault(
        log,
        "payment-certificate",
        ["/checkout?cart=tls"],
        "The TLS certificate of the payment service has expired.",
        "certificate verify failed: certificate has expired",
    )
    stop(server)
    shop.reload(payment_url="http://pay.invalid/pay")
    request_fault(
        log,
        "payment-name",
        ["/checkout?cart=tls"],
        "The host name of the payment service does not resolve.",
        "socket.gaierror",
    )
    request_fault(
        log,
        "mail-down",
        ["/mail?to=ann@shop.example"],
        "No mail server listens on 127.0.0.1:2525.",
        "ConnectionRefusedError: [Errno 111] Connection refused",
    )
    shop.reload(pdf_program="/opt/pdf/bin/wkhtmltopdf")
    request_fault(
        log,
        "missing-program",
        ["/invoice?number=7&customer=Bo&total=9"],
        "The program that makes PDF files is not installed.",
        "No such file or directory: '/opt/pdf/bin/wkhtmltopdf'",
    )
    shop.reload(pdf_program="/bin/false")
    request_fault(
        log,
        "failing-program",
        ["/invoice?number=8&customer=Bo&total=9"],
        "The program that makes PDF files ends with status 1.",
        "subprocess.CalledProcessError",
    )
    hang = write_file(HOME / "hang.sh", "#!/bin/sh\nexec sleep 5\n", mode=0o755)
    shop.reload(pdf_program=str(hang))
    request_fault(
        log,
        "hanging-program",
        ["/invoice?number=9&customer=Bo&total=9"],
        "The program that makes PDF files does not end within its time.",
        "subprocess.TimeoutExpired",
    )


@contextmanager
def locked_database() -> Iterator[None]:
    """Hold an exclusive lock on the database of the shop."""
    with sqlite3.connect(HOME / "data/shop.db", isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")
    holder.close()


def resource_faults(shop: Shop) -> None:
    """Limits of memory, disk, files, recursion and the database lock."""
    log = shop.log
    request_fault(
        log,
        "out-of-memory",
        ["/statistics?size=400"],
        "The statistics view builds a table larger than the memory limit of the process.",
        "MemoryError",
    )
    request_fault(
        log,
        "too-many-files",
        ["/session?count=400"],
        "The view opens more files than RLIMIT_NOFILE allows.",
        "OSError: [Errno 24] Too many open files",
    )
    shop.reload(categories={"hats": "caps", "caps": "hats"})
    request_fault(
        log,
        "category-loop",
        ["/category?name=hats"],
        "The categories refer to each other in a circle, so category_path never ends.",
        "RecursionError: maximum recursion depth exceeded",
    )
    with small_disk(HOME / "export", "256k", "www-data"):
        request_fault(
            log,
            "disk-full",
            ["/export?file=year.txt&pages=200"],
            "The export folder is on a full file system.",
            "OSError: [Errno 28] No space left on device",
        )
    with (
        log.fault(
            "database-locked",
            injected="another process held an exclusive lock on shop.db for three seconds",
            root_cause="A foreign process holds the database lock longer than the timeout of 0.3 s.",
            evidence="sqlite3.OperationalError: database is locked",
        ),
        locked_database(),
    ):
        get("/order?product=2&amount=1")
        get("/product?id=3")
        log.wait_text("restock job failed")


def start_faults(shop: Shop) -> None:
    """Broken settings, a port in use, a damaged database and a killed process."""
    log = shop.log
    with log.fault(
        "bad-settings",
        injected="settings.json was cut off and reloaded, then given a timeout that is no number",
        root_cause="settings.json is not valid JSON (then: timeout is not a number), so the old settings stay.",
        evidence="old settings: Expecting",
    ):
        write_file(HOME / "settings.json", '{"payment_url": "http://127.0.0.1", ', "www-data")
        shop.process.send_signal(signal.SIGHUP)
        log.wait_text("cannot use")
        shop.settings(timeout="soon")
        shop.process.send_signal(signal.SIGHUP)
        log.wait_text("'soon'")
    shop.settings()
    with log.fault(
        "port-in-use",
        injected="a second shop was started on the same port",
        root_cause="The port 8000 is in use by the shop that runs already.",
        evidence="OSError: [Errno 98] Address already in use",
    ):
        shop.launch().wait(15)
    stop(shop.process)
    with log.fault(
        "corrupt-database",
        injected="the first bytes of shop.db were overwritten before a start",
        root_cause="shop.db is damaged: its header is not that of an SQLite database.",
        evidence="sqlite3.DatabaseError: file is not a database",
    ):
        keep = (HOME / "data/shop.db").read_bytes()
        with (HOME / "data/shop.db").open("r+b") as file:
            file.write(os.urandom(64))
        shop.launch().wait(15)
        (HOME / "data/shop.db").write_bytes(keep)
    with log.fault(
        "read-only-database",
        injected="shop.db was given to root, read-only for others, before a start",
        root_cause="The shop runs as www-data, which may not write to shop.db.",
        evidence="sqlite3.OperationalError: attempt to write a readonly database",
    ):
        shutil.chown(HOME / "data/shop.db", "root")
        shop.launch().wait(15)
        shutil.chown(HOME / "data/shop.db", "www-data")
    shop.start("DEBUG")


def capture() -> list[Recorder]:
    """Run the shop scenario and return its log."""
    random = rng("shopapp")
    payment = spawn(["/usr/bin/python3", "-c", PAYMENT])
    wait_port(PAY_PORT)
    shop = Shop()
    write_file(HOME / "import/delivery.csv", "id,stock,delivered\n1,30,2024-05-02\n2,40,2024-05-02\n")
    (HOME / "pictures/shoe.png").write_bytes(PNG)
    ordinary_work(8, random)
    bug_faults(shop.log)
    ordinary_work(6, random)
    data_faults(shop)
    payment_faults(shop, payment)
    resource_faults(shop)
    start_faults(shop)
    ordinary_work(6, random)
    time.sleep(2.2)  # one more run of the restock job
    stop(shop.process)
    return [shop.log]
