# SPDX-License-Identifier: Apache-2.0
"""The table [users] of signer.toml: three users who exist, none of them root; and who is at a socket's other end."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from signwright.errors import ConfigurationError
from signwright.signer.users import MAX_SETTINGS, check_profile, demand_own_user, load_users, peer_user

NAMES = [row.pw_name for row in pwd.getpwall() if row.pw_uid != 0][:3]


def settings(folder: Path, **changes: str) -> Path:
    rows = {
        **{process: f'"{name}"' for process, name in zip(("gate", "keyholder", "courier"), NAMES, strict=True)},
        "operators": '["root"]',
        "keyholder_socket": '"/run/keyholder.sock"',
        **changes,
    }
    file = folder / "signer.toml"
    lines = [f"{name} = {value}" for name, value in rows.items() if value]
    file.write_text("[gate]\nprofile = 1\n\n[users]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_names_become_user_ids(tmp_path: Path) -> None:
    users = load_users(settings(tmp_path))
    assert users is not None
    assert [users.gate, users.keyholder, users.courier] == [pwd.getpwnam(name).pw_uid for name in NAMES]
    assert users.operators == {0}
    assert users.keyholder_socket == Path("/run/keyholder.sock")


def test_without_the_table_one_user_runs_all(tmp_path: Path) -> None:
    file = tmp_path / "signer.toml"
    file.write_text("[gate]\nprofile = 0\n", encoding="utf-8")
    assert load_users(file) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gate": '"nobody-has-this-name"'}, "no user 'nobody-has-this-name'"),
        ({"gate": f'"{NAMES[1]}"'}, "three users"),
        ({"courier": '"root"'}, "none of them root"),
        ({"operators": f'["{NAMES[0]}"]'}, "an operator must not be"),
        ({"gate": '"UPPER"'}, "gate"),
        ({"gate": "1000"}, "gate"),
        ({"keyholder_socket": '"run/relative.sock"'}, "keyholder_socket"),
        ({"courier": ""}, "courier"),
        ({"hub": '"root"'}, "hub"),
    ],
)
def test_anything_else_is_refused_and_named(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_users(settings(tmp_path, **changes))
    assert caught.value.code == "bad-settings"


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "signer.toml"
    file.write_bytes(b"[users\xff")
    with pytest.raises(ConfigurationError):
        load_users(file)


def test_the_kernel_tells_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_user(ours) == os.getuid()


def test_a_process_of_another_user_does_not_start() -> None:
    demand_own_user(os.getuid(), "gate")
    with pytest.raises(ConfigurationError, match="the gate runs as user") as caught:
        demand_own_user(os.getuid() + 1, "gate")
    assert caught.value.code == "wrong-user"


def test_one_user_for_everything_is_profile_zero(tmp_path: Path) -> None:
    check_profile(0, None)
    check_profile(3, load_users(settings(tmp_path)))
    with pytest.raises(ConfigurationError, match="one user runs every process, which is profile 0"):
        check_profile(1, None)


def test_endless_settings_are_not_read(tmp_path: Path) -> None:
    file = settings(tmp_path)
    line = "# " + "x" * 97 + "\n"
    content = file.read_text(encoding="utf-8")
    file.write_text(line * (MAX_SETTINGS // len(line) - 10) + content, encoding="utf-8")
    assert load_users(file) is not None
    file.write_text(line * (MAX_SETTINGS // len(line) + 1) + content, encoding="utf-8")
    with pytest.raises(ConfigurationError):
        load_users(file)
