# SPDX-License-Identifier: Apache-2.0
"""Which profile a machine really has: what is claimed does not count, and every missing thing is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from signwright.cli import machine, profiles
from signwright.cli.machine import Machine, open_ports
from signwright.cli.profiles import Installed

SIGNER = frozenset({"signwright-gate.service", "signwright-keyholder.service", "signwright-courier.service"})
#: A dedicated signer host as it should be.
HOST = Machine(
    users=frozenset({"signwright-gate", "signwright-keyholder", "signwright-courier"}),
    systemd=True,
    active=SIGNER,
    firewall=True,
    open_ports=(),
    interfaces=("eth0",),
    swap=(),
    cores="|/bin/false",
    clock_synchronised=True,
)
SETTINGS = Installed(claimed=2, users=True, sandbox=True, courier_away=True)
GAP = replace(HOST, interfaces=(), firewall=None)


def found(host: Machine = HOST, settings: Installed = SETTINGS) -> int:
    return profiles.found(list(profiles.needs(settings, host, None)))


def test_each_profile_is_found() -> None:
    assert found() == 2
    assert found(GAP) == 3
    assert found(replace(HOST, active=SIGNER | {"signwright-hub.service"})) == 1
    assert found(settings=replace(SETTINGS, users=False)) == 0


@pytest.mark.parametrize(
    ("host", "settings", "reached"),
    [
        ({"users": frozenset({"signwright-gate"})}, {}, 0),
        ({"active": SIGNER - {"signwright-gate.service"}}, {}, 0),
        ({"systemd": False}, {}, 0),
        ({}, {"courier_away": False}, 1),
        ({"firewall": False}, {}, 1),
        ({"firewall": None}, {}, 1),
        ({"open_ports": (22,)}, {}, 1),
        ({}, {"claimed": 3}, 2),
    ],
)
def test_one_missing_thing_is_a_lower_profile(host: dict[str, Any], settings: dict[str, Any], reached: int) -> None:
    assert found(replace(HOST, **host), replace(SETTINGS, **settings)) == reached


def test_what_is_missing_is_named() -> None:
    host = replace(HOST, open_ports=(22, 8460), swap=("/dev/sda2",), cores="core", firewall=None)
    rows = {need.text: need.met for need in profiles.needs(SETTINGS, host, None)}
    assert rows["nothing listens for other machines: 22, 8460"] is False
    assert rows["memory is not swapped to disk: /dev/sda2"] is False
    assert rows["crashed programs leave no memory in the file system (core_pattern core)"] is False
    unknown = [text for text, met in rows.items() if met is None]
    assert any("firewall" in text for text in unknown), "what could not be found out is no yes"


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:20FC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0B01A8C0:9C40 0101A8C0:01BB 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
"""
TCP6 = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A
   2: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A
"""
UDP = """  sl  local_address rem_address   st
   0: 00000000:0044 00000000:0000 07
   1: 0B01A8C0:9C41 0101A8C0:0035 01
   2: 0100007F:0035 00000000:0000 07
"""


def test_only_what_other_machines_could_reach_counts_as_open(tmp_path: Path) -> None:
    for name, text in (("tcp", TCP), ("tcp6", TCP6), ("udp", UDP)):
        (tmp_path / name).write_text(text, encoding="ascii")
    assert sorted(open_ports(tmp_path)) == [22, 68, 80]


def test_a_machine_is_read_from_its_files(tmp_path: Path) -> None:
    files = {
        "proc/swaps": "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 1\n/swap.img file 1 0 -2\n",
        "proc/sys/kernel/core_pattern": "core\n",
        "proc/net/tcp": TCP,
        "sys/class/net/lo/operstate": "unknown\n",
        "sys/class/net/eth0/operstate": "up\n",
        "sys/class/net/eth1/operstate": "down\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    seen = machine.look(tmp_path)
    assert (seen.swap, seen.cores, seen.open_ports, seen.interfaces) == (("/swap.img",), "core", (22,), ("eth0",))


def test_a_machine_without_any_of_it_is_no_error(tmp_path: Path) -> None:
    seen = machine.look(tmp_path)
    assert (seen.swap, seen.cores, seen.open_ports, seen.interfaces) == ((), "", (), ())
