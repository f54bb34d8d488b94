"""The reader against `bytes.split`, `sed`, the compressors' own tools, and real header lines with known fields."""

import bz2
import datetime
import gzip
import io
import json
import lzma
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.logs.layouts import LAYOUTS
from loglore.logs.reader import SCHEMA, expand, read_table, split_lines, table_of

BOMS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")


@given(st.binary(max_size=400) | st.lists(st.binary(max_size=30), max_size=20).map(b"\n".join))
def test_every_line_of_any_bytes_is_accounted_for(content: bytes) -> None:
    assume(not content.startswith(BOMS))
    pieces = content.split(b"\n")
    expected = pieces if pieces[-1] else pieces[:-1]
    lines = split_lines(content)
    assert lines == [piece.decode("utf-8", errors="replace").removesuffix("\r") for piece in expected]
    table = table_of(lines)
    assert table["text"].to_list() == lines
    assert table["line"].to_list() == list(range(1, len(lines) + 1))
    assert (table["event"] <= table["line"]).all()


def test_line_numbers_are_those_of_sed(tmp_path: Path) -> None:
    path = tmp_path / "odd.log"
    path.write_bytes(
        b"one\r\n\ntwo \x0b\x0c\x1c \xe2\x80\xa8 still two\n\x00nul\x00\nbad \xff\xfe byte\nlast without end"
    )
    table = read_table([path])
    for number, text in table.select("line", "text").iter_rows():
        shown = subprocess.run(["sed", "-n", f"{number}p", path], capture_output=True, check=True).stdout
        assert shown.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", errors="replace") == text
    assert table.height == 6


def test_utf16_and_marks(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-8-sig"):
        path = tmp_path / f"{encoding}.log"
        path.write_bytes("erste Zeile\nzweite".encode(encoding))
        assert read_table([path])["text"].to_list() == ["erste Zeile", "zweite"]


def test_columns_and_types(tmp_path: Path) -> None:
    path = tmp_path / "empty.log"
    path.write_bytes(b"")
    assert read_table([path]).schema == pl.Schema(SCHEMA)
    path.write_bytes(b"\n")
    assert read_table([path]).schema == pl.Schema(SCHEMA)


COMPRESSORS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed(tmp_path: Path, suffix: str) -> None:
    content = "".join(f"line {number} of a file\n" for number in range(500)).encode()
    path = tmp_path / f"app.log{suffix}"
    path.write_bytes(COMPRESSORS[suffix](content))
    assert read_table([path])["text"].to_list() == content.decode().splitlines()
    if suffix != ".xz":  # a second frame in the same file, as log shippers append it
        path.write_bytes(COMPRESSORS[suffix](content) + COMPRESSORS[suffix](b"more\n"))
        assert read_table([path]).height == 501
    for damaged in (COMPRESSORS[suffix](content)[:-9], b"no archive at all"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"app\.log.*damaged or truncated"):
            read_table([path])


def test_folders_globs_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("logs/b.log", "logs/a.log", "logs/sub/c.txt", "logs/.hidden", "logs/.git/x.log"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"{name}\n")
    everything = [Path("logs/a.log"), Path("logs/b.log"), Path("logs/sub/c.txt")]
    assert expand([Path("logs")]) == everything
    assert expand([Path("logs/*.log")]) == everything[:2]
    assert expand([tmp_path / "logs" / "*.log"]) == [tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"]
    assert expand([Path("logs/b.log"), Path("logs")]) == [everything[1], everything[0], everything[2]]
    assert read_table([Path("logs")])["source"].to_list() == [str(path) for path in everything]
    Path("odd[1].log").write_text("brackets in a name\n")
    assert expand([Path("odd[1].log")]) == [Path("odd[1].log")]


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "no.log", "no such file"),
        (tmp_path / "*.log", "no file matches"),
        (tmp_path / "empty", "holds no files"),
    ):
        with pytest.raises(InputError, match=message) as fault:
            read_table([path])
        assert str(path) in str(fault.value)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped:
        buffer = io.BytesIO(b"from a pipe\nwith two lines\n")

    monkeypatch.setattr(sys, "stdin", Piped)
    table = read_table([Path("-")])
    assert table.select("source", "line", "text").rows() == [("-", 1, "from a pipe"), ("-", 2, "with two lines")]


