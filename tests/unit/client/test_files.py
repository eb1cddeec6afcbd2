# SPDX-License-Identifier: Apache-2.0
"""Outputs appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from signwright.client.files import check_output, draft, hash_file, open_input, replace_file, write_private
from signwright.errors import SignwrightError, UsageError


def test_draft_that_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(RuntimeError), draft(target) as new:
        new.file.write(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_failing_disk_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with (
        pytest.raises(SignwrightError, match="nothing was written"),
        draft(target) as new,
        open("/dev/full", "wb") as full,
    ):
        new.file.write(b"new")
        full.write(b"x")
        full.flush()
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_replaced_file_keeps_its_permission_bits(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o640)
    replace_file(target, b"new")
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o640)


def test_secret_is_its_owners_alone(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"s")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_symbolic_link_folder_and_missing_folder_are_no_outputs(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path, code in (
        (tmp_path / "link", "symlink"),
        (tmp_path, "is-a-folder"),
        (tmp_path / "a" / "b", "no-output-folder"),
    ):
        with pytest.raises(UsageError) as refused:
            check_output(path)
        assert refused.value.code == code


def test_link_that_appears_while_writing_is_not_followed(tmp_path: Path) -> None:
    target, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_bytes(b"x")
    with pytest.raises(UsageError, match="symbolic link"), draft(target) as new:
        new.file.write(b"new")
        target.symlink_to(precious)
        new.publish()
    assert precious.read_bytes() == b"x"


def test_folder_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        open_input(tmp_path)


def test_pipe_is_no_input_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError) as refused:
        open_input(tmp_path / "pipe")
    assert refused.value.code == "not-a-file"


def test_digest_and_size_are_of_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    with open_input(file) as opened:
        opened.read(2)
        assert hash_file(opened) == ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3)


def test_replaced_file_does_not_inherit_setuid(tmp_path: Path) -> None:
    """The new file belongs to whoever runs the client, which may be root."""
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o6755)
    replace_file(target, b"new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
