"""A checkpoint's parts on machines that share no disk: each machine hands on its own, the leading one lists them.

    every other machine   checkpoints/checkpoint-N/… ──> the bucket          (`places`: on a path that all see, nothing)
    the leading one       parts.json: what is where; then the checkpoint is handed on as any folder, its mark last

The processes wait for each other, so that no checkpoint is ever listed before all of it is there.
"""

import os
import shutil
from pathlib import Path

from loglore.cluster.places import PARTS, Part, Shared
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.world import Follower

OF_LEADER = "trainer_state.json"  # the leading process alone writes it


class Leading(RunFolder):
    """The run folder of the leading process."""

    def __init__(self, place: Shared) -> None:
        super().__init__(place.folder, files.read_json(place.folder / "spec.json"))
        self.place = place

    def bring_together(self, folder: Path) -> None:
        """As `RunFolder.bring_together`: list what the others have handed on."""
        if self.place.everywhere:
            return
        found = {name: part for each in _told({}) for name, part in each.items()}
        if found:
            files.write_json(folder / PARTS, found)


class Following(Follower):
    """The run folder of another process."""

    def __init__(self, place: Shared) -> None:
        super().__init__(place.folder)
        self.place = place

    def bring_together(self, folder: Path) -> None:
        """As `RunFolder.bring_together`: hand on this machine's parts, if it is not the leading process's."""
        if self.place.everywhere:
            return
        sends = os.environ["LOCAL_RANK"] == "0" and not (folder / OF_LEADER).exists()
        _told(self.place.send_parts(folder) if sends else {})
        if sends:
            shutil.rmtree(folder, ignore_errors=True)


def _told(own: dict[str, Part]) -> list[dict[str, Part]]:
    """What every process has handed on, told to all of them."""
    import torch.distributed as dist

    found: list[dict[str, Part]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, own)
    return found
