"""A small web shop with genuine bugs: the capture sends it ordinary and unlucky requests and keeps its log."""

from __future__ import annotations

import csv
import decimal
import functools
import json
import logging
import os
import resource
import signal
import smtplib
import sqlite3
import ssl
import string
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

HOME = Path(__file__).resolve().parent
log = logging.getLogger("shop")
stock_log, cart_log, pay_log = (logging.getLogger(f"shop.{name}") for name in ("stock", "cart", "payment"))
jobs_log, http_log, conf_log = (logging.getLogger(f"shop.{name}") for name in ("jobs", "http", "config"))

settings: dict[str, object] = {}
carts: dict[str, list[int]] = {}
SCHEMA = """
CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, stock INTEGER, price TEXT,
                                     CHECK (stock >= 0));
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, product INTEGER NOT NULL REFERENCES products,
                                   amount INTEGER, placed TEXT);
"""


class OutOfStockError(Exception):
    """The shop has fewer pieces than were ordered."""


class PaymentFailedError(Exception):
    """The payment service did not take the payment."""


def load_settings() -> None:
    """Read settings.json; keep the old settings when it is broken."""
    path = HOME / "settings.json"
    try:
        fresh = json.loads(path.read_text())
        fresh["timeout"] = float(fresh.get("timeout", 2))
    except (OSError, ValueError) as error:
        conf_log.exception("cannot use %s, keeping %d old settings: %s", path, len(settings), error)
        return
    for name in sorted(set(settings) | set(fresh)):
        if settings.get(name) != fresh.get(name):
            conf_log.info("setting %s changed from %r to %r", name, settings.get(name), fresh.get(name))
    settings.update(fresh)


def database() -> sqlite3.Connection:
    """Open the database of the shop."""
    connection = sqlite3.connect(HOME / "data/shop.db", timeout=0.3)
    connection.execute("PRAGMA foreign_keys = on")
    return connection


def create_database() -> None:
    """Create the tables and the first products."""
    with database() as connection:
        connection.executescript(SCHEMA)
        rows = [(n, f"product {n}", 20 if n % 7 else 0, f"{n}.50") for n in range(1, 121)]
        connection.executemany("INSERT OR IGNORE INTO products VALUES (?, ?, ?, ?)", rows)
    log.info("database %s ready, SQLite %s", HOME / "data/shop.db", sqlite3.sqlite_version)


def show_product(args: dict[str, str]) -> dict[str, object]:
    """Show one product."""
    number = int(args["id"])
    row = database().execute("SELECT name, stock, price FROM products WHERE id = ?", (number,)).fetchone()
    name, stock, price = row
    if stock < 5:
        stock_log.warning("stock of product %d is low: %d left", number, stock)
    return {"name": name, "price": price}


def search(args: dict[str, str]) -> dict[str, object]:
    """Search products in an order that the client names."""
    start = time.monotonic()
    query = f"SELECT name FROM products WHERE name LIKE ? ORDER BY {args.get('order', 'id')}"
    names = [name for (name,) in database().execute(query, (f"%{args['q']}%",))]
    log.debug("search for %r found %d products in %.1f ms", args["q"], len(names), (time.monotonic() - start) * 1e3)
    return {"first": names[0], "count": len(names)}


def place_order(args: dict[str, str]) -> dict[str, object]:
    """Take pieces from the stock and note the order."""
    product, amount = int(args["product"]), int(args.get("amount", "1"))
    with database() as connection:
        row = connection.execute("SELECT stock FROM products WHERE id = ?", (product,)).fetchone()
        if row and row[0] < amount:
            raise OutOfStockError(f"product {product}: {amount} ordered, {row[0]} in stock")
        connection.execute("UPDATE products SET stock = stock - ? WHERE id = ?", (amount, product))
        stamp = datetime.now().isoformat()
        connection.execute("INSERT INTO orders (product, amount, placed) VALUES (?, ?, ?)", (product, amount, stamp))
    log.info("order placed: product=%d amount=%d", product, amount)
    return {"ordered": product}


def add_to_cart(args: dict[str, str]) -> dict[str, object]:
    """Put a product into a cart."""
    cart = carts.setdefault(args["cart"], [])
    cart.append(int(args["product"]))
    cart_log.info("cart %s has %d items", args["cart"], len(cart))
    return {"items": cart}


