# SPDX-License-Identifier: Apache-2.0
"""`init`, `up` and `down` where they are not expected: twice, on a taken port, in a moved home."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from signwright.cli.home import Home
from signwright.signer.gate.state import create_state
from signwright.signer.keyholder.state import State as KeyholderState
from tests.support.outages import Site, end, gone, made_home, start, up, verb


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A home that was made and does not run between the tests."""
    folder = tmp_path_factory.mktemp("start")
    return made_home(folder / "h", folder / "state")


def port_of(site: Site, process: str) -> int:
    found = re.search(
        r"^port = (\d+)$", (site.folder / "settings" / f"{process}.toml").read_text("utf-8"), re.MULTILINE
    )
    assert found is not None
    return int(found.group(1))


@pytest.mark.parametrize("process", ["hub", "witness", "tsa"])
def test_taken_port_is_named_and_nothing_is_left_running(site: Site, process: str) -> None:
    port = port_of(site, process)
    with socket.create_server(("127.0.0.1", port)):
        done = verb("up", "--home", site.folder, "--detach")
    assert done.returncode == 7, done.stderr
    assert process in done.stderr
    assert str(port) in done.stderr, done.stderr
    assert "in use" in done.stderr
    assert not list((site.folder / "run").glob("*.pid"))
    assert not site.look()


def _keyholder_alone(home: Home, root_sha256: str) -> None:
    KeyholderState(home / "signer/keyholder/keyholder.sqlite3", genesis=root_sha256)


def _gate_alone(home: Home, root_sha256: str) -> None:
    create_state(home / "signer/gate/gate.sqlite3", root_sha256=root_sha256)


@pytest.mark.parametrize("made", [_keyholder_alone, _gate_alone], ids=["keyholder", "gate"])
def test_first_start_that_failed_half_way_is_made_up_for(tmp_path: Path, made: Callable[[Home, str], None]) -> None:
    site = made_home(tmp_path / "h", tmp_path / "state")
    home = Home(site.folder)
    made(home, home.read().policy_root_sha256)
    with up(site):
        assert site.home.cli("sign", site.program(), "--in-place").code == 0
    assert not home.genesis.exists()


def test_up_twice_and_down_twice(site: Site) -> None:
    with up(site):
        lives = site.look()
        again = verb("up", "--home", site.folder, "--detach")
        assert (again.returncode, again.stdout) == (1, "")
        assert "is up already" in again.stderr
        assert all(life.goes_on for life in lives)
        assert site.home.cli("sign", site.program(), "--in-place").code == 0
    gone(lives)
    for _ in range(2):
        done = verb("down", "--home", site.folder)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "is not up" in done.stderr


def test_pid_file_of_a_machine_that_lost_power_is_no_home_that_is_up(site: Site) -> None:
    (site.folder / "run").mkdir(exist_ok=True)
    file = site.folder / "run" / "up.pid"
    file.write_text("1\n", encoding="ascii")
    done = verb("down", "--home", site.folder)
    file.unlink()
    assert done.returncode == 0, done.stderr
    assert "is not up" in done.stderr


def test_folder_that_is_no_home_is_a_usage_error(tmp_path: Path) -> None:
    for name in ("up", "down", "doctor"):
        done = verb(name, "--home", tmp_path)
        assert done.returncode == 2, done.stderr
        assert "not a home" in done.stderr


def test_init_into_a_home_changes_nothing(site: Site) -> None:
    before = {path: path.stat().st_mtime_ns for path in site.folder.rglob("*")}
    done = verb("init", "--home", site.folder)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in site.folder.rglob("*")} == before


def test_moved_home_does_not_start_and_says_so(site: Site) -> None:
    """Its settings name paths; another folder is another installation until an administrator has said so."""
    moved = site.folder.with_name("moved")
    shutil.move(site.folder, moved)
    try:
        done = verb("up", "--home", moved, "--detach")
        assert done.returncode == 1, done.stderr
        assert f"was made in {site.folder}" in done.stderr
        assert not list((moved / "run").glob("*.pid"))
    finally:
        shutil.move(moved, site.folder)
    start(site)
    end(site)
