# SPDX-License-Identifier: Apache-2.0
"""Statements that every request needs: written with SQLAlchemy's Core, compiled once, run on the driver's connection.

SQLAlchemy's own way from a statement to the driver costs several times what SQLite needs for the work itself. What runs
here runs in the transaction that SQLAlchemy began on the same connection, and fails with the same errors.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import Select

_DIALECT = sqlite.dialect(paramstyle="named")


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection under ``connection``."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


class Hot:
    """One statement without lists of varying length; values are given by the names of its parameters, unconverted."""

    __slots__ = ("_fixed", "_sql")

    def __init__(self, statement: Select[Any] | UpdateBase) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self._sql = str(compiled)
        self._fixed = {name: bound.effective_value for name, bound in compiled.binds.items() if not bound.required}

    def run(self, driver: sqlite3.Connection, values: Mapping[str, object]) -> sqlite3.Cursor:
        """Rows come as tuples; read all of a statement with RETURNING. Raises `DBAPIError`."""
        try:
            return driver.execute(self._sql, {**self._fixed, **values})
        except sqlite3.Error as problem:
            raise DBAPIError(self._sql, None, problem) from problem

    def run_many(self, driver: sqlite3.Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """Once for each row; raises `DBAPIError`."""
        try:
            driver.executemany(self._sql, rows)
        except sqlite3.Error as problem:
            raise DBAPIError(self._sql, None, problem) from problem


def run_plain(driver: sqlite3.Connection, sql: str) -> None:
    """SQL of our own without values; raises `DBAPIError`."""
    try:
        driver.execute(sql)
    except sqlite3.Error as problem:
        raise DBAPIError(sql, None, problem) from problem