def remove_from_cart(args: dict[str, str]) -> dict[str, object]:
    """Take the item at a position out of a cart."""
    return {"removed": carts[args["cart"]].pop(int(args["position"]))}


def discount(args: dict[str, str]) -> dict[str, object]:
    """Compute the discount per item of a cart."""
    items = carts.get(args["cart"], [])
    voucher = decimal.Decimal(args.get("voucher", "5.00"))
    return {"per_item": str(voucher / len(items)) if voucher else settings["discounts"][args["cart"]]}


def checkout(args: dict[str, str]) -> dict[str, object]:
    """Pay for a cart at the payment service."""
    items = carts[args["cart"]]
    body = json.dumps({"cart": args["cart"], "items": items}).encode()
    pay_log.info("asking %s for %d items of cart %s", settings["payment_url"], len(items), args["cart"])
    try:
        context = ssl.create_default_context(cafile=str(settings["ca_file"])) if "ca_file" in settings else None
        url, limit = str(settings["payment_url"]), float(str(settings["timeout"]))
        answer = json.loads(urllib.request.urlopen(url, body, limit, context=context).read())
    except OSError as error:
        raise PaymentFailedError(f"payment service failed for cart {args['cart']}") from error
    pay_log.info("cart %s paid, receipt %s", args["cart"], answer["receipt"])
    return {"receipt": carts.pop(args["cart"]) and answer["receipt"]}


def import_stock(args: dict[str, str]) -> dict[str, object]:
    """Read a delivery file with new stock."""
    count = 0
    with (HOME / "import" / args["file"]).open(encoding="utf-8", newline="") as rows, database() as connection:
        for row in csv.DictReader(rows, strict=True):
            date.fromisoformat(row["delivered"])
            connection.execute("UPDATE products SET stock = ? WHERE id = ?", (int(row["stock"]), int(row["id"])))
            count += 1
    stock_log.info("imported %d rows from %s", count, args["file"])
    return {"rows": count}


def export_orders(args: dict[str, str]) -> dict[str, object]:
    """Write a report with padding for the old printer."""
    path = HOME / "export" / args["file"]
    with path.open("w", encoding="ascii") as report:
        for _ in range(int(args.get("pages", "1"))):
            report.write(f"{args.get('title', 'orders'):<4096}\n")
        report.flush()
    jobs_log.info("wrote %d bytes to %s", path.stat().st_size, path)
    return {"file": path.name}


@functools.cache
def category_path(categories: tuple[tuple[str, str], ...], name: str) -> str:
    """Return the path of a category from the root."""
    parent = dict(categories).get(name)
    return f"{category_path(categories, parent)}/{name}" if parent else name


def category(args: dict[str, str]) -> dict[str, object]:
    """Show the path of a category."""
    return {"path": category_path(tuple(settings["categories"].items()), args["name"])}


def statistics(args: dict[str, str]) -> dict[str, object]:
    """Multiply all orders out in memory."""
    table = [[n] * 1000 for n in range(int(args["size"]) * 1000)]
    return {"rows": len(table)}


def thumbnail(args: dict[str, str]) -> dict[str, object]:
    """Read the size of a PNG picture."""
    with (HOME / "pictures" / args["file"]).open("rb") as picture:
        width, height = struct.unpack(">II", picture.read(24)[16:])
    log.info("picture %s is %d x %d", args["file"], width, height)
    return {"width": width, "height": height}


def invoice(args: dict[str, str]) -> dict[str, object]:
    """Fill in the invoice template and convert it with an outside program."""
    text = string.Template("Invoice $number for $customer over $total").substitute(args)
    done = subprocess.run([str(settings["pdf_program"]), text], capture_output=True, timeout=0.5, check=True)
    jobs_log.info("invoice %s made, %d bytes", args["number"], len(done.stdout))
    return {"invoice": args["number"]}


def mail(args: dict[str, str]) -> dict[str, object]:
    """Send a confirmation by mail."""
    host, port = str(settings["smtp"]).split(":")
    with smtplib.SMTP(host, int(port), timeout=2) as server:
        server.sendmail("shop@shop.example", args["to"], "Subject: your order\n\nThank you.")
    jobs_log.info("mail to %s handed over", args["to"])
    return {"sent": args["to"]}


