# SPDX-License-Identifier: Apache-2.0
"""A certification request from a signing key: keepers ask, the log has it, openssl accepts it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from signwright.client.ssh_keys import make_key_files
from tests.support.homes import RunningHome
from tests.support.processes import wait_until
from tests.support.tools import require_tool

WHO = ("--common-name", "Five People Software", "--organisation", "Five People Ltd", "--country", "AT")


def csr(home: RunningHome, *arguments: object, key: str = "test") -> list[object]:
    return ["key", "csr", "--home", home.folder, "--key", key, *WHO, "--yes", *arguments]


def keeper(home: RunningHome) -> Path:
    return home.folder / "keeper" / "keeper"


def leaves_of(home: RunningHome, statement: str, first: int) -> list[dict[str, object]]:
    """What the log has of one key operation, once its files are published."""
    found: list[dict[str, object]] = []

    def both() -> bool:
        shown = home.cli("log", "show", "--from", first, "--output", "json")
        if shown.code != 0:
            assert "no leaf" in shown.err, shown.err  # its files are published after it was cosigned
            return False
        found[:] = [row for row in shown.json["leaves"] if statement in (row.get("statement"), row.get("request"))]
        return len(found) >= 2

    wait_until(both, what="both leaves", seconds=30)
    return found


def subject_of(file: Path) -> str:
    """What openssl says after it has verified the request's own signature."""
    openssl = str(require_tool("openssl", "openssl"))
    command = [openssl, "req", "-in", str(file), "-verify", "-noout", "-subject", "-nameopt", "RFC2253"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "verify OK" in done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("key", ["test", "release"])
def test_software_key_makes_a_request_that_openssl_accepts_and_the_log_has(
    home: RunningHome, tmp_path: Path, key: str
) -> None:
    out = tmp_path / "r.csr"
    ran = home.cli(*csr(home, "--keeper", keeper(home), "-o", out, "--output", "json", key=key))
    assert ran.code == 0, ran.err
    assert f"the {key} key {key}: country 'AT', organisation 'Five People Ltd', common-name" in ran.err
    assert "CN=Five People Software,O=Five People Ltd,C=AT" in subject_of(out)
    said = ran.json
    operation, ended = leaves_of(home, said["statement"], said["leaf"])
    assert (operation["type"], operation["operation"], operation["index"]) == ("key-operation", "csr", said["leaf"])
    assert (ended["type"], ended["outcome"], ended["intent"]) == ("result", "signed", said["leaf"])


def test_statement_travels_between_two_machines_in_a_file(home: RunningHome, tmp_path: Path) -> None:
    begun, out = tmp_path / "operation.json", tmp_path / "r.csr"
    assert home.cli(*csr(home, "--sign-only", begun)).code == 0
    common = ["key", "csr", "--home", home.folder, "--yes"]
    early = home.cli(*common, "--from", begun, "-o", out)
    assert early.code == 3
    assert "0 of 1 signed (nobody)" in early.err
    signed = home.cli(*common, "--sign-only", begun, "--keeper", keeper(home))
    assert signed.code == 0, signed.err
    assert "1 of 1 signed" in signed.out
    changed = home.cli(*common, "--from", begun, "--common-name", "Mallory", "-o", out)
    assert changed.code == 2
    assert home.cli(*common, "--from", begun, "-o", out).code == 0
    assert "CN=Five People Software" in subject_of(out)
    out.unlink()
    again = home.cli(*common, "--from", begun, "-o", out)
    assert again.code == 3
    assert "attempts were made on this key operation" in again.err
    assert not out.exists()


def test_stranger_and_raw_key_get_no_request(home: RunningHome, tmp_path: Path) -> None:
    make_key_files(tmp_path / "mallory", comment="mallory")
    out = tmp_path / "r.csr"
    stranger = home.cli(*csr(home, "--keeper", tmp_path / "mallory", "-o", out))
    assert stranger.code == 3
    assert "is not a policy keeper's" in stranger.err
    raw = home.cli(*csr(home, "--keeper", keeper(home), "-o", out, key="test-raw"))
    assert raw.code == 3
    assert "raw key" in raw.err
    unknown = home.cli(*csr(home, "--keeper", keeper(home), "-o", out, key="nobody"))
    assert unknown.code == 3
    assert not out.exists()
