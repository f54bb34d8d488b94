"""Folders that gateways hand to replicas: those of a gateway that is gone are removed, no other."""

import threading
from pathlib import Path

from loglore.cluster import replica, serving


def test_what_a_killed_gateway_left_goes_and_a_living_one_s_stays(tmp_path: Path) -> None:
    names = ("living", "gone", "gone-before-its-first-pulse")
    living, gone, _ = folders = [tmp_path / f"{serving.FOLDER}{name}" for name in names]
    other = tmp_path / "other"
    for folder in (*folders, other):
        folder.mkdir()
        (folder / replica.LOG).write_text("what the engine said")
    (gone / replica.PULSE).write_text("7")
    ended = threading.Event()

    def live() -> None:
        beats = 0
        while not ended.wait(0.01):
            beats += 1
            (living / replica.PULSE).write_text(str(beats))

    beating = threading.Thread(target=live)
    beating.start()
    try:
        serving.remove_abandoned(tmp_path, 0.5)
    finally:
        ended.set()
        beating.join()
    assert sorted(tmp_path.iterdir()) == [living, other]
