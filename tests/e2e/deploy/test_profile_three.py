# SPDX-License-Identifier: Apache-2.0
"""Profile 3: a machine without a network signs what people carry in, and has nothing else that could carry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.systemd_box import systemd_box

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("systemd")]

HOME = Path("/var/lib/signwright")


def test_a_machine_without_a_network_is_found_to_be_an_air_gap(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    with systemd_box(tmp_path / "box") as box:
        said = box.signwright("init", "--home", HOME, "--profile", "3").stderr
        assert "sudo signwright install --home /var/lib/signwright --profile 3" in said
        box.signwright("install", "--profile", "3")
        box.run("systemctl", "start", "signwright.target")

        def doctor() -> str:
            return box.signwright("doctor", "--home", HOME, check=False).stdout

        wait_until(lambda: "release: ready" in doctor(), what="the signer", seconds=60)
        assert "found profile 3 (air gap)" in doctor()
        units = box.run("systemctl", "list-units", "--plain", "--no-legend", "signwright*").stdout
        assert {line.split()[0] for line in units.splitlines()} == {
            "signwright.target",
            "signwright-gate.service",
            "signwright-keyholder.service",
            "signwright-keyholder.socket",
            "signwright-courier.service",
            "signwright-tsa.service",
            "signwright-witness.service",
        }