# One line a layout: the line, and (layout, time, level, component, pid, message).
LINES = [
    (
        "14:C 22 Nov 2026 20:04:43.301 # WARNING Memory overcommit must be enabled!",
        ("redis", "2026-11-22 20:04:43.301", "warning", None, "14", "WARNING Memory overcommit must be enabled!"),
    ),
    (
        "459:signal-handler (1795377908) Received SIGTERM scheduling shutdown...",
        ("redis-signal", "2026-11-22 20:05:08", None, None, "459", "Received SIGTERM scheduling shutdown..."),
    ),
    (
        "2026/11/22 20:16:33 [emerg] 329#329: bind() to 0.0.0.0:80 failed (98: in use)",
        ("nginx", "2026-11-22 20:16:33", "fatal", None, "329", "bind() to 0.0.0.0:80 failed (98: in use)"),
    ),
    (
        '10.20.1.37 - - [22/Nov/2026:20:16:23 +0200] "GET /x HTTP/1.1" 404 153 "-" "curl/7.88.1"',
        (
            "access",
            "2026-11-22 18:16:23",
            "warning",
            None,
            None,
            '10.20.1.37 - - "GET /x HTTP/1.1" 404 153 "-" "curl/7.88.1"',
        ),
    ),
    (
        "2026-11-22 20:02:11.123 UTC [211] shop@shop ERROR:  deadlock detected",
        ("postgresql", "2026-11-22 20:02:11.123", "error", None, "211", "deadlock detected"),
    ),
    (
        "2026-11-22 20:02:11.123 UTC [211] LOG:  database system is ready",
        ("postgresql", "2026-11-22 20:02:11.123", "info", None, "211", "database system is ready"),
    ),
    (
        "2026-11-22 20:17:34 0 [ERROR] InnoDB: Unable to lock ./ibdata1 error: 11",
        ("mariadb", "2026-11-22 20:17:34", "error", None, None, "InnoDB: Unable to lock ./ibdata1 error: 11"),
    ),
    (
        "[ALERT]    (480) : proxy 'database' has no server available!",
        ("haproxy", None, "fatal", None, "480", "proxy 'database' has no server available!"),
    ),
    (
        "<6>2026-11-22T20:14:21.294007+00:00 10.20.1.37:52328 [22/Nov/2026:20:14:21.293] web app/a 0/0/1/2/3 200 9",
        (
            "haproxy-traffic",
            "2026-11-22 20:14:21.293",
            "info",
            None,
            None,
            "10.20.1.37:52328 web app/a 0/0/1/2/3 200 9",
        ),
    ),
    (
        "[Wed Oct 11 14:32:52.123456 2023] [proxy:error] [pid 35708:tid 43] AH00957: attempt failed",
        ("apache", "2023-10-11 14:32:52.123456", "error", "proxy", "35708", "AH00957: attempt failed"),
    ),
    (
        "[Sun Dec 04 04:47:44 2005] [notice] workerEnv.init() ok",
        ("apache", "2005-12-04 04:47:44", "info", None, None, "workerEnv.init() ok"),
    ),
    (
        "2026-11-22T20:11:08: Client shelf-8 disconnected.",
        ("iso", "2026-11-22 20:11:08", None, None, None, "Client shelf-8 disconnected."),
    ),
    (
        "1763841250: Error: Address already in use",
        ("mosquitto", "2025-11-22 19:54:10", "error", None, None, "Error: Address already in use"),
    ),
    (
        "2026/11/22 20:21:12 kid1| WARNING: setuid(0): Operation not permitted",
        ("squid", "2026-11-22 20:21:12", "warning", None, None, "WARNING: setuid(0): Operation not permitted"),
    ),
    (
        "1795378860.886      0 10.20.1.37 TCP_DENIED/407 3580 GET http://a/ -",
        ("epoch", "2026-11-22 20:21:00.886", None, None, None, "0 10.20.1.37 TCP_DENIED/407 3580 GET http://a/ -"),
    ),
    (
        "22-Nov-2026 20:18:30.407 general: info: all zones loaded",
        ("bind", "2026-11-22 20:18:30.407", "info", "general", None, "all zones loaded"),
    ),
    (
        "2026-11-22T20:18:30.407 notify: info: zone a/IN: sending notifies (serial 15)",
        ("bind-iso", "2026-11-22 20:18:30.407", "info", "notify", None, "zone a/IN: sending notifies (serial 15)"),
    ),
    (
        "2026-11-22 20:08:58,172 WARNING  [349:Thread-12 (process_request_thread)] shop.http: no such page: /x",
        ("hadoop", "2026-11-22 20:08:58.172", "warning", "shop.http", "349", "no such page: /x"),
    ),
    (
        "[2026-11-22 20:08:58 +0000] [12] [INFO] Booting worker",
        ("gunicorn", "2026-11-22 20:08:58", "info", None, "12", "Booting worker"),
    ),
    (
        "[2026-11-22 20:08:58,172] ERROR in app: Exception on / [GET]",
        ("flask", "2026-11-22 20:08:58.172", "error", "app", None, "Exception on / [GET]"),
    ),
    (
        "2026-11-22 20:08:58.172  INFO 4242 --- [  main] o.s.b.w.TomcatWebServer  : Tomcat started",
        ("spring", "2026-11-22 20:08:58.172", "info", "o.s.b.w.TomcatWebServer", "4242", "Tomcat started"),
    ),
    (
        "2015-07-29 17:41:44,747 - WARN  [SendWorker:188978561024:QuorumCnxManager$SendWorker@679] - Interrupted",
        ("zookeeper", "2015-07-29 17:41:44.747", "warning", "QuorumCnxManager$SendWorker", None, "Interrupted"),
    ),
    (
        "2026-11-22 20:08:58,172 - shop.cart - CRITICAL - out of carts",
        ("python-dashes", "2026-11-22 20:08:58.172", "fatal", "shop.cart", None, "out of carts"),
    ),
    (
        "2026-11-22 20:08:58,172 DEBUG shop.cart: added",
        ("python", "2026-11-22 20:08:58.172", "debug", "shop.cart", None, "added"),
    ),
    (
        "2026-11-22 20:19:27,880 CRIT Supervisor is running as root.",
        ("iso-level", "2026-11-22 20:19:27.880", "fatal", None, None, "Supervisor is running as root."),
    ),
    (
        "2026-11-22 20:19:06,708 WARN stopped: mailer (terminated by SIGTERM)",
        ("supervisor", "2026-11-22 20:19:06.708", "warning", None, None, "stopped: mailer (terminated by SIGTERM)"),
    ),
    (
        "2026-11-22T20:19:27.880Z stderr F boom",
        ("container", "2026-11-22 20:19:27.880", None, None, None, "boom"),
    ),
    (
        "<11>2026-11-22T20:19:27+01:00 web01 sshd[12]: fatal: no hostkeys available",
        ("syslog-iso", "2026-11-22 19:19:27", "error", "sshd", "12", "fatal: no hostkeys available"),
    ),
    (
        "Nov 22 20:20:15 mail01 postfix/cleanup[193]: 73EE3A4: message-id=<a@b>",
        ("syslog", "2000-11-22 20:20:15", None, "postfix/cleanup", "193", "73EE3A4: message-id=<a@b>"),
    ),
    (
        "Nov 22 20:20:15 dnsmasq[123]: query[A] a.test from 10.0.0.1",
        ("syslog-hostless", "2000-11-22 20:20:15", None, "dnsmasq", "123", "query[A] a.test from 10.0.0.1"),
    ),
    (
        "I1122 20:20:15.123456    7 main.go:42] started",
        ("klog", "2000-11-22 20:20:15.123456", "info", "main.go", "7", "started"),
    ),
    (
        "03-17 16:13:38.811  1702  2395 E WindowManager: no window",
        ("android", "2000-03-17 16:13:38.811", "error", "WindowManager", "1702", "no window"),
    ),
    (
        "[    1.234567] usb 1-1: device descriptor read/64, error -71",
        ("kernel", None, None, None, None, "usb 1-1: device descriptor read/64, error -71"),
    ),
    (
        "[Sun Nov 22 20:08:58 2026] usb 1-1: device not accepting address",
        ("kernel-dated", "2026-11-22 20:08:58", None, None, None, "usb 1-1: device not accepting address"),
    ),
    (
        "Sun Nov 22 20:08:58 2026 us=172000 TLS handshake failed",
        ("openvpn", "2026-11-22 20:08:58", None, None, None, "TLS handshake failed"),
    ),
    (
        '[22/Nov/2026 20:08:58] "GET / HTTP/1.1" 500 145',
        ("django-server", "2026-11-22 20:08:58", "error", None, None, '"GET / HTTP/1.1" 500 145'),
    ),
    (
        "2026.11.22 20:08:58.172000 [ 42 ] {a-1} <Error> MergeTree (shop.cart): no space left",
        ("clickhouse", "2026-11-22 20:08:58.172", "error", "MergeTree", "42", "no space left"),
    ),
    (
        "[2026-11-22T20:08:58,172][WARN ][o.e.c.r.a.DiskThreshold   ] [node-1] high disk watermark",
        ("elasticsearch", "2026-11-22 20:08:58.172", "warning", "o.e.c.r.a.DiskThreshold", None, "high disk watermark"),
    ),
    (
        "WARN  [GossipTasks:1] 2026-11-22 20:08:58,172 FailureDetector.java:278 - not marking nodes down",
        ("cassandra", "2026-11-22 20:08:58.172", "warning", "FailureDetector.java", None, "not marking nodes down"),
    ),
    (
        "2026-11-22 20:08:58.172 [http-nio-80-exec-1] ERROR c.e.shop.Cart - out of carts",
        ("logback", "2026-11-22 20:08:58.172", "error", "c.e.shop.Cart", None, "out of carts"),
    ),
    (
        "20:08:58.172 [main] ERROR c.e.shop.Cart - out of carts",
        ("logback-clock", "1970-01-01 20:08:58.172", "error", "c.e.shop.Cart", None, "out of carts"),
    ),
    (
        "2026-11-22 20:08:58,172 INFO  [main] Cart - added",
        ("log4j", "2026-11-22 20:08:58.172", "info", "Cart", None, "added"),
    ),
    (
        "2026-11-22 20:08:58,172 INFO [Timer Thread-1] o.a.nifi.Cart added",
        ("log4j-class", "2026-11-22 20:08:58.172", "info", "o.a.nifi.Cart", None, "added"),
    ),
    (
        "[2026-11-22 20:08:58,172] INFO [KafkaServer id=0] started (kafka.server.KafkaServer)",
        (
            "iso-level",
            "2026-11-22 20:08:58.172",
            "info",
            None,
            None,
            "[KafkaServer id=0] started (kafka.server.KafkaServer)",
        ),
    ),
    (
        "2026-11-22 20:08:58,172 INFO  org.apache.flink.Runtime           [] - started",
        ("flink", "2026-11-22 20:08:58.172", "info", "org.apache.flink.Runtime", None, "started"),
    ),
    (
        "2026-11-22 20:08:58.172 WARN  (qtp-12) [   x:core] o.a.s.c.Core slow",
        ("solr", "2026-11-22 20:08:58.172", "warning", "o.a.s.c.Core", None, "slow"),
    ),
    (
        "2026-11-22 20:08:58,172 WARN  [org.keycloak.events] (executor-thread-1) LOGIN_ERROR",
        ("jboss", "2026-11-22 20:08:58.172", "warning", "org.keycloak.events", None, "LOGIN_ERROR"),
    ),
    (
        "2026-11-22 20:08:58.172+0000 [id=33]\tSEVERE\th.model.Run#execute: failed",
        ("jenkins", "2026-11-22 20:08:58.172", "error", "h.model.Run#execute", None, "failed"),
    ),
    (
        "22-Nov-2026 20:08:58.172 SEVERE [main] org.apache.catalina.startup.Catalina.start failed",
        ("tomcat", "2026-11-22 20:08:58.172", "error", "org.apache.catalina.startup.Catalina.start", None, "failed"),
    ),
    (
        "[2026-11-22 20:08:58.172][7][critical][main] [source/server/server.cc:117] no listener",
        ("envoy", "2026-11-22 20:08:58.172", "fatal", "main", "7", "no listener"),
    ),
    (
        "[2026-11-22 20:08:58,172: ERROR/ForkPoolWorker-2] task raised",
        ("celery", "2026-11-22 20:08:58.172", "error", "ForkPoolWorker-2", None, "task raised"),
    ),
    (
        "E, [2026-11-22T20:08:58.172000 #1234] ERROR -- shop: failed",
        ("ruby", "2026-11-22 20:08:58.172", "error", "shop", "1234", "failed"),
    ),
    (
        "I, [2026-11-22T20:08:58.172000 #1234]  INFO -- : started",
        ("ruby", "2026-11-22 20:08:58.172", "info", None, "1234", "started"),
    ),
    (
        "2026-11-22T20:08:58.172Z pid=12 tid=a1b class=Mailer jid=9f ERROR: fail",
        ("sidekiq", "2026-11-22 20:08:58.172", "error", "Mailer", "12", "fail"),
    ),
    (
        '[2026-11-22T20:08:58.172000+00:00] production.ERROR: no cart {"id":1}',
        ("monolog", "2026-11-22 20:08:58.172", "error", "production", None, 'no cart {"id":1}'),
    ),
    (
        "[2026-11-22T20:08:58.172+0000] {taskinstance.py:1157} ERROR - task failed",
        ("airflow", "2026-11-22 20:08:58.172", "error", "taskinstance.py", None, "task failed"),
    ),
    (
        "2026-11-22 20:08:58.172 | ERROR    | shop.cart:add:12 - out of carts",
        ("loguru", "2026-11-22 20:08:58.172", "error", "shop.cart", None, "out of carts"),
    ),
    (
        "2026-11-22T20:08:58.172000Z  WARN shop::cart: nearly out of carts",
        ("rust-tracing", "2026-11-22 20:08:58.172", "warning", "shop::cart", None, "nearly out of carts"),
    ),
    (
        "[2026-11-22T20:08:58Z WARN  shop::cart] nearly out of carts",
        ("rust-env", "2026-11-22 20:08:58", "warning", "shop::cart", None, "nearly out of carts"),
    ),
    (
        "2026-11-22T20:08:58.172Z\terror\tads/push.go:42\tpush failed",
        ("zap", "2026-11-22 20:08:58.172", "error", "ads/push.go", None, "push failed"),
    ),
    (
        "2026-11-22T20:08:58.172Z\t8f1e5c2a-0000-4000-8000-000000000000\tERROR\ttimed out",
        ("lambda", "2026-11-22 20:08:58.172", "error", None, None, "timed out"),
    ),
    (
        "[ERROR]\t2026-11-22T20:08:58.172Z\t8f1e5c2a-0000-4000-8000-000000000000\ttimed out",
        ("lambda-level-first", "2026-11-22 20:08:58.172", "error", None, None, "timed out"),
    ),
    (
        "2026-11-22T20:08:58.1720000Z ##[error]Process completed with exit code 1.",
        ("actions", "2026-11-22 20:08:58.172", "error", None, None, "Process completed with exit code 1."),
    ),
    (
        "2026-11-22 20:08:58.172 +00:00 [WRN] slow request",
        ("serilog", "2026-11-22 20:08:58.172", "warning", None, None, "slow request"),
    ),
    (
        "[20:08:58 FTL] host terminated",
        ("serilog-clock", "1970-01-01 20:08:58", "fatal", None, None, "host terminated"),
    ),
    (
        "2026-11-22 20:08:58 ERROR shop[3]: out of carts",
        ("level-program", "2026-11-22 20:08:58", "error", "shop", "3", "out of carts"),
    ),
    (
        "ERROR 2026-11-22 20:08:58,172 views 17 140 failed",
        ("level-first", "2026-11-22 20:08:58.172", "error", "views", "17", "failed"),
    ),
    (
        "2026-11-22T20:08:58.172Z [WARN]  agent.server: no leader",
        ("python-brackets", "2026-11-22 20:08:58.172", "warning", "agent.server", None, "no leader"),
    ),
    (
        '<34>1 2026-11-22T20:08:58.172Z web01 su 77 ID47 [a@1 k="x]\\"y"][b@1] \ufefffailed for lonvick',
        ("syslog-5424", "2026-11-22 20:08:58.172", "fatal", "su", "77", "failed for lonvick"),
    ),
    (
        "2026/11/22 20:08:58 cart.go:42: error: out of carts",
        ("slash-file", "2026-11-22 20:08:58", "error", "cart.go", None, "error: out of carts"),
    ),
    (
        "2026/11/22 20:08:58 [ERROR] out of carts",
        ("slash-loud", "2026-11-22 20:08:58", "error", None, None, "out of carts"),
    ),
    (
        "[20:08:58] [Server thread/WARN]: cannot keep up",
        ("minecraft", "1970-01-01 20:08:58", "warning", "Server thread", None, "cannot keep up"),
    ),
    ("fail: Shop.Cart[0]", ("dotnet", None, "error", None, None, "Shop.Cart[0]")),
    (
        "[99] 22 Nov 20:08:58.172 * DB loaded",
        ("redis-old", "2000-11-22 20:08:58.172", "info", None, "99", "DB loaded"),
    ),
    (
        "261122 20:08:58 [Warning] table 'cart' was not closed",
        ("mysql", "2026-11-22 20:08:58", "warning", None, None, "table 'cart' was not closed"),
    ),
    (
        "type=AVC msg=audit(1795378138.172:42): denied { read }",
        ("audit", "2026-11-22 20:08:58.172", None, "AVC", None, "denied { read }"),
    ),
    (
        "[2026-11-22 20:08:58] [ERROR] [cart] out of carts",
        ("bracketed", "2026-11-22 20:08:58", "error", "cart", None, "out of carts"),
    ),
    (
        "api.log 2026-11-22 20:08:58.172 42 WARNING shop.api [req-1 a b] slow",
        ("openstack", "2026-11-22 20:08:58.172", "warning", "shop.api", "42", "slow"),
    ),
    (
        "2026-11-22 20:08:58, Info                  CBS    Loaded the servicing stack",
        ("windows", "2026-11-22 20:08:58", "info", "CBS", None, "Loaded the servicing stack"),
    ),
    (
        "2026-11-22 20:08:58,172 shop.cart ERROR out of carts",
        ("python-name-first", "2026-11-22 20:08:58.172", "error", "shop.cart", None, "out of carts"),
    ),
    (
        "2026-11-22T20:08:58.172000+00:00 app[web.1]: Listening on 5000",
        ("heroku", "2026-11-22 20:08:58.172", None, "app[web.1]", None, "Listening on 5000"),
    ),
    (
        "26/11/22 20:08:58 INFO storage.Cart: added",
        ("slash-level", "2026-11-22 20:08:58", "info", "storage.Cart", None, "added"),
    ),
    ("2026/11/22 20:08:58 listening", ("slash", "2026-11-22 20:08:58", None, None, None, "listening")),
    (
        "Nov 22 20:08:58 web01 last message repeated 2 times",
        ("syslog-bare", "2000-11-22 20:08:58", None, None, None, "last message repeated 2 times"),
    ),
    (
        "[11.22 20:08:58] chrome.exe *64 - proxy.test:5070 open",
        ("proxifier", "2000-11-22 20:08:58", None, "chrome.exe *64", None, "proxy.test:5070 open"),
    ),
    (
        "20261122-20:8:58:172|Steps|30002312|counted 12",
        ("health", "2026-11-22 20:08:58.172", None, "Steps", "30002312", "counted 12"),
    ),
    (
        "261122 200858 148 INFO dfs.DataNode$Cart: received block",
        ("hdfs", "2026-11-22 20:08:58", "info", "dfs.DataNode$Cart", "148", "received block"),
    ),
    (
        "- 1795378138 2026.11.22 R02-M1 2026-11-22-20.08.58.172000 R02-M1 RAS KERNEL FATAL data storage interrupt",
        ("bgl", "2026-11-22 20:08:58.172", "fatal", "KERNEL", None, "data storage interrupt"),
    ),
    (
        "- 1795378138 2026.11.22 dn228 Nov 22 20:08:58 dn228/dn228 crond[2915]: session closed",
        ("thunderbird", "2026-11-22 20:08:58", None, "crond", "2915", "session closed"),
    ),
    (
        "134681 node-246 unix.hw state_change.unavailable 1795378138 1 Component State Change",
        ("hpc", "2026-11-22 20:08:58", None, "unix.hw", None, "Component State Change"),
    ),
    (
        "20:08:58.172 [WARN] out of carts",
        ("clock-level", "1970-01-01 20:08:58.172", "warning", None, None, "out of carts"),
    ),
    ("[20:08:58] added", ("clock", "1970-01-01 20:08:58", None, None, None, "added")),
    (
        "Nov 22, 2026 12:08:58 AM org.apache.catalina.core.StandardService startInternal",
        ("java-util-logging", "2026-11-22 00:08:58", None, "org.apache.catalina.core.StandardService", None, ""),
    ),
    (
        "2026-11-22T20:08:58.172+01:00 ERROR 1 --- [shop] [main] o.s.b.Shop : out of carts",
        ("spring", "2026-11-22 19:08:58.172", "error", "o.s.b.Shop", "1", "out of carts"),
    ),
    (
        "2026-11-22 20:08:58 [pool-1-thread-2] WARN  com.x.Cart:123 - out of carts",
        ("logback", "2026-11-22 20:08:58", "warning", "com.x.Cart", None, "out of carts"),
    ),
    (
        "[22-Nov-2026 20:08:58 Europe/Berlin] PHP Fatal error:  Uncaught Error: x in /a.php:3",
        ("php", "2026-11-22 20:08:58", "fatal", None, None, "Uncaught Error: x in /a.php:3"),
    ),
    (
        "[22-Nov-2026 20:08:58] NOTICE: fpm is running, pid 1",
        ("php", "2026-11-22 20:08:58", "info", None, None, "fpm is running, pid 1"),
    ),
    (
        "[ERROR] 2026-11-22 20:08:58 out of carts",
        ("level-first", "2026-11-22 20:08:58", "error", None, None, "out of carts"),
    ),
    (
        "2026-11-22 20:08:58.1720|WARN|Shop.Cart|out of carts",
        ("nlog", "2026-11-22 20:08:58.172", "warning", "Shop.Cart", None, "out of carts"),
    ),
    (
        "Sun 2026-11-22 20:08:58 UTC web01 sshd[12]: Failed password",
        ("journal-full", "2026-11-22 20:08:58", None, "sshd", "12", "Failed password"),
    ),
    (
        "22.11.2026 20:08:58.172 *ERROR* [main] out of carts",
        ("dotted-day", "2026-11-22 20:08:58.172", "error", None, None, "[main] out of carts"),
    ),
    (
        "E20261122 20:08:58.172000    12 cart.cc:3] out of carts",
        ("klog", "2026-11-22 20:08:58.172", "error", "cart.cc", "12", "out of carts"),
    ),
    (
        "2026-03-01 10:00:00 INFO app[3]: listening",
        ("level-program", "2026-03-01 10:00:00", "info", "app", "3", "listening"),
    ),
    (
        r"CEF:0|Acme|Gate|1.0|100|worm \| stopped|8|src=10.0.0.1 msg=a\=b c rt=1795378138172 dvcpid=7",
        ("cef", "2026-11-22 20:08:58.172", "error", "Gate", "7", "worm | stopped"),
    ),
    (
        "Nov 22 20:08:58 fw01 CEF:0|Acme|Gate|1.0|100|port scan|Very-High|src=10.0.0.1 rt=1",
        ("syslog-bare", "2000-11-22 20:08:58", "fatal", "Gate", None, "port scan"),
    ),
    (
        "LEEF:1.0|Acme|Mail|4.0|login failed|src=10.0.0.1\tsev=5\tdevTime=Nov 22 2026 20:08:58",
        ("leef", "2026-11-22 20:08:58", "warning", "Mail", None, "login failed"),
    ),
    (
        "<134>1 2026-11-22T20:08:58Z web01 gate 77 - - LEEF:2.0|Acme|Gate|1.0|41|x5E|sev=2^msg=a b",
        ("syslog-5424", "2026-11-22 20:08:58", "info", "Gate", "77", "a b"),
    ),
    ("WARNING:root:disk is almost full", ("python-basic", None, "warning", "root", None, "disk is almost full")),
    ("INFO:     Uvicorn running", ("uvicorn", None, "info", None, None, "Uvicorn running")),
    ("error: kex: reset", (None, None, "error", None, None, "error: kex: reset")),
]


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[str(one[1][0]) for one in LINES])
def test_headers(line: str, expected: tuple[str | None, ...]) -> None:
    row = table_of([line]).row(0, named=True)
    layout, time, level, component, pid, message = expected
    assert row["time"] == (datetime.datetime.fromisoformat(time) if time else None)
    assert [row[name] for name in ("layout", "level", "component", "pid", "message")] == [
        layout,
        level,
        component,
        pid,
        message,
    ]


