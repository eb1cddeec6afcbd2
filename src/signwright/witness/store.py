# SPDX-License-Identifier: Apache-2.0
"""What a witness must never forget: the latest checkpoint that it cosigned, for each log. One table in SQLite.

A witness that loses this file, or is given an older copy of it, would cosign a shrunken or forked log. So the file is
made once, on purpose, and a missing one stops the start.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from signwright.errors import ConfigurationError, UnavailableError
from signwright.transparency.merkle import EMPTY_ROOT

_VERSION = 1
_TABLE = """
CREATE TABLE latest (
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    note BLOB NOT NULL
) STRICT, WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Latest:
    """``size`` and ``root`` of the latest cosigned checkpoint; ``note``: with the log's signature and ours."""

    size: int
    root: bytes
    note: bytes


#: Of a log of which nothing was cosigned yet.
NOTHING = Latest(0, EMPTY_ROOT, b"")


def create_store(path: Path) -> None:
    """Make the file, empty; raises `ConfigurationError` when it is already there."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as problem:
        raise ConfigurationError(f"witness state {path}: cannot be made: {problem.strerror}", code="state") from problem
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


class Store:
    """Opens a file made by `create_store`. Safe for threads, and for a second process on the same file."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigurationError(
                f"witness state {path} is missing",
                code="state",
                hint="a witness without its state would cosign a forked log; --create makes the first one",
            )
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as problem:
            self._connection.close()
            raise ConfigurationError(f"witness state {path}: {problem}", code="state") from problem
        if version != _VERSION:
            self._connection.close()
            raise ConfigurationError(f"witness state {path}: version {version}; wanted {_VERSION}", code="state")

    def latest(self, origin: str) -> Latest:
        """`NOTHING` when no checkpoint of this log was cosigned. Raises `UnavailableError`."""
        with self._lock:
            try:
                return self._read(origin)
            except sqlite3.Error as problem:
                raise UnavailableError(f"witness state: {problem}", code="state") from problem

    def advance(self, origin: str, decide: Callable[[Latest], Latest]) -> Latest:
        """Replace the latest checkpoint by what ``decide`` makes of it, and return that.

        Atomic: between reading and writing nobody else writes, in this process or another. Durable when this returns.
        What ``decide`` raises comes out and leaves everything as it was; a disk that fails is `UnavailableError`.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                new = decide(self._read(origin))
                self._connection.execute(
                    "INSERT INTO latest (origin, size, root, note) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (origin)"
                    " DO UPDATE SET size = excluded.size, root = excluded.root, note = excluded.note",
                    (origin, new.size, new.root, new.note),
                )
                self._connection.execute("COMMIT")
            except sqlite3.Error as problem:
                raise UnavailableError(f"witness state: {problem}", code="state") from problem
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        return new

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _read(self, origin: str) -> Latest:
        row = self._connection.execute("SELECT size, root, note FROM latest WHERE origin = ?", (origin,)).fetchone()
        return Latest(*row) if row else NOTHING
