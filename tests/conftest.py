"""What tests of several rooms share, made once a test run: a tiny random Llama, a PostgreSQL server, an S3 server."""

import gc
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support_disk import SmallDisk, runner
from support_postgresql import Cluster, binary, cluster
from support_tiny import build_llama

from loglore.store.database import Database, open_database

# No deadlines: on a shared machine a slow example says nothing about the code. In CI the same examples every time: what
# random ones find belongs to the day they are looked for, not to the next change that lands.
settings.register_profile("patient", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("patient")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tiny models gain nothing from threads, and threads of many processes on few cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell lets what it starts in the background ignore Ctrl-C, and so would all that tests start and stop with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever a test does not say: the data folder and database of the user who runs the tests are not its."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLORE_HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("LOGLORE_DATABASE", "LOGLORE_STORAGE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder: Llama, 2 layers, width 64, 512 tokens, random weights in float32."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    build_llama(folder, hidden=64, heads=4, positions=1024)
    # Accelerate collects garbage in every training; torch and transformers, imported by now, are none.
    gc.freeze()
    return folder


@pytest.fixture
def repository() -> Path:
    """The root of the checkout, for tests of recipes and examples."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A running server with a database `template` that has the tables."""
    if binary("initdb") is None and "CI" not in os.environ:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with tempfile.TemporaryDirectory(prefix="loglore-postgresql-") as place, cluster(Path(place)) as started:
        started.execute("create database template")
        open_database(started.url("template")).close()
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database of the test's own, once of each kind; on SQLite it is made when it is opened."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    server: Cluster = request.getfixturevalue("postgresql")
    name = f"test_{secrets.token_hex(6)}"
    server.execute(f"create database {name} template template")
    return server.url(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database of the test's own, once of each kind."""
    with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    """An open SQLite database of the test's own, for what cannot depend on its kind."""
    with open_database(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of a running S3 server (moto's)."""
    moto_server = pytest.importorskip("moto.server")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an empty bucket, with the environment that leads to it."""
    s3fs = pytest.importorskip("s3fs")
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"test-{secrets.token_hex(6)}"
    s3fs.S3FileSystem().mkdir(bucket)
    return bucket


@pytest.fixture
def small_disk(tmp_path: Path) -> SmallDisk:
    """Runs commands that are given the folder of a small disk as their last argument."""
    return runner(tmp_path)
