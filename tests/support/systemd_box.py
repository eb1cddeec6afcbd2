# SPDX-License-Identifier: Apache-2.0
"""A machine of one's own for tests: this one's files under an overlay that is thrown away, real systemd as process 1.

It has its own users, units, processes and network; whatever is done in it is gone with it. Needs root, overlayfs and
Debian's systemd; the programs that run in it are this machine's.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pytest

import signwright
from tests.support.processes import wait_until
from tests.support.tools import missing, require_file, require_tool
from tests.support.workers import worker_environment

SYSTEMD = "/lib/systemd/systemd"
CHECKOUT = Path(signwright.__file__).resolve().parents[2]
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
#: ``$1``: an empty folder; ``$2``: interpreter; ``$3``, ``$4``: packages of server and signer; ``$5``: our checkout.
BOOT = f"""
set -e
box=$1
mount --make-rprivate /
mount -t tmpfs tmpfs $box
mkdir $box/upper $box/work $box/root $box/u1 $box/w1 $box/u2 $box/w2
mount -t overlay overlay -o lowerdir=/,upperdir=$box/upper,workdir=$box/work $box/root
root=$box/root
mkdir -p $root/opt/signwright/bin $root/opt/signwright-signer/bin
for one in signwright:$3:1 signwright-signer:$4:2; do
    name=${{one%%:*}}; rest=${{one#*:}}; from=${{rest%:*}}; number=${{rest##*:}}
    mkdir -p $root/opt/$name/lib/{VERSION}/site-packages
    mount -t overlay overlay -o lowerdir=$from,upperdir=$box/u$number,workdir=$box/w$number \\
        $root/opt/$name/lib/{VERSION}/site-packages
    ln -s $2 $root/opt/$name/bin/python
    ln -s python $root/opt/$name/bin/python3
    printf 'home = %s\\ninclude-system-site-packages = false\\n' $(dirname $2) >$root/opt/$name/pyvenv.cfg
done
rm -f $root/opt/signwright/lib/{VERSION}/site-packages/*signwright*.pth
# The checkout may lie where the box has something else, in /tmp for one.
mkdir $root/opt/signwright-source
mount --bind $5 $root/opt/signwright-source
echo /opt/signwright-source/src >$root/opt/signwright/lib/{VERSION}/site-packages/signwright_source.pth
printf '#!/bin/sh\\nexec /opt/signwright/bin/python -P -m signwright.cli "$@"\\n' >$root/opt/signwright/bin/signwright
chmod 755 $root/opt/signwright/bin/signwright
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
for folder in run tmp var/tmp dev; do mount -t tmpfs tmpfs $root/$folder; done
chmod 1777 $root/tmp $root/var/tmp
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 $root/dev/${{node%:*}} c 1 ${{node#*:}}
done
mkdir $root/dev/pts $root/dev/shm
mount -t devpts devpts $root/dev/pts -o newinstance,ptmxmode=0666
mount -t tmpfs tmpfs $root/dev/shm
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
printf '[Unit]\\nDescription=box\\nWants=systemd-journald.service\\nAfter=systemd-journald.service\\n' \\
    >$root/etc/systemd/system/box.target
cd $root
pivot_root . mnt
umount -l /mnt
# As on a machine of its own; systemd hands credentials over by a mount that has to be seen elsewhere.
mount --make-rshared /
shift 5
exec env -i container=box PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""
_BOOTED = (SYSTEMD, "--unit=box.target", "--log-target=null")
#: A container as many know it: processes, and nothing that starts units.
_UNMANAGED = ("/usr/bin/sleep", "600")


@dataclass(frozen=True, slots=True)
class Box:
    """``pid``: systemd, as this machine sees it."""

    pid: int

    @property
    def root(self) -> Path:
        """The box's files, seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    def command(self, *words: str | Path) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", *map(str, words)]

    def run(self, *words: str | Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """A program in the box, as its root."""
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        done = subprocess.run(self.command(*words), env=path | variables, check=False, **quiet)
        assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def signwright(self, *words: str | Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("/opt/signwright/bin/signwright", *words, check=check, **variables)

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "-n", "40", "-u", unit, check=False).stdout


def require_box() -> None:
    """Skip without root, which no test can ask for; without the tools skip, or fail where they must be there."""
    if os.geteuid() != 0:
        pytest.skip("only root makes a machine of its own")
    require_tool("unshare", "util-linux")
    require_tool("nsenter", "util-linux")
    if not Path(SYSTEMD).exists():
        missing(f"{SYSTEMD} is not installed (Debian package systemd)")


def interpreter() -> Path:
    """One that other users can reach: ours, or, when ours lies in somebody's home, the system's of the same version."""
    ours = Path(sys.base_prefix) / "bin" / VERSION
    if not str(ours).startswith(("/root/", "/home/")):
        return ours
    return require_file(f"/usr/bin/{VERSION}", package="python3")


@contextmanager
def systemd_box(folder: Path, *, managed: bool = True) -> Iterator[Box]:
    """A booted box; ended by its pid. ``folder``: empty, for the overlay; ``managed``: systemd runs in it."""
    require_box()
    first = _BOOTED if managed else _UNMANAGED
    site = Path(pydantic.__file__).parents[1]
    signer = worker_environment() / "lib" / VERSION / "site-packages"
    flags = ["--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child"]
    words = ["sh", "-c", BOOT, "boot", folder, interpreter(), site, signer, CHECKOUT, *first]
    log = folder.with_name(f"{folder.name}.log")
    with ExitStack() as stack:
        # What one machine's systemd sets for a unit (no network) must not hold for the same unit of another machine.
        group = stack.enter_context(_control_group())
        begin = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec unshare "$@"', group, *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(map(str, [*begin, *words])), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        yield from _booted(process, log, program=Path(first[0]).name, managed=managed)


@contextmanager
def _control_group() -> Iterator[Path]:
    """A control group below our own, empty, and gone afterwards with all that was made in it."""
    mounts = [row.split() for row in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    mounted = next((row[1] for row in mounts if row[2] == "cgroup2"), None)
    own = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(encoding="utf-8"), re.MULTILINE)
    if mounted is None or own is None:
        missing("control groups of version 2 are not mounted")
    group = Path(mounted) / own[1] / f"signwright-box-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        yield group
    finally:
        wait_until(lambda: _removed(group), what="the end of a machine's processes", seconds=60)


def _removed(group: Path) -> bool:
    for below, _, _ in os.walk(group, topdown=False):
        try:
            Path(below).rmdir()
        except OSError:
            return False  # a process in it is still ending
    return True


def _booted(process: subprocess.Popen[bytes], log: Path, *, program: str, managed: bool) -> Iterator[Box]:
    try:
        wait_until(lambda: process.poll() is not None or _first_of(process.pid, program) is not None, what=program)
        if process.poll() is not None:
            refused = f"this kernel lets nobody make a machine: {log.read_text(encoding='utf-8')[-300:]}"
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(refused, pytrace=False)
            pytest.skip(refused)
        pid = _first_of(process.pid, program)
        assert pid is not None
        box = Box(pid)
        if managed:
            state = ("systemctl", "is-active", "box.target")
            wait_until(lambda: box.run(*state, check=False).stdout.strip() == "active", what="boot", seconds=60)
        try:
            yield box
        except BaseException:
            print(box.journal("signwright-*"))
            raise
    finally:
        # At once and by their numbers: everything in the box ends with its first process, and nothing in it is kept.
        first_pid = _first_of(process.pid, program)
        if first_pid is not None:
            os.kill(first_pid, signal.SIGKILL)
        process.kill()
        process.wait()


def _first_of(unshare: int, program: str) -> int | None:
    """The process that unshare forked, once it has become ``program``."""
    try:
        children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text(encoding="ascii").split()
        name = Path(f"/proc/{children[0]}/comm").read_text(encoding="ascii").strip() if children else ""
    except OSError:
        return None
    return int(children[0]) if name == program else None
