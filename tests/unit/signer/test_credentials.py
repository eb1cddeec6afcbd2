# SPDX-License-Identifier: Apache-2.0
"""Credentials become files that the keyholder takes, and the same PIN is recognised after a restart."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from signwright.errors import ConfigurationError
from signwright.signer.credentials import MAX_CREDENTIAL, take_credentials


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    source, target = tmp_path / "given", tmp_path / "kept"
    source.mkdir()
    target.mkdir()
    return source, target, tmp_path / "salt"


def identity(file: Path) -> tuple[int, int]:
    """What the keyholder tells one version of a secret from the next by."""
    return file.stat().st_mtime_ns, file.stat().st_size


def test_each_is_copied_for_its_owner_only(folders: tuple[Path, Path, Path]) -> None:
    source, target, salt = folders
    for name, content in (("release.secret", b"1234\n"), ("test.secret", b"5678\n")):
        (source / name).write_bytes(content)
        (source / name).chmod(0o440)
    assert take_credentials(source, target, salt_file=salt) == 2
    assert (target / "release.secret").read_bytes() == b"1234\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()} == {0o400}
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600


def test_the_same_pin_has_the_same_identity_after_a_restart(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    source, target, salt = folders
    (source / "pin").write_bytes(b"1234\n")
    take_credentials(source, target, salt_file=salt)
    first = identity(target / "pin")
    again = tmp_path / "after-restart"
    again.mkdir()
    (source / "pin").unlink()
    (source / "pin").write_bytes(b"1234\n")
    take_credentials(source, again, salt_file=salt)
    assert identity(again / "pin") == first
    (source / "pin").write_bytes(b"1235\n")
    take_credentials(source, again, salt_file=salt)
    assert identity(again / "pin") != first


def test_the_identity_says_nothing_without_the_salt(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    source, target, salt = folders
    (source / "pin").write_bytes(b"1234\n")
    take_credentials(source, target, salt_file=salt)
    elsewhere = tmp_path / "another-machine"
    elsewhere.mkdir()
    take_credentials(source, elsewhere, salt_file=tmp_path / "another-salt")
    assert identity(elsewhere / "pin") != identity(target / "pin")


def test_one_that_is_too_long_is_refused(folders: tuple[Path, Path, Path]) -> None:
    source, target, salt = folders
    (source / "pin").write_bytes(b"1" * (MAX_CREDENTIAL + 1))
    with pytest.raises(ConfigurationError, match="pin: more than"):
        take_credentials(source, target, salt_file=salt)
    assert not list(target.iterdir())


def test_a_folder_that_is_not_there_is_refused(folders: tuple[Path, Path, Path]) -> None:
    _, target, salt = folders
    with pytest.raises(ConfigurationError) as caught:
        take_credentials(target / "nowhere", target, salt_file=salt)
    assert caught.value.code == "bad-credentials"
