# SPDX-License-Identifier: Apache-2.0
"""Serial numbers never come twice."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from signwright.errors import ConfigurationError
from signwright.tsa.serials import BLOCK, Serials


def test_numbers_go_up_without_end(tmp_path: Path) -> None:
    serials = Serials(tmp_path / "state", secrets.token_bytes)
    numbers = [serials.next_serial() for _ in range(2 * BLOCK + 3)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    serials.close()


def test_after_a_crash_numbers_are_skipped_and_never_repeated(tmp_path: Path) -> None:
    spent: set[int] = set()
    for _ in range(5):
        serials = Serials(tmp_path / "state", secrets.token_bytes)  # the one before was not told that it ends
        new = {serials.next_serial() for _ in range(7)}
        assert not spent & new
        spent |= new
        serials.close()


def test_two_processes_on_one_file_share_no_number(tmp_path: Path) -> None:
    one, other = (Serials(tmp_path / "state", secrets.token_bytes) for _ in range(2))
    drawn = [serials.next_serial() for _ in range(BLOCK + 5) for serials in (one, other)]
    assert len(set(drawn)) == len(drawn)
    one.close()
    other.close()


def test_the_start_is_random_and_positive(tmp_path: Path) -> None:
    for start in (bytes(8), b"\xff" * 8):
        serials = Serials(tmp_path / start.hex(), lambda length, start=start: start[:length])
        assert 0 < serials.next_serial() < 1 << 64
        serials.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"something else entirely" * 100)
    with pytest.raises(ConfigurationError):
        Serials(tmp_path / "state", secrets.token_bytes)
