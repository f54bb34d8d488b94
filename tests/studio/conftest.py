"""Fixtures of this room, and those shared with others."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_pages import SHOWN, Hub, add_jobs, api_of
from support_serving import tiny_gguf
from support_studio import served
from support_workshop import workshop

from loglore.hub import models
from loglore.store.database import open_database

__all__ = ["hub", "served", "tiny_gguf", "workshop"]


@pytest.fixture(scope="package")
def hub(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """An API with the model `tiny@1`, a log `app.log`, and `SHOWN` jobs that ended long ago."""
    root = tmp_path_factory.mktemp("hub")
    (root / "logs").mkdir()
    (root / "logs" / "app.log").write_text("".join(f"2026-03-01 10:00:{n:02} ERROR disk {n} full\n" for n in range(60)))
    home = root / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLORE_HOME", str(home))
        models.add("tiny", tiny_model, {"from": "test"})
    with contextlib.closing(open_database(f"sqlite:///{home / 'loglore.db'}")) as database:
        jobs = add_jobs(database, home, SHOWN)
    with api_of(home, root / "logs", jobs, LOGLORE_PRIVATE_ENDPOINTS="1") as running:
        yield running
