# SPDX-License-Identifier: Apache-2.0
"""The gate's state on disk: whatever is wrong with it is said, and nothing is taken for a beginning."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from signwright.errors import ConfigurationError, UnavailableError
from signwright.signer.gate.state import State, create_state, decode_frame, log_position

ROOT = "ab" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    create_state(tmp_path / "state", root_sha256=ROOT)
    return tmp_path / "state"


def edited(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def test_state_pins_its_root_and_is_not_made_twice(file: Path) -> None:
    state = State(file)
    assert state.pinned().root_sha256 == ROOT
    state.close()
    with pytest.raises(ConfigurationError, match="cannot be made") as refused:
        create_state(file, root_sha256="cd" * 32)
    assert refused.value.code == "state"


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"no database " * 1000)
    with pytest.raises(ConfigurationError) as refused:
        State(tmp_path / "state")
    assert refused.value.code == "state"


def test_state_of_another_version_is_refused(file: Path) -> None:
    edited(file, "PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="version 99"):
        State(file)


def test_state_that_pins_no_root_is_refused(file: Path) -> None:
    edited(file, "DELETE FROM pinned")
    state = State(file)
    with pytest.raises(ConfigurationError, match="pins no policy root"):
        state.pinned()
    state.close()


def test_failing_database_is_told_and_half_a_transaction_is_none(file: Path) -> None:
    state = State(file)
    with pytest.raises(UnavailableError) as refused:
        state.transaction([log_position(7, b"root"), ("INSERT INTO nothing VALUES (1)", ())])
    assert refused.value.code == "state"
    assert state.pinned().log_size == 0
    state.transaction([log_position(7, b"root")])
    assert state.pinned().log_size == 7
    edited(file, "DROP TABLE pinned")
    with pytest.raises(UnavailableError):
        state.pinned()
    state.close()


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x00\x05{}", None, "text", 7])
def test_stored_message_that_is_damaged_is_told(content: object) -> None:
    with pytest.raises(UnavailableError, match="a stored message is damaged"):
        decode_frame(content)
