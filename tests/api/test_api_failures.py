"""What a server says and does when its database is down, its disk is full, or somebody guesses keys."""

import contextlib
import os
import secrets
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn
from support_disk import SmallDisk
from support_postgresql import Cluster

from loglore.api import keyring as keyrings
from loglore.api.app import Parts, Studio, create_app
from loglore.api.house import House
from loglore.api.keyring import Keyring
from loglore.api.listening import bind, first_key
from loglore.api.serving import GatewayServer
from loglore.store import keys
from loglore.store.database import Database, open_database

HTTP = httpx2.Client(timeout=60)


@contextlib.contextmanager
def serving(database: Database, folder: Path, required: bool = False) -> Iterator[str]:
    """The studio's application in a thread; yields its URL."""
    bound = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    parts = Parts(House(database, f"{url}/v1", required), database, Keyring(database, required))
    app = create_app(parts, Studio(folder / "runs", folder / "logs"))
    server = GatewayServer(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    HTTP.get(f"{url}/health")
    yield url
    server.should_exit = True
    thread.join(20)
    bound.close()
    assert not thread.is_alive()


def test_a_database_that_is_down_is_503_and_back_by_itself(
    postgresql: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path))
    name = f"test_{secrets.token_hex(6)}"
    postgresql.execute(f"create database {name} template template")
    with open_database(postgresql.url(name)) as database, serving(database, tmp_path) as url:
        paths = ("/v1/fine_tuning/jobs", "/v1/evals", "/v1/files", "/v1/studio/datasets", "/v1/studio/audit")
        assert [HTTP.get(url + path).status_code for path in paths] == [200] * 5
        file = {"file": ("rows.jsonl", b'{"text": "x"}\n')}
        body = {"name": "e", "data_source_config": {"type": "custom", "item_schema": {}}, "testing_criteria": []}
        postgresql.stop()
        try:
            for path in paths:
                reply = HTTP.get(url + path)
                assert reply.status_code == 503, path
                assert reply.json()["error"]["code"] == "unavailable"
                assert reply.headers["Retry-After"]
            headers = {"Idempotency-Key": "k"}
            assert HTTP.post(f"{url}/v1/evals", json=body, headers=headers).status_code == 503
            assert HTTP.post(f"{url}/v1/files", files=file, data={"purpose": "evals"}).status_code == 503
            assert HTTP.get(f"{url}/health").status_code == 200
        finally:
            postgresql.start()
        assert [HTTP.get(url + path).status_code for path in paths] == [200] * 5
        assert HTTP.post(f"{url}/v1/files", files=file, data={"purpose": "evals"}).status_code == 200


FULL = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import os
disk = Path(sys.argv[3])
os.environ["LOGLORE_HOME"] = str(disk)
from test_api_failures import HTTP, serving
from loglore.store.database import open_database
with open_database("sqlite:///DATABASE") as database, serving(database, disk) as url:
    big = {"file": ("big.jsonl", b"x" * 3_000_000)}
    told = HTTP.post(f"{url}/v1/files", files=big, data={"purpose": "evals"})
    wish = {"filename": "a", "bytes": 9_000_000, "purpose": "evals", "mime_type": "text/plain"}
    begun = HTTP.post(f"{url}/v1/uploads", json=wish)
    small = HTTP.post(f"{url}/v1/files", files={"file": ("a.jsonl", b"x\\n")}, data={"purpose": "evals"})
    print(told.status_code, told.json()["error"]["code"], begun.status_code, small.status_code)
