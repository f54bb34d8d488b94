from pathlib import Path

import pytest
from support_logs import LOGS


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file for each of `LOGS`."""
    folder = tmp_path_factory.mktemp("logs")
    for name, text in LOGS.items():
        (folder / f"{name}.log").write_text(text, encoding="utf-8")
    return folder
