# SPDX-License-Identifier: Apache-2.0
"""What the witness remembers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from signwright.errors import ConfigurationError, UnavailableError, VerificationError
from signwright.witness.store import NOTHING, Latest, Store, create_store

ONE = Latest(1, bytes(32), b"note one")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_store(tmp_path / "state")
    return tmp_path / "state"


def test_a_new_state_knows_nothing(path: Path):
    store = Store(path)
    assert store.latest("a") == NOTHING
    store.close()


def test_what_was_stored_is_there_after_reopening_and_logs_do_not_mix(path: Path):
    store = Store(path)
    assert store.advance("a", lambda latest: ONE if latest == NOTHING else NOTHING) == ONE
    store.close()
    store = Store(path)
    assert store.latest("a") == ONE
    assert store.latest("b") == NOTHING
    store.close()


def test_a_refusal_leaves_everything_as_it_was(path: Path):
    store = Store(path)
    store.advance("a", lambda _: ONE)

    def refuse(latest: Latest) -> Latest:
        assert latest == ONE
        raise VerificationError("forked")

    with pytest.raises(VerificationError):
        store.advance("a", refuse)
    assert store.latest("a") == ONE
    assert store.advance("a", lambda latest: latest) == ONE, "no transaction is left open"
    store.close()


def test_nonsense_is_not_stored(path: Path):
    store = Store(path)
    for wrong in (Latest(-1, bytes(32), b""), Latest(1, bytes(31), b"")):
        with pytest.raises(UnavailableError):
            store.advance("a", lambda _, wrong=wrong: wrong)
    assert store.latest("a") == NOTHING
    store.close()


def test_each_commit_reaches_the_disk_before_it_returns(path: Path):
    store = Store(path)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def test_an_existing_file_is_never_made_anew(path: Path):
    with pytest.raises(ConfigurationError, match="cannot be made"):
        create_store(path)


def test_a_missing_or_a_foreign_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="is missing"):
        Store(tmp_path / "none")
    (tmp_path / "text").write_text("not a database" * 100, encoding="utf-8")
    with pytest.raises(ConfigurationError):
        Store(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(ConfigurationError, match="version 0; wanted 1"):
        Store(tmp_path / "other")


def test_only_its_owner_can_read_it(path: Path):
    assert path.stat().st_mode & 0o777 == 0o600