def keep_files(args: dict[str, str]) -> dict[str, object]:
    """Open many session files at once, as the old session store did."""
    files = [(HOME / "data/shop.db").open("rb") for _ in range(int(args["count"]))]
    for file in files:
        file.close()
    return {"opened": len(files)}


def slow(args: dict[str, str]) -> dict[str, object]:
    """Work for a while."""
    time.sleep(float(args["seconds"]))
    return {"slept": args["seconds"]}


ROUTES = {
    "/product": show_product,
    "/search": search,
    "/order": place_order,
    "/cart/add": add_to_cart,
    "/cart/remove": remove_from_cart,
    "/cart/discount": discount,
    "/checkout": checkout,
    "/import": import_stock,
    "/export": export_orders,
    "/category": category,
    "/statistics": statistics,
    "/thumbnail": thumbnail,
    "/invoice": invoice,
    "/mail": mail,
    "/session": keep_files,
    "/slow": slow,
}


class Handler(BaseHTTPRequestHandler):
    """Answers requests with JSON."""

    def do_GET(self) -> None:
        """Serve a GET request."""
        url = urlsplit(self.path)
        self.answer(url.path, dict(parse_qsl(url.query)))

    def do_POST(self) -> None:
        """Serve a POST request with a JSON body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            args = json.loads(body)
        except ValueError:
            http_log.exception("bad request body from %s for %s", self.client_address[0], self.path)
            self.reply(400, {"error": "bad body"})
            return
        self.answer(self.path, args)

    def answer(self, path: str, args: dict[str, str]) -> None:
        """Call the view of a path; every exception of a view is logged here, as web frameworks do."""
        if path not in ROUTES:
            http_log.warning("no such page: %s", path)
            self.reply(404, {"error": "not found"})
            return
        start = time.monotonic()
        try:
            self.reply(200, ROUTES[path](args))
        except OutOfStockError as error:
            stock_log.warning("order refused: %s", error)
            self.reply(409, {"error": str(error)})
        except BrokenPipeError:
            http_log.warning("client %s left before the answer to %s", self.client_address[0], path)
        except Exception:
            http_log.exception("unhandled error in %s %s", self.command, path)
            self.reply(500, {"error": "internal error"})
        if (took := time.monotonic() - start) > 0.25:
            http_log.warning("slow request: %s took %.0f ms", path, took * 1e3)

    def reply(self, status: int, content: dict[str, object]) -> None:
        """Send a JSON answer."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *args: object) -> None:
        """Write the access line."""
        http_log.info("%s %s", self.client_address[0], form % args)


class Server(ThreadingHTTPServer):
    """The HTTP server; errors outside the views are logged too."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: tuple[str, int]) -> None:
        """Log an error of the connection handling."""
        http_log.exception("connection from %s failed", client_address[0])


def restock() -> None:
    """Order new pieces of what is sold out, every two seconds."""
    while True:
        time.sleep(2)
        try:
            with database() as connection:
                count = connection.execute("UPDATE products SET stock = 3 WHERE stock = 0 AND id < 100").rowcount
            jobs_log.info("restock job: %d products filled up", count)
        except sqlite3.Error:
            jobs_log.exception("restock job failed, next try in 2 s")


def shut_down(number: int, frame: object) -> None:
    """End the process at a signal."""
    log.info("received signal %s, shutting down with %d open carts", signal.Signals(number).name, len(carts))
    logging.shutdown()
    sys.exit(0)


def main() -> None:
    """Start the shop on the port given as the first argument."""
    logging.basicConfig(
        level=os.environ.get("SHOP_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)-8s [%(process)d:%(threadName)s] %(name)s: %(message)s",
    )
    port = int(sys.argv[1])
    log.info("starting shop on port %d with Python %s", port, sys.version.split()[0])
    megabytes = int(os.environ.get("SHOP_MEMORY_MB", "700"))
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    load_settings()
    signal.signal(signal.SIGHUP, lambda number, frame: load_settings())
    signal.signal(signal.SIGTERM, shut_down)
    try:
        create_database()
        server = Server(("", port), Handler)
    except (OSError, sqlite3.Error):
        log.critical("cannot start", exc_info=True)
        sys.exit(1)
    threading.Thread(target=restock, name="restock", daemon=True).start()
    log.info("serving %d routes", len(ROUTES))
    server.serve_forever()


if __name__ == "__main__":
    main()
