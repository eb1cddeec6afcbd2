# SPDX-License-Identifier: Apache-2.0
"""The hub's database on a real SQLite file, for tests of one transaction at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from signwright.hub.adapters.database.database import Database, migrate, open_engine
from signwright.hub.adapters.database.records import SqlRecords

T = TypeVar("T")


class TestDatabase:
    """``now``: what the clock says."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.engine = open_engine(f"sqlite:///{folder}/hub.sqlite3")
        migrate(self.engine)
        self.now = 1_000_000
        self.database = Database(self.engine, clock=lambda: self.now)

    def do(self, work: Callable[[SqlRecords], T]) -> T:
        return self.database.submit(work).result()


@contextmanager
def database(folder: Path) -> Iterator[TestDatabase]:
    opened = TestDatabase(folder)
    try:
        yield opened
    finally:
        opened.database.close()
