# SPDX-License-Identifier: Apache-2.0
"""Serial numbers that never come twice, whatever happens to the process (RFC 3161 2.4.2)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from signwright.errors import ConfigurationError, ConflictError

BLOCK = 1000


class Serials:
    """Counts up from a random 63-bit start. The file remembers the end of the block that is being spent.

    A block is durable before its first number is used, so a crash skips numbers and repeats none. A lost file is a new
    random start. Two processes on one file take different blocks. For one thread.
    """

    def __init__(self, file: Path, random_bytes: Callable[[int], bytes]) -> None:
        try:
            self._database = sqlite3.connect(file, timeout=5.0, isolation_level=None)
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute("CREATE TABLE IF NOT EXISTS serials (one INTEGER PRIMARY KEY, spent TEXT NOT NULL)")
            start = int.from_bytes(random_bytes(8), "big") >> 1
            self._database.execute("INSERT OR IGNORE INTO serials VALUES (1, ?)", (str(start),))
        except sqlite3.Error as problem:
            raise ConfigurationError(f"{file}: {problem}", code="bad-state-file") from problem
        self._next = self._end = 0

    def next_serial(self) -> int:
        """A number that no earlier call has returned; `ConflictError` when the file cannot be written."""
        if self._next >= self._end:
            self._reserve()
        self._next += 1
        return self._next

    def close(self) -> None:
        self._database.close()

    def _reserve(self) -> None:
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                row = self._database.execute("SELECT spent FROM serials WHERE one = 1").fetchone()
                spent = int(row[0])
                self._database.execute("UPDATE serials SET spent = ? WHERE one = 1", (str(spent + BLOCK),))
        except (sqlite3.Error, ValueError, TypeError) as problem:
            raise ConflictError("serial numbers cannot be reserved", code="no-serial") from problem
        self._next, self._end = spent, spent + BLOCK