"""


def test_a_full_disk_is_507_and_nothing_is_kept(small_disk: SmallDisk, tmp_path: Path) -> None:
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    told = small_disk("2m", sys.executable, "-c", FULL.replace("DATABASE", str(tmp_path / "full.db")), *folders)
    assert told.split() == ["507", "disk_full", "507", "200"]


def test_a_spent_budget_is_429_that_no_client_repeats(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGLORE_BUDGET_USD_PER_MONTH", "0")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_text("2026-03-01 10:00:00 ERROR disk full\n" * 60)
    options = {"tasks": ["summary"], "test_chunks": 1, "validation_chunks": 0}
    options |= {"test_rows": 1, "validation_rows": 0, "train_rows": 1}
    teacher = {"url": "https://8.8.8.8/v1", "model": "m", "price_out": 1.0}
    with serving(sqlite_database, tmp_path) as url:
        body = {"logs": ["log:app.log"], "options": options}
        told = HTTP.post(f"{url}/v1/studio/synthesis", json={**body, "teacher": [teacher]})
        assert (told.status_code, told.json()["error"]["code"]) == (429, "insufficient_quota")
        assert told.headers["x-should-retry"] == "false"
        assert "$0.00 of $0.00" in told.json()["error"]["message"]
        # What costs nothing goes on.
        assert HTTP.post(f"{url}/v1/studio/synthesis", json=body).status_code == 201


def test_the_first_start_makes_one_admin_key(sqlite_database: Database) -> None:
    text = first_key(sqlite_database)
    assert text is not None
    (key,) = keys.keys(sqlite_database)
    assert key.matches(text)
    assert key.scopes == ("chat", "manage")
    assert first_key(sqlite_database) is None
    keys.revoke(sqlite_database, key.id, time.time())
    assert first_key(sqlite_database) is None


def test_a_chat_key_chats_and_manages_nothing(sqlite_database: Database, tmp_path: Path) -> None:
    _, chat = keys.create(sqlite_database, "chat", ["chat"], time.time())
    _, manage = keys.create(sqlite_database, "manage", ["manage"], time.time())
    with serving(sqlite_database, tmp_path, required=True) as url:
        routes = HTTP.get(f"{url}/openapi.json", headers={"Authorization": f"Bearer {chat}"}).json()["paths"]
        assert len(routes) > 50
        for path, methods in routes.items():
            for method in methods:
                asked = [
                    HTTP.request(method, url + path, headers={"Authorization": f"Bearer {key}"}).status_code
                    for key in (chat, manage, "nobody")
                ]
                if path == "/health":
                    assert asked == [200] * 3
                    continue
                needs_chat = path.startswith(("/v1/chat", "/v1/completions")) or (
                    path.startswith("/v1/models") and method == "get"
                )
                assert (asked[0] == 403) is not needs_chat, (method, path, asked)
                assert (asked[1] == 403) is needs_chat, (method, path, asked)
                assert asked[2] in (401, 429), (method, path, asked)


def test_keys_cannot_be_guessed_for_long(sqlite_database: Database, tmp_path: Path) -> None:
    _, good = keys.create(sqlite_database, "good", ["manage"], time.time())
    with serving(sqlite_database, tmp_path, required=True) as url:
        wrong = {"Authorization": f"Bearer {good}x"}
        told = [HTTP.get(f"{url}/v1/files", headers=wrong) for _ in range(keyrings.WRONG_PER_MINUTE + 5)]
        assert told[0].status_code == 401
        assert told[-1].status_code == 429
        assert int(told[-1].headers["Retry-After"]) >= 1


def test_no_secret_in_any_line_that_a_server_writes(tmp_path: Path) -> None:
    secret = secrets.token_hex(16)
    command = [sys.executable, "-m", "loglore.api", "--port", "0", "--until-eof", "--require-key"]
    command += ["--runs", str(tmp_path / "runs"), "--logs", str(tmp_path)]
    log = (tmp_path / "server.log").open("wb")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url, admin = (process.stdout.readline().decode().strip() for _ in range(2))
        # Made at the first start, to be copied to other machines.
        assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
        headers = {"Authorization": f"Bearer {admin}"}
        body = {"name": "s", "bucket": "logs", "key_id": "AK", "secret": secret}
        assert HTTP.post(f"{url}/v1/studio/connections", json=body, headers=headers).status_code == 201
        made = HTTP.post(f"{url}/v1/studio/keys", json={"name": "ci"}, headers=headers).json()["key"]
        for wrong in ({"name": secret}, [secret], secret, {"name": "s", "secret": {"x": secret}}):
            HTTP.post(f"{url}/v1/studio/connections", json=wrong, headers=headers)
        HTTP.get(f"{url}/v1/files", headers={"Authorization": f"Bearer {made}"})
        process.stdin.close()
        assert process.wait(20) == 0
    log.close()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.log"))
    for text in (secret, admin, made):
        assert text.encode() not in written
    # The database has hashes of keys, and the connection's secret sealed.
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("loglore.db*"))
    assert stored
    for text in (secret, admin, made):
        assert text.encode() not in stored


def environment(home: Path) -> dict[str, str]:
    found = {**os.environ, "LOGLORE_HOME": str(home)}
    found.pop("LOGLORE_DATABASE", None)
    return found