def test_every_layout_has_a_line_here() -> None:
    # Alone, the second line of a record of two is any program's `WARNING: …`.
    shown = {expected[0] for _, expected in LINES} - {None, "cef", "leef"}
    assert shown == set(LAYOUTS) - {"java-util-logging-level"}


def test_mixed_layouts_keep_the_order_of_lines() -> None:
    lines = [line for line, _ in LINES]
    assert table_of(lines)["text"].to_list() == lines


def test_lines_behind_the_name_of_a_container() -> None:
    lines = [
        "web-1    | 2026-11-22 20:08:58,172 ERROR shop.cart: out of carts",
        "web-1    | Traceback (most recent call last):",
        'db-1     | {"time":"2026-11-22T20:08:59Z","level":"warn","msg":"slow"}',
        "[pod/web-5d9/app] 2026-11-22T20:09:00Z INFO started",
        "name | a table of three columns | and no log",
    ]
    table = table_of(lines)
    assert table["text"].to_list() == lines
    found = table.select("level", "component", "message").rows()
    assert found == [
        ("error", "shop.cart", "out of carts"),
        (None, None, lines[1]),
        ("warning", "db-1", "slow"),
        ("info", "web-5d9/app", "started"),
        (None, None, lines[4]),
    ]
    assert table["host"].to_list() == ["web-1", None, "db-1", "web-5d9/app", None]
    assert [str(time) for time in table["time"].drop_nulls()] == [
        "2026-11-22 20:08:58.172000",
        "2026-11-22 20:08:59",
        "2026-11-22 20:09:00",
    ]


