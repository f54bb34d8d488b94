"""A process on the cluster ends when nobody waits for it any more, or when its run is another attempt's."""

import subprocess
import sys
from pathlib import Path

from loglore.cluster import order
from loglore.cluster.order import Order
from loglore.jobs.process import ORPHANED

WATCHED = """
import sys
from pathlib import Path
from loglore.cluster import pulse
from loglore.cluster.order import Order
from loglore.cluster.places import Shared
Shared.every_s = 0.02
asked = Order("prepare", {}, 0, 0, 1, 0.3, "/nowhere", "mine")
pulse.watch(Shared(Path(sys.argv[1])), asked, lambda: print("saves", flush=True))
"""


def ended(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WATCHED, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_silence_ends_it_after_it_was_asked_to_save(tmp_path: Path) -> None:
    (tmp_path / order.FOLDER).mkdir()
    # With a last pulse, and with none: who submitted it may have died before the first.
    for said in ("1", None):
        if said:
            (tmp_path / order.FOLDER / order.PULSE).write_text(said)
        done = ended(tmp_path)
        assert (done.returncode, done.stdout) == (ORPHANED, "saves\n")
        assert done.stderr == "no sign of life from the submitting side: the job ends here\n"
        (tmp_path / order.FOLDER / order.PULSE).unlink(missing_ok=True)


def test_another_attempt_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / order.FOLDER).mkdir()
    Order("prepare", {}, 0, 0, 1, 0.3, "/nowhere", "theirs").write(tmp_path / order.FOLDER)
    done = ended(tmp_path)
    assert (done.returncode, done.stdout) == (ORPHANED, "")
    assert done.stderr == "another attempt at this run has begun: the job ends here\n"
