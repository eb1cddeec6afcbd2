# SPDX-License-Identifier: Apache-2.0
"""What the keyholder must never forget: the pinned root, the newest policy, the newest log, every claim, the counters.

Durable on return (SQLite, synchronous=FULL). A missing file is an error unless genesis is asked for by root digest:
state that vanished is state that somebody took back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from signwright.errors import ConfigurationError, DeniedError
from signwright.policy.orders import Claim

_SCHEMA = """
CREATE TABLE pinned (root_sha256 TEXT NOT NULL);
CREATE TABLE policy (version INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE log (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, root BLOB NOT NULL);
CREATE TABLE claim (
    leaf_index INTEGER PRIMARY KEY, request TEXT NOT NULL, wave INTEGER NOT NULL, attempt INTEGER NOT NULL,
    UNIQUE (request, wave, attempt)
);
CREATE TABLE used (name TEXT NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (name, hour));
CREATE TABLE quarantine (key TEXT PRIMARY KEY, secret_file TEXT NOT NULL);
"""


class State:
    """One writer: the front process. Every method that writes is durable when it returns."""

    def __init__(self, file: Path, *, genesis: str | None = None) -> None:
        if genesis is None and not file.exists():
            raise ConfigurationError(
                f"the keyholder's state {file} is not there",
                code="state-missing",
                hint="restore it, or start once with --genesis ROOT-DIGEST if this signer has never signed",
            )
        if genesis is not None and file.exists():
            raise ConfigurationError(f"genesis over the existing state {file}", code="state-exists")
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        if genesis is not None:
            with self._db:
                self._db.executescript("BEGIN;" + _SCHEMA)
                self._db.execute("INSERT INTO pinned VALUES (?)", (genesis,))
        row = self._db.execute("SELECT root_sha256 FROM pinned").fetchone()
        if row is None:
            raise ConfigurationError(f"the keyholder's state {file} is not complete", code="state-missing")
        self.root_sha256: str = row[0]

    def newest_policy(self) -> tuple[int, str, bytes] | None:
        """(version, digest, content as received) of the highest version ever accepted."""
        row = self._db.execute("SELECT version, sha256, content FROM policy ORDER BY version DESC LIMIT 1").fetchone()
        return row if row is None else (row[0], row[1], row[2])

    def accept_policy(self, version: int, sha256: str, content: bytes) -> None:
        """Raises `DeniedError` for a version that is not higher than every one before."""
        newest = self.newest_policy()
        if newest is not None and version <= newest[0]:
            raise DeniedError(
                f"policy version {version}; version {newest[0]} was accepted before", code="policy-rollback"
            )
        self._db.execute("INSERT INTO policy VALUES (?, ?, ?)", (version, sha256, content))

    def log(self) -> tuple[int, bytes]:
        """Size and root of the newest checkpoint ever accepted; (0, empty) before the first."""
        row = self._db.execute("SELECT size, root FROM log").fetchone()
        return (row[0], row[1]) if row else (0, b"")

    def attempts(self, request: str, wave: int) -> int:
        query = "SELECT COALESCE(MAX(attempt), 0) FROM claim WHERE request = ? AND wave = ?"
        return int(self._db.execute(query, (request, wave)).fetchone()[0])

    def is_claimed(self, leaf_index: int) -> bool:
        return self._db.execute("SELECT 1 FROM claim WHERE leaf_index = ?", (leaf_index,)).fetchone() is not None

    def used(self, name: str, hour: int) -> int:
        """Operations under ``name`` in hour ``hour`` since the epoch and the 24 before: at least 24 h in all."""
        query = "SELECT COALESCE(SUM(count), 0) FROM used WHERE name = ? AND hour >= ?"
        return int(self._db.execute(query, (name, hour - 24)).fetchone()[0])

    def begin(self) -> None:
        """Start a group of claims that becomes durable together."""
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Nothing of the group may reach a key before this returned."""
        self._db.execute("COMMIT")

    def claim(self, claim: Claim, *, hour: int, size: int, root: bytes) -> None:
        """Take an intent inside a group and move the log forward. Raises `DeniedError` when it was taken before."""
        try:
            values = (claim.leaf_index, claim.request, claim.wave, claim.attempt)
            self._db.execute("INSERT INTO claim VALUES (?, ?, ?, ?)", values)
        except sqlite3.IntegrityError as problem:
            raise DeniedError(f"intent {claim.leaf_index} was used before", code="intent-used") from problem
        for name, count in claim.used:
            upsert = "INSERT INTO used VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
            self._db.execute(upsert, (name, hour, count))
        if size >= self.log()[0]:
            self._db.execute("INSERT OR REPLACE INTO log VALUES (1, ?, ?)", (size, root))

    def quarantined(self) -> Sequence[tuple[str, str]]:
        """(key name, identity of the secret file that failed)."""
        return self._db.execute("SELECT key, secret_file FROM quarantine").fetchall()

    def quarantine(self, key: str, secret_file: str) -> None:
        """Remember that a secret was refused, so that no restart offers it again (tokens lock after a few)."""
        self._db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?)", (key, secret_file))

    def release(self, key: str) -> None:
        self._db.execute("DELETE FROM quarantine WHERE key = ?", (key,))
