"""A database of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loglore.store.database import Database, open_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'test.db'}")
    yield opened
    opened.close()
