# SPDX-License-Identifier: Apache-2.0
"""The shipped units: systemd reads them, finds little to say against them, and each gives up what it does not need."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from signwright.cli.install import layout
from signwright.cli.install.layout import PROFILES
from tests.support.source_tree import ROOT
from tests.support.tools import require_tool

UNITS = ROOT / "deploy" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
#: Highest exposure that `systemd-analyze security` may find: 0 is nothing, 10 is everything.
EXPOSURE = {
    "signwright-gate.service": 1.0,  # the format workers run in it
    "signwright-keyholder.service": 1.0,
    "signwright-scanner.service": 1.0,
    "signwright-firewall.service": 3.0,  # sets the rules of the network: needs that one privilege
}
OTHERS = 2.0
INSIDE = ("signwright-gate.service", "signwright-keyholder.service", "signwright-scanner.service")
EVERYWHERE = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "LimitCORE": "0",
    "RestrictNamespaces": "yes",
    "SystemCallArchitectures": "native",
    "StandardInput": "null",
}


def settings_of(unit: str) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text(encoding="utf-8").splitlines():
        name, mark, value = line.partition("=")
        if mark and not line.startswith("#"):
            rows.setdefault(name, []).append(value)
    return rows


@pytest.fixture
def placed(tmp_path: Path) -> Path:
    """The units as on a machine where their programs exist."""
    python = require_tool("true")
    for path in [*UNITS.iterdir(), *UNITS.parent.joinpath("examples").glob("*.[st]*")]:
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^ExecStart=\S+", f"ExecStart={python}", text, flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    return tmp_path


def test_systemd_reads_every_unit_without_a_word(placed: Path) -> None:
    analyze = require_tool("systemd-analyze", "systemd")
    done = subprocess.run(
        [analyze, "verify", "--man=no", *sorted(map(str, placed.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_reads_what_a_vault_adds_without_a_word(placed: Path) -> None:
    analyze = require_tool("systemd-analyze", "systemd")
    for unit, text in layout.vault_dropins():
        folder = placed / f"{unit}.d"
        folder.mkdir()
        (folder / "20-vault.conf").write_text(text, encoding="utf-8")
    units = [str(placed / unit) for unit, _ in layout.vault_dropins()]
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_unit_with_a_mistake_is_noticed(placed: Path) -> None:
    analyze = require_tool("systemd-analyze", "systemd")
    unit = placed / "signwright-gate.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("PrivateNetwork=", "PrivateNetworks="), encoding="utf-8")
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert "PrivateNetworks" in done.stderr


@pytest.mark.parametrize("unit", SERVICES)
def test_exposure_stays_below_its_threshold(unit: str) -> None:
    analyze = require_tool("systemd-analyze", "systemd")
    command = [analyze, "security", "--offline=true", "--no-pager", str(UNITS / unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found, said
    assert float(found[1]) <= EXPOSURE.get(unit, OTHERS), said


@pytest.mark.parametrize("unit", SERVICES)
def test_every_unit_gives_up_what_nobody_needs(unit: str) -> None:
    found = settings_of(unit)
    for name, value in EVERYWHERE.items():
        assert found.get(name) == [value], name
    if unit != "signwright-firewall.service":
        assert found["CapabilityBoundingSet"] == [""]
        assert found["NoExecPaths"] == ["/"]


@pytest.mark.parametrize("unit", INSIDE)
def test_whoever_parses_or_signs_has_no_network(unit: str) -> None:
    found = settings_of(unit)
    assert found["PrivateNetwork"] == ["yes"]
    assert found["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert found["IPAddressDeny"] == ["any"]


def test_one_user_for_each_process_and_none_is_root() -> None:
    users = {unit: settings_of(unit).get("User") for unit in SERVICES if unit != "signwright-firewall.service"}
    assert None not in users.values()
    assert len({str(user) for user in users.values()}) == len(users)
    assert ["root"] not in users.values()


def test_memory_is_never_writable_and_executable_but_where_rules_are_compiled() -> None:
    loose = [unit for unit in SERVICES if settings_of(unit)["MemoryDenyWriteExecute"] != ["yes"]]
    assert loose == ["signwright-scanner.service"]


def test_devices_are_closed_to_everyone() -> None:
    for unit in SERVICES:
        assert settings_of(unit)["PrivateDevices"] == ["yes"], unit
        assert "DeviceAllow" not in settings_of(unit), unit
    token = (ROOT / "deploy/examples/usb-token.conf").read_text(encoding="utf-8")
    assert "DeviceAllow=char-usb_device rw" in token


def test_every_profile_names_units_that_are_shipped_and_users_that_are_made() -> None:
    users = (ROOT / "deploy/sysusers.d/signwright.conf").read_text(encoding="utf-8")
    for profile in PROFILES.values():
        for unit in profile.units:
            assert (UNITS / unit).is_file(), unit
        for process in profile.processes:
            assert f"u {layout.user_of(process)} " in users


def test_the_wheel_carries_what_install_needs(tmp_path: Path) -> None:
    import sys
    import zipfile

    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name.partition("/data/share/signwright/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*") if path.is_file()}
    assert wanted | {"requirements-signer.lock"} <= names
