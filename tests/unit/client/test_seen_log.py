# SPDX-License-Identifier: Apache-2.0
"""An approver's client remembers the log and refuses one that went back or was forked."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.client.seen_log import follow_log
from signwright.errors import ConfigurationError, VerificationError
from tests.support.logs import MemoryLog, trust_in, witness_key

TRUST = trust_in(witness_key("w1"), outside=1)


def leaves(count: int, mark: str = "") -> list[bytes]:
    return [f"leaf {mark}{number}".encode() for number in range(count)]


def follow(log: MemoryLog, folder: Path, size: int | None = None) -> int:
    return follow_log(TRUST, log.note(size, witnesses=["w1"]), log.files.__getitem__, folder=folder).size


def test_growing_log_is_followed_and_remembered(tmp_path: Path) -> None:
    log = MemoryLog(leaves(3))
    assert follow(log, tmp_path) == 3
    log.append(leaves(300, "more"))
    assert follow(log, tmp_path) == 303
    assert follow(log, tmp_path) == 303


def test_log_that_was_taken_back_is_refused_for_ever(tmp_path: Path) -> None:
    log = MemoryLog(leaves(9))
    follow(log, tmp_path)
    for size in (1, 8):
        with pytest.raises(VerificationError, match="it was taken back"):
            follow(log, tmp_path, size)
    assert follow(log, tmp_path) == 9


@pytest.mark.parametrize("size", [5, 6, 40])
def test_fork_is_refused_and_not_remembered(tmp_path: Path, size: int) -> None:
    follow(MemoryLog(leaves(5)), tmp_path)
    with pytest.raises(VerificationError):
        follow(MemoryLog(leaves(size, "other")), tmp_path)
    assert follow(MemoryLog(leaves(5)), tmp_path) == 5


def test_checkpoint_without_the_quorum_is_refused(tmp_path: Path) -> None:
    log = MemoryLog(leaves(5))
    with pytest.raises(VerificationError, match="wanted outside 1"):
        follow_log(TRUST, log.note(), log.files.__getitem__, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_memory_is_no_fresh_start(tmp_path: Path) -> None:
    log = MemoryLog(leaves(5))
    follow(log, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ConfigurationError, match="does not read"):
        follow(log, tmp_path)