def test_a_missing_year_comes_from_the_other_lines(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("Dec 31 23:59:58 web sshd[1]: a\nJan  1 00:00:03 web sshd[1]: b\n")
    (tmp_path / "b.log").write_text("2026-01-01 00:00:05 INFO started\n")
    times = [str(time) for time in read_table([tmp_path])["time"]]
    assert times == ["2025-12-31 23:59:58", "2026-01-01 00:00:03", "2026-01-01 00:00:05"]


def test_records_of_two_lines() -> None:
    lines = [
        "Nov 22, 2026 8:08:58 PM org.apache.Catalina start",
        "SEVERE: not started",
        "java.lang.IllegalStateException: no port",
        "\tat org.apache.Catalina.start(Catalina.java:1)",
        "Nov 22, 2026, 12:09:00\u202fPM org.apache.Catalina stop",
        "INFO: stopped",
    ]
    table = table_of(lines)
    assert table["event"].to_list() == [1, 1, 1, 1, 5, 5]
    assert table["level"].to_list() == [None, "error", None, None, None, "info"]
    assert table["message"].to_list() == ["", "not started", lines[2], lines[3], "", "stopped"]
    assert table["component"].to_list() == ["org.apache.Catalina"] * 2 + [None] * 2 + ["org.apache.Catalina"] * 2
    assert [str(time) for time in table["time"].drop_nulls()] == ["2026-11-22 20:08:58"] * 2 + [
        "2026-11-22 12:09:00"
    ] * 2


IIS = [
    "#Software: Microsoft Internet Information Services 10.0",
    "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query cs(User-Agent) sc-status time-taken",
    "2026-11-22 20:08:58 10.0.0.5 GET /a - Mozilla/5.0+(X) 200 15",
    '2026-11-22 20:08:59 10.0.0.5 POST /b id=3&x="a\\" Mozilla/5.0+(X) 500 1502',
    "2026-11-22 20:09:00 10.0.0.5 GET /c - - 404 3",
    "#Fields: date time action src-ip",
    "2026-11-22 20:09:01 DROP 10.0.0.7",
    "2026-11-22\t20:09:02\tDROP\t10.0.0.8",
    "2026-11-22 20:09:03 alone",
    "what else is here",
]


def test_columns_of_a_w3c_log_are_named_by_its_directives() -> None:
    table = table_of(IIS)
    assert table["text"].to_list() == IIS
    assert table["layout"].to_list() == ["w3c"] * 8 + ["iso", None]
    assert table["level"].to_list() == [None, None, None, "error", "warning", *[None] * 5]
    assert table["host"].to_list() == [None, None, *["10.0.0.5"] * 3, *[None] * 5]
    assert [str(time) for time in table["time"].drop_nulls()] == [
        "2026-11-22 20:08:58",
        "2026-11-22 20:08:59",
        "2026-11-22 20:09:00",
        "2026-11-22 20:09:01",
        "2026-11-22 20:09:02",
        "2026-11-22 20:09:03",
    ]
    assert table["message"][2] == (
        "s-ip=10.0.0.5 cs-method=GET cs-uri-stem=/a cs-uri-query=- cs(User-Agent)=Mozilla/5.0+(X) sc-status=200 "
        "time-taken=15"
    )
    fields = json.loads(table["fields"][3])
    assert fields["cs-uri-query"] == 'id=3&x="a\\"' and fields["sc-status"] == "500"
    assert json.loads(table["fields"][6]) == {"action": "DROP", "src-ip": "10.0.0.7"}


def test_a_clock_without_a_date_is_a_time_of_the_day_unless_other_lines_have_a_date(tmp_path: Path) -> None:
    lines = [
        "23:59:58 a",
        "[23:59:59.5] ERROR b",
        "00:00:01 c",
        "  more",
        "00:00:00 d",
        "11:00:00 e",
        "23:59:59 f",
        "0:00:00 g",
    ]
    (tmp_path / "a.log").write_text("\n".join(lines))
    times = [str(time) for time in read_table([tmp_path])["time"]]
    assert times == [
        "1970-01-01 23:59:58",
        "1970-01-01 23:59:59.500000",
        "1970-01-02 00:00:01",
        "None",
        "1970-01-02 00:00:00",
        "1970-01-02 11:00:00",
        "1970-01-02 23:59:59",
        "1970-01-03 00:00:00",
    ]
    (tmp_path / "b.log").write_text("2026-11-22 10:00:00 INFO app: started\n12:00:00 up 3 days\n")
    table = read_table([tmp_path])
    assert [str(time) for time in table["time"].drop_nulls()] == ["2026-11-22 10:00:00"]
    assert table["level"].drop_nulls().to_list() == ["error", "info"]
    assert table["event"].to_list() == [1, 2, 3, 3, 5, 6, 7, 8, 1, 1]


TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "app.py", line 3, in <module>',
    "    1 / 0",
    "ZeroDivisionError: division by zero",
]


