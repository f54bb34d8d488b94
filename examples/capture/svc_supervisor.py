"""Supervisor 4.2: a process manager with workers that exit, crash and hang."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from random import Random

from lab import ROOT, Recorder, make_dir, port_open, rng, run, send_bytes, spawn, stop, wait_until, write_file

HOME = ROOT / "supervisor"
PORT = 9001

CONFIG = f"""
[supervisord]
logfile={ROOT}/log/supervisor.log
logfile_maxbytes=0
loglevel={{level}}
pidfile={HOME}/supervisord.pid
childlogdir={HOME}
identifier=app02
minfds=64
minprocs=20
{{extra}}
[inet_http_server]
port=127.0.0.1:{PORT}
username=ops
password=night-shift
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=http://127.0.0.1:{PORT}
username=ops
password=night-shift
"""
# name -> shell script and options
WORKERS = {
    "mailer": ("echo mailer ready; exec sleep 600", ""),
    "indexer": ("trap 'echo indexer: stopping; exit 0' TERM; while sleep 0.2; do :; done", ""),
    "reports": ("sleep 1.3; exit 0", "autorestart=unexpected\n"),
    "thumbs": ("sleep 1.5; exit 3", "autorestart=unexpected\nstartretries=2\n"),
    "billing": ("echo 'no license' >&2; exit 2", "startretries=2\nautostart=false\n"),
    "stubborn": ("trap '' TERM; while sleep 0.2; do :; done", "stopwaitsecs=1\n"),
    "leaky": (
        "ulimit -v 60000; exec /usr/bin/python3 -c 'import time; time.sleep(1.2); x = bytearray(10**9)'",
        "autorestart=false\nautostart=false\n",
    ),
    "stocksync": ("exec sleep 600", "numprocs=3\nprocess_name=%(program_name)s_%(process_num)02d\n"),
}


def programs(workers: dict[str, tuple[str, str]]) -> str:
    """Return the configuration of the workers."""
    text = ""
    for name, (_, options) in workers.items():
        text += f"[program:{name}]\ncommand=/bin/sh {HOME}/{name}.sh\nuser=www-data\n{options}"
    return text


class Manager:
    """The process manager and its log; it writes its own log file."""

    def __init__(self) -> None:
        make_dir(HOME)
        make_dir(ROOT / "log", mode=0o777)
        for name, (script, _) in WORKERS.items():
            write_file(HOME / f"{name}.sh", script + "\n")
        self.log = Recorder("supervisor", "supervisor", ROOT / "log/supervisor.log")
        self.configure()
        self.start()

    def configure(self, more: str = "", level: str = "info", extra: str = "") -> None:
        """Write the configuration."""
        text = CONFIG.format(level=level, extra=extra) + programs(WORKERS) + more
        write_file(HOME / "supervisord.conf", text, mode=0o600)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the manager without waiting for it."""
        return spawn(["supervisord", "-n", "-s", "-c", HOME / "supervisord.conf"], host="app02", log=HOME / "stderr")

    def start(self) -> None:
        """Start the manager and wait until it answers."""
        self.process = self.launch()
        wait_until(lambda: port_open(PORT), "supervisord")

    def ctl(self, *words: str) -> str:
        """Run a control command."""
        return run(["supervisorctl", "-c", HOME / "supervisord.conf", *words], timeout=40).stdout


def ordinary_work(manager: Manager, random: Random) -> None:
    """Start, stop, signal and ask for the state of workers."""
    for _ in range(5):
        name = random.choice(("mailer", "indexer", "reports", "thumbs", "stocksync:stocksync_01", "stocksync:*"))
        manager.ctl(random.choice(("restart", "stop", "start")), name)
        manager.ctl("status")
    manager.ctl("signal", "HUP", "mailer")
    manager.ctl("start", "all")


def worker_faults(manager: Manager) -> None:
    """Workers that crash, refuse to stop, are missing or run out of memory."""
    log = manager.log
    with log.fault(
        "crash-loop",
        injected="worker billing was started, which ends at once with status 2",
        root_cause="billing ends with exit status 2 right after its start, so all retries fail.",
        evidence="gave up: billing entered FATAL state, too many start retries too quickly",
    ):
        manager.ctl("start", "billing")
        log.wait_text("gave up: billing")
    with log.fault(
        "killed-worker",
        injected="kill -9 of worker mailer",
        root_cause="mailer was killed by SIGKILL from outside; the manager started it again.",
        evidence="(terminated by SIGKILL; not expected)",
    ):
        os.kill(int(manager.ctl("pid", "mailer")), signal.SIGKILL)
        log.wait_text("success: mailer entered RUNNING state")
    with log.fault(
        "stubborn-stop",
        injected="worker stubborn, which ignores SIGTERM, was stopped",
        root_cause="stubborn ignores SIGTERM, so the manager killed it after stopwaitsecs.",
        evidence="killing 'stubborn'",
    ):
        manager.ctl("stop", "stubborn")
    with log.fault(
        "out-of-memory",
        injected="worker leaky asked for 1 GB under a limit of 60 MB address space",
        root_cause="leaky needs more memory than its limit allows and ends with status 1.",
        evidence="exited: leaky (exit status 1; not expected)",
    ):
        manager.ctl("start", "leaky")
        log.wait_text("exited: leaky")
    with log.fault(
        "missing-script",
        injected="the script of worker reports was removed and the worker restarted",
        root_cause="The script of reports does not exist, so the shell ends with status 2 (or 127).",
        evidence="gave up: reports entered FATAL state",
    ):
        manager.ctl("stop", "reports")
        (HOME / "reports.sh").unlink()
        manager.ctl("start", "reports")
        log.wait_text("gave up: reports")
        write_file(HOME / "reports.sh", WORKERS["reports"][0] + "\n")


