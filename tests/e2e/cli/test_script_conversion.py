# SPDX-License-Identifier: Apache-2.0
"""A script that Windows could read in two ways, through the whole cycle: refused, or rewritten where it was asked for.

The service derives the rewritten text from the approved source itself, in artifact mode; in digest mode the client
does. The signed file is then the conversion of that source and its block, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.homes import RunningHome, running_home
from tests.support.script_vectors import CONVERTED

FILES = {"powershell": "ps1", "vbscript": "vbs", "jscript": "js", "wsf": "wsf"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("scripts")
    with running_home(folder / "h", folder / "state") as running:
        yield running


def test_a_script_is_refused_with_the_fix_named(home: RunningHome, tmp_path: Path) -> None:
    file = tmp_path / "a.ps1"
    file.write_bytes(CONVERTED["powershell"]["lf"][0])
    ran = home.cli("sign", file, "--in-place", "--policy", "default/test")
    assert ran.code == 9
    assert "line ends are lf" in ran.err
    assert "convert" in ran.err
    assert file.read_bytes() == CONVERTED["powershell"]["lf"][0]


@pytest.mark.parametrize("family", FILES)
def test_a_rewritten_script_is_signed_and_verified(home: RunningHome, tmp_path: Path, family: str) -> None:
    source, target = CONVERTED[family]["utf8-without-mark"]
    file, out = tmp_path / f"a.{FILES[family]}", tmp_path / f"signed.{FILES[family]}"
    file.write_bytes(source)
    ran = home.cli("sign", file, "-o", out, "--policy", "default/test", "--option", "convert=yes")
    assert ran.code == 0, ran.err
    assert home.cli("verify", out).code == 0
    assert home.cli("remove", out, "--in-place").code == 0
    assert out.read_bytes() == target


def test_a_signature_over_such_text_is_replaced_by_one_that_holds(home: RunningHome, tmp_path: Path) -> None:
    """What tools without a policy made of a script with LF: not valid here, and mended on request."""
    file = tmp_path / "a.ps1"
    file.write_bytes(CONVERTED["powershell"]["lf"][0])
    assert home.cli("sign", file, "--in-place", "--policy", "default/test", "--option", "convert=yes").code == 0
    signed = file.read_bytes()
    at = signed.index(b"\r\n# SIG")
    file.write_bytes(signed[:at].replace(b"\r\n", b"\n") + signed[at:])
    assert home.cli("verify", file).code == 8
    ran = home.cli(
        *("sign", file, "--in-place", "--policy", "default/test"),
        *("--option", "convert=yes", "--option", "existing=replace"),
    )
    assert ran.code == 0, ran.err
    assert home.cli("verify", file).code == 0
    assert file.read_bytes().startswith(CONVERTED["powershell"]["lf"][1] + b"\r\n# SIG # Begin")


def test_in_digest_mode_the_client_rewrites(home: RunningHome, tmp_path: Path) -> None:
    source, target = CONVERTED["powershell"]["utf8-without-mark-lf"]
    file = tmp_path / "a.ps1"
    file.write_bytes(source)
    ran = home.cli(
        "sign", file, "--in-place", "--mode", "digest", "--policy", "default/test", "--option", "convert=yes"
    )
    assert ran.code == 0, ran.err
    assert home.cli("verify", file).code == 0
    assert file.read_bytes().startswith(target + b"\r\n# SIG # Begin")