def events(lines: list[str]) -> list[int]:
    return table_of(lines)["event"].to_list()


def test_events_of_a_log_with_headers() -> None:
    lines = ["2026-11-22 10:00:00,000 ERROR shop: failed", *TRACEBACK, "", "2026-11-22 10:00:01,000 INFO shop: on"]
    table = table_of(lines)
    assert table["event"].to_list() == [1, 1, 1, 1, 1, 1, 7]
    assert table["level"].to_list() == ["error", None, None, None, None, None, "info"]


def test_events_of_a_log_without_headers() -> None:
    assert events(["starting", *TRACEBACK, "going on", "  indented", "done"]) == [1, 2, 2, 2, 2, 6, 6, 8]
    chained = [*TRACEBACK, "", "During handling of the above exception, another exception occurred:", "", *TRACEBACK]
    assert set(events(chained)) == {1}
    assert events([*TRACEBACK, *TRACEBACK]) == [1, 1, 1, 1, 5, 5, 5, 5]


def test_lines_of_containers_have_the_headers_of_their_programs() -> None:
    at = "2026-11-22T20:08:58.172Z"
    lines = [
        f"{at} stdout P 2026-11-22 20:08:58,172 ERROR shop.cart: a long ",
        f"{at} stdout F message",
        f"{at} stderr F Traceback (most recent call last):",
        f'{at} stderr F   File "app.py", line 3, in <module>',
        f'{at} stdout F {{"level":"warn","msg":"slow","ms":17}}',
        f"{at} stdout F started",
    ]
    table = table_of(lines)
    assert table["event"].to_list() == [1, 1, 1, 1, 5, 6]
    assert table["level"].to_list() == ["error", None, None, None, "warning", None]
    assert table["component"][0] == "shop.cart"
    assert table["message"].to_list()[:2] + table["message"].to_list()[4:] == ["a long ", "message", "slow", "started"]
    assert table["fields"][4] == '{"ms":17}'
    assert set(table["time"]) == {datetime.datetime(2026, 11, 22, 20, 8, 58, 172000)}
    docker = [
        json.dumps({"log": text + "\n", "stream": "stderr", "time": at})
        for text in ("\x1b[31mERROR\x1b[0m: failed", "\tat a.b.C(D.java:1)", "Caused by: x", "next")
    ]
    table = table_of(docker)
    assert table["event"].to_list() == [1, 1, 1, 4]
    assert table["level"].to_list() == ["error", None, None, None]


