"""Runs a foreign server that knows nothing of us: `python -m loglore.serve.keeper PARENT COMMAND…`.

The command gets a process group of its own; the group is ended when standard input ends or PARENT is gone, and this
process ends with the command's status when the command ends by itself. So no server outlives its session, also when a
terminal's Ctrl-C or `timeout` ends this process's own group: such signals end the command first. Should this process
be killed, the kernel ends the command.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

from loglore.export.tool import die_with_parent

LOOK_INTERVAL_S = 0.2
# Less than `engine.STOP_TIMEOUT_S`, after which this process itself is killed.
STOP_TIMEOUT_S = 2.0


def main(parent: str, *command: str) -> None:
    """Run `command` until it ends, or until nobody wants it."""
    told_to_end: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, as the command would inherit "ignored".
        signal.signal(number, lambda received, _: told_to_end.append(received))
    keeper = os.getpid()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(keeper),  # noqa: PLW1509
    )
    wanted = True
    while wanted and process.poll() is None:
        ready, _, _ = select.select([sys.stdin], [], [], LOOK_INTERVAL_S)
        at_end = bool(ready) and not os.read(sys.stdin.fileno(), 1)
        wanted = not at_end and not told_to_end and os.getppid() == int(parent)
    _end(process)
    sys.exit(process.returncode if wanted else 0)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the whole group to end, then make it."""
    for number, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + patience_s
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(LOOK_INTERVAL_S / 4)
        if process.poll() is not None and number == signal.SIGKILL:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
