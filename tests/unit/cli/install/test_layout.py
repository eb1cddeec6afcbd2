# SPDX-License-Identifier: Apache-2.0
"""Which units, users and folders a profile has: no process may read another's secrets."""

from __future__ import annotations

import pytest

from signwright.cli.install import layout
from signwright.cli.install.layout import PROFILES, Profile


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest) -> Profile:
    return PROFILES[request.param]


def test_each_process_owns_one_folder_and_nobody_else_enters_it(profile: Profile) -> None:
    rows = {row.path: row for row in layout.ownership(profile)}
    for process in profile.processes:
        path = {"gate": "signer/gate", "keyholder": "signer/keyholder"}.get(process, process)
        assert (rows[path].owner, rows[path].mode) == (layout.user_of(process), 0o700)
    for path in ("credentials", "people", "keeper"):
        assert (rows[path].owner, rows[path].mode) == ("root", 0o700)


def test_settings_belong_to_root_alone(profile: Profile) -> None:
    rows = [row for row in layout.ownership(profile) if row.path.startswith(("settings", "policy"))]
    assert {row.owner for row in rows} == {"root"}
    assert not any(row.mode & 0o022 for row in rows)


def test_hub_and_signer_share_no_machine_in_profile_two() -> None:
    hub, signer = PROFILES["2-hub"], PROFILES["2-signer"]
    assert not set(hub.processes) & set(signer.processes)
    assert set(hub.processes) | set(signer.processes) == set(layout.PROCESSES)
    assert "signer/keyholder" in layout.secrets_below(hub)
    assert "hub" in layout.secrets_below(signer)


def test_between_the_sides_of_an_air_gap_only_the_courier_is_on_both() -> None:
    vault, outside = PROFILES["3"], PROFILES["3-hub"]
    assert set(vault.processes) & set(outside.processes) == {"courier"}
    assert set(vault.processes) | set(outside.processes) == set(layout.PROCESSES)
    assert "courier/courier.key" in layout.secrets_below(vault)
    assert "courier/vault.key" in layout.secrets_below(outside)
    assert "signer/keyholder" in layout.secrets_below(outside)


def test_in_a_vault_what_has_a_network_has_loopback_alone() -> None:
    dropins = dict(layout.vault_dropins())
    networked = {f"signwright-{name}.service" for name in ("courier", "tsa", "witness")}
    assert set(dropins) == networked
    for text in dropins.values():
        assert "PrivateNetwork=yes" in text
        assert "IPAddressDeny=any\nIPAddressAllow=localhost" in text
    assert sum("JoinsNamespaceOf=signwright-tsa.service" in text for text in dropins.values()) == 2


def test_a_socket_and_a_timer_bring_what_they_start() -> None:
    assert "signwright-keyholder.service" in PROFILES["1"].units
    assert "signwright-monitor.service" in PROFILES["1"].units
    assert "signwright-keyholder.service" not in PROFILES["1"].enabled


def test_folders_of_this_machine_take_the_place_of_the_usual_ones() -> None:
    text = (
        f"{layout.SIGNER_ENVIRONMENT}/bin/python {layout.ENVIRONMENT}/bin {layout.HOME}/x\n"
        f"NoExecPaths=/\nExecPaths=/usr/lib {layout.SIGNER_ENVIRONMENT}\n"
    )
    folders = {"home": "/h", "environment": "/e", "signer_environment": "/opt/signwright/s"}
    found = layout.rendered(text, **folders, interpreter="/opt/python")
    assert found == (
        "/opt/signwright/s/bin/python /e/bin /h/x\nNoExecPaths=/\nExecPaths=/opt/python /usr/lib /opt/signwright/s\n"
    )
    assert "ExecPaths=/usr/lib" in layout.rendered(text, **folders, interpreter="/usr/local")