def test_colours_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "coloured.log"
    path.write_bytes(
        b"\x1b[2m2026-11-22T20:08:58Z\x1b[0m \x1b[31;1mERROR\x1b[0m \x1b[38:5:1mshop::cart\x1b[m\x1b[K: lost\r\n"
    )
    assert read_table([path]).select("text", "level", "component", "message").row(0) == (
        "2026-11-22T20:08:58Z ERROR shop::cart: lost",
        "error",
        "shop::cart",
        "lost",
    )


def test_the_death_of_a_program_is_an_event_of_its_own() -> None:
    lines = [
        "2026/11/22 20:08:58 listening",
        "panic: runtime error: index out of range [3]",
        "",
        "goroutine 1 [running]:",
        "\t/app/main.go:42 +0x1b",
        "2026/11/22 20:08:59 listening",
        'Exception in thread "main" java.lang.IllegalStateException: no port',
        "\tat a.b.C(D.java:1)",
        "fatal error: concurrent map writes",
    ]
    for more in ([], [lines[0]] * 9):
        table = table_of(lines + more).head(len(lines))
        assert table["event"].to_list() == [1, 2, 2, 2, 2, 6, 7, 7, 9]
        assert table["level"].to_list() == [None, "fatal", None, None, None, None, "error", None, "fatal"]


def test_events_of_postgresql() -> None:
    head = "2026-11-22 20:02:11.123 UTC [211] shop@shop "
    other = "2026-11-22 20:02:11.123 UTC [99] "
    lines = [
        head + "ERROR:  duplicate key",
        head + "DETAIL:  Key (id)=(1) already exists.",
        head + "STATEMENT:  INSERT INTO a",
        "\tVALUES (1)",
        other + "LOG:  checkpoint starting",
        head + "STATEMENT:  of another process",
    ]
    assert events(lines) == [1, 1, 1, 1, 5, 6]


def test_a_first_line_that_continues_nothing() -> None:
    assert events(["  indented", "2026-11-22 10:00:00 INFO a: b", "2026-11-22 10:00:00 INFO a: c"]) == [1, 2, 3]


def test_hostile_lines_are_read_in_linear_time() -> None:
    for letter in ("a", "(", "1", " ", "[", ":", "a | "):
        table = table_of([letter * 1_000_000, "2026-11-22 10:00:00 INFO a: " + letter * 1_000_000])
        length = len(letter) * 1_000_000
        assert table["text"].str.len_chars().to_list() == [length, length + 28]