def program_faults(manager: Manager) -> None:
    """Programs whose configuration cannot work."""
    log = manager.log
    write_file(HOME / "noexec.sh", "#!/bin/sh\nexit 0\n")
    broken = {
        "missing-command": (
            "[program:ghost]\ncommand=/opt/ghost/bin/ghost\nstartretries=1\n",
            "can't find command '/opt/ghost/bin/ghost'",
            "The program of worker ghost is not installed.",
        ),
        "command-permission": (
            f"[program:sealed]\ncommand={HOME}/noexec.sh\nstartretries=1\n",
            f"command at '{HOME}/noexec.sh' is not executable",
            "The program file is not executable.",
        ),
        "missing-folder": (
            "[program:lost]\ncommand=/bin/sleep 9\ndirectory=/srv/shop/nowhere\nstartretries=1\n",
            "gave up: lost entered FATAL state",
            "The working directory of worker lost does not exist.",
        ),
        "bad-interpreter": (
            f"[program:script]\ncommand={HOME}/bad.sh\nstartretries=1\n",
            "gave up: script entered FATAL state",
            "The interpreter of the script does not exist.",
        ),
    }
    write_file(HOME / "bad.sh", "#!/opt/missing/bash\n", mode=0o755)
    added = ""
    for slug, (section, evidence, cause) in broken.items():
        added += section
        with log.fault(
            slug, injected="a worker was added: " + section.replace("\n", "; "), root_cause=cause, evidence=evidence
        ):
            manager.configure(added)
            manager.ctl("update")
            log.wait_text("gave up")
    manager.configure()
    manager.ctl("update")


def debug_period(manager: Manager) -> None:
    """Log at debug level for a while, and send broken requests to the control port."""
    stop(manager.process)
    manager.configure(level="debug")
    manager.start()
    manager.ctl("status")
    manager.ctl("tail", "mailer")
    for url in ("/RPC2", "/nosuch", "/logtail/ghost"):
        run(["curl", "-s", "-m", "5", "-u", "ops:night-shift", "-d", "<methodCall>", f"http://127.0.0.1:{PORT}{url}"])
    run(["curl", "-s", "-m", "5", "-u", "ops:wrong", f"http://127.0.0.1:{PORT}/"])
    send_bytes(PORT, b"NONSENSE\r\n\r\n")
    stop(manager.process)
    manager.configure()
    manager.start()


def start_faults(manager: Manager) -> None:
    """A killed manager and starts that fail or warn."""
    log = manager.log
    with log.fault(
        "killed-manager",
        injected="kill -9 of the manager, then a start while its pid file still lay there",
        root_cause="The manager was killed by SIGKILL and left its workers and its pid file behind.",
        evidence="supervisord started with pid",
    ):
        stop(manager.process, signal.SIGKILL)
        manager.start()
    with log.fault(
        "pidfile-is-folder",
        injected="a restart with a folder in the place of the pid file",
        root_cause="The configured pid file is a folder, so the manager cannot write it.",
        evidence="could not write pidfile",
    ):
        stop(manager.process)
        manager.configure()
        text = (HOME / "supervisord.conf").read_text().replace(f"{HOME}/supervisord.pid", f"{make_dir(HOME / 'run')}")
        write_file(HOME / "supervisord.conf", text, mode=0o600)
        manager.start()
        stop(manager.process)
        manager.configure()
    manager.start()


def capture() -> list[Recorder]:
    """Run the process manager scenario and return its log."""
    random = rng("supervisor")
    manager = Manager()
    time.sleep(2.5)  # workers that end by themselves do so a few times
    ordinary_work(manager, random)
    worker_faults(manager)
    program_faults(manager)
    debug_period(manager)
    start_faults(manager)
    ordinary_work(manager, random)
    stop(manager.process)
    return [manager.log]
