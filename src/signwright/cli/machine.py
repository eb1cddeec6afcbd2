# SPDX-License-Identifier: Apache-2.0
"""What can be seen of the machine under an installation: users, units, network, memory, clock. It changes nothing.

Everything comes from files below ``/proc``, ``/sys``, ``/run`` and ``/etc`` and from two programs; what cannot be found
out is None, never a guess.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signwright.cli.install.host import has_user, systemd_runs
from signwright.cli.install.layout import PROCESSES, user_of

ASK_SECONDS = 15
#: State 0A of /proc/net/tcp: listening. Addresses of loopback as the kernel writes them, by their beginning or end.
_LISTENING = "0A"
_LOOPBACK4_END, _LOOPBACK6 = "7F", "00000000000000000000000001000000"
_MAPPED_LOOPBACK6 = "0000000000000000FFFF0000"


@dataclass(frozen=True, slots=True)
class Machine:
    """``active``: our units that are; ``open_ports``: TCP and UDP, heard from elsewhere; ``interfaces``: up, but
    loopback; ``swap``: devices that are not memory; ``cores``: where memory of crashed programs goes, empty: nowhere.

    None: could not be found out.
    """

    users: frozenset[str]
    systemd: bool
    active: frozenset[str]
    firewall: bool | None
    open_ports: tuple[int, ...]
    interfaces: tuple[str, ...]
    swap: tuple[str, ...]
    cores: str
    clock_synchronised: bool | None


def look(root: Path = Path("/")) -> Machine:
    """This machine, now. ``root``: where its ``/proc`` and ``/sys`` are."""
    return Machine(
        users=frozenset(user_of(process) for process in PROCESSES if has_user(user_of(process))),
        systemd=systemd_runs(),
        active=frozenset(_active_units()),
        firewall=_firewall(),
        open_ports=tuple(sorted(set(open_ports(root / "proc/net")))),
        interfaces=tuple(_interfaces(root / "sys/class/net")),
        swap=tuple(_swap(root / "proc/swaps")),
        cores=_text(root / "proc/sys/kernel/core_pattern"),
        clock_synchronised=_clock(),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _ask(*command: str) -> str | None:
    """A program's stdout; None when it is not here, fails or takes too long."""
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        return None
    try:
        words = [program, *command[1:]]
        done = subprocess.run(words, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def journal(unit: str) -> list[str]:
    """What a unit has said since the machine started, newest last; empty where there is no journal for us."""
    return (
        _ask("journalctl", "--no-pager", "--boot", "--output=cat", "--lines=2000", f"--unit={unit}") or ""
    ).splitlines()


def _active_units() -> Iterator[str]:
    said = _ask("systemctl", "list-units", "--state=active", "--plain", "--no-legend", "signwright*")
    yield from (line.split()[0] for line in (said or "").splitlines() if line.strip())


def _firewall() -> bool | None:
    """Our table is loaded. Only root may ask."""
    said = _ask("nft", "list", "table", "inet", "signwright")
    if said is None:
        return None if shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin") is None else False
    return "policy drop" in said


def open_ports(folder: Path) -> Iterator[int]:
    """Ports on which something listens that another machine could reach (proc_net_tcp.txt of the kernel)."""
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in _text(folder / name).splitlines()[1:]:
            words = line.split()
            address, _, port = words[1].partition(":")
            if name.startswith("tcp") and words[3] != _LISTENING:
                continue
            if name.startswith("udp") and not words[2].endswith(":0000"):
                continue  # a connection of our own
            if not _is_loopback(address):
                yield int(port, 16)


def _is_loopback(address: str) -> bool:
    if len(address) == 8:
        return address.endswith(_LOOPBACK4_END)
    return address == _LOOPBACK6 or (address.startswith(_MAPPED_LOOPBACK6) and address.endswith(_LOOPBACK4_END))


def _interfaces(folder: Path) -> Iterator[str]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return
    for name in names:
        if (
            name != "lo"
            and _text(folder / name / "operstate") not in ("down", "notpresent", "")
            and name != "bonding_masters"
        ):
            yield name


def _swap(file: Path) -> Iterator[str]:
    """Compressed memory is memory; a file or a partition keeps what was in memory."""
    for line in _text(file).splitlines()[1:]:
        name = line.split()[0]
        if not name.startswith("/dev/zram"):
            yield name


def _clock() -> bool | None:
    """Whether the clock is steered by a time service."""
    said = _ask("timedatectl", "show", "-P", "NTPSynchronized")
    if said is not None and said.strip() in ("yes", "no"):
        return said.strip() == "yes"
    return None
