# SPDX-License-Identifier: Apache-2.0
"""A container without systemd: ``install`` makes everything that it can, and says what nobody will start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.systemd_box import systemd_box

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("systemd")]

HOME = Path("/var/lib/signwright")


def test_install_says_what_it_did_not_do(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    with systemd_box(tmp_path / "box", managed=False) as box:
        early = box.signwright("install", "--profile", "1")
        assert f"no home in {HOME} yet: signwright init" in early.stderr
        box.signwright("init", "--home", HOME)
        refused = box.signwright("install", "--profile", "1", check=False)
        assert (refused.returncode, "freshness_hours 168; at most 24 in profile 1" in refused.stderr) == (1, True)
        box.run("rm", "-r", HOME)
        box.signwright("init", "--home", HOME, "--profile", "1")
        done = box.signwright("install", "--profile", "1")
        assert "systemd does not run here: units are written, and nothing starts them" in done.stderr
        assert "daemon" not in done.stderr
        state = box.run(
            "stat", "-c", "%U", HOME / "signer/keyholder/keyholder.sqlite3", HOME / "signer/gate/gate.sqlite3"
        )
        assert state.stdout.split() == ["signwright-keyholder", "signwright-gate"]
        assert '"changed": []' in box.signwright("install", "--profile", "1", "--output", "json").stdout
