"""The made-up machine that the services run on: addresses, users, hosts and empty folders of its own."""

from __future__ import annotations

import os
import pwd
import socket
import stat
from pathlib import Path

import lab

# Made-up people with their passwords; sshd checks them against the private shadow file.
PEOPLE = {"alice": "wonder-4711", "bruno": "gran-torino-9", "carla": "vela-azul-3", "deploy": "ship-it-77"}
HOSTS = {
    "web01": 11,
    "lb01": 12,
    "app01": 13,
    "app02": 14,
    "db01": 15,
    "db02": 16,
    "cache01": 17,
    "gate01": 18,
    "iot01": 19,
    "ns01": 20,
    "proxy01": 21,
    "mail01": 22,
    "gw01": 23,
}
CLIENTS = [f"10.20.1.{number}" for number in range(31, 43)]
# Accounts that the Debian packages made; each keeps its ids, and its home moves to the private tree.
DAEMONS = (
    "www-data",
    "postgres",
    "mysql",
    "redis",
    "mosquitto",
    "bind",
    "proxy",
    "postfix",
    "sshd",
    "dnsmasq",
    "haproxy",
    "nobody",
    "man",
    "mail",
    "daemon",
    "postdrop",
)


def mount(*words: object) -> None:
    """Run the mount program."""
    lab.must(lab.run(["mount", *map(str, words)]))


def build(staging: Path, scripts: Path) -> None:
    """Turn the fresh namespaces into the made-up machine."""
    os.chdir("/")
    socket.sethostname("web01")
    keep_folders(staging, scripts)
    build_devices()
    for folder in ("/srv", "/run", "/tmp"):
        mount("-t", "tmpfs", "-o", "mode=1777" if folder == "/tmp" else "mode=755", "private", folder)
    lab.ROOT.mkdir()
    build_accounts(Path("/srv/etc"))
    build_network(Path("/srv/etc"))


def keep_folders(staging: Path, scripts: Path) -> None:
    """Bind the output and script folders under /mnt, for the private mounts may cover the places they lie in."""
    targets = {staging: Path("/mnt/out"), scripts: Path("/mnt/capture")}
    # The sources may lie under /mnt themselves, so they are opened before it is covered.
    handles = {os.open(source, os.O_PATH): target for source, target in targets.items()}
    mount("-t", "tmpfs", "private", "/mnt")
    for handle, target in handles.items():
        target.mkdir()
        mount("--bind", f"/proc/{os.getpid()}/fd/{handle}", target)


def build_devices() -> None:
    """Cover /dev with a private one, so that a system logger can put its socket there."""
    devices = ("null", "zero", "full", "random", "urandom", "tty")
    numbers = {name: Path(f"/dev/{name}").stat().st_rdev for name in devices}
    mount("-t", "tmpfs", "-o", "mode=755", "private", "/dev")
    for name, number in numbers.items():
        os.mknod(f"/dev/{name}", 0o666 | stat.S_IFCHR, number)
        Path(f"/dev/{name}").chmod(0o666)
    for folder, kind, options in (("pts", "devpts", "newinstance,ptmxmode=0666"), ("shm", "tmpfs", "mode=1777")):
        Path(f"/dev/{folder}").mkdir()
        mount("-t", kind, "-o", options, "private", f"/dev/{folder}")
    Path("/dev/ptmx").symlink_to("pts/ptmx")
    Path("/dev/fd").symlink_to("/proc/self/fd")


def build_accounts(folder: Path) -> None:
    """Cover the account files with ones that know the daemons and made-up people only."""
    folder.mkdir()
    users, groups, shadow = [], [], []
    for entry in [pwd.getpwuid(0), *filter(None, map(find_user, DAEMONS))]:
        shell = "/bin/sh" if entry.pw_uid == 0 else "/usr/sbin/nologin"
        users.append(f"{entry.pw_name}:x:{entry.pw_uid}:{entry.pw_gid}::/srv/home/{entry.pw_name}:{shell}")
        shadow.append(f"{entry.pw_name}:*:19800:0:99999:7:::")
    for uid, (name, password) in enumerate(PEOPLE.items(), 2001):
        hashed = lab.must(lab.run(["openssl", "passwd", "-6", "-salt", "loopback", password])).strip()
        users.append(f"{name}:x:{uid}:{uid}::/srv/home/{name}:/bin/sh")
        groups.append(f"{name}:x:{uid}:")
        shadow.append(f"{name}:{hashed}:19800:0:99999:7:::")
    groups.insert(0, Path("/etc/group").read_text(encoding="utf-8").rstrip("\n"))
    for name, lines in (("passwd", users), ("group", groups), ("shadow", shadow)):
        lab.write_file(folder / name, "\n".join(lines) + "\n", mode=0o600 if name == "shadow" else 0o644)
        mount("--bind", folder / name, f"/etc/{name}")
    for name in PEOPLE:
        lab.make_dir(Path("/srv/home") / name, name, 0o700)


def find_user(name: str) -> pwd.struct_passwd | None:
    """Return the account of that name, or None."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def build_network(folder: Path) -> None:
    """Bring up a loopback with private addresses and cover the name service files."""
    lines = ["127.0.0.1 localhost"]
    lines += [f"10.20.0.{number} {name}.shop.example {name}" for name, number in HOSTS.items()]
    lines += [f"{address} desk{address.rsplit('.', 1)[1]}.shop.example" for address in CLIENTS]
    lab.must(lab.run(["ip", "link", "set", "lo", "up"]))
    for address in [f"10.20.0.{number}" for number in HOSTS.values()] + CLIENTS:
        lab.must(lab.run(["ip", "address", "add", f"{address}/32", "dev", "lo"]))
    lab.write_file(folder / "hosts", "\n".join(lines) + "\n")
    lab.write_file(folder / "resolv.conf", "search shop.example\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    for name in ("hosts", "resolv.conf"):
        mount("--bind", folder / name, f"/etc/{name}")


def reap_until(worker: int) -> int:
    """Collect ended processes, as the first process of a namespace must, until the worker ends; return its status."""
    while True:
        pid, status = os.wait()
        if pid == worker:
            return os.waitstatus_to_exitcode(status)
