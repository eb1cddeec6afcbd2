# SPDX-License-Identifier: Apache-2.0
"""What the keyholder must never forget: the pinned root, the newest policy, the newest log, every claim, the counters.

Durable on return (SQLite, synchronous=FULL). A missing file is an error unless genesis is asked for by root digest:
state that vanished is state that somebody took back.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from signwright.errors import ConfigurationError, DeniedError
from signwright.model.framing import encode_frame
from signwright.policy.orders import Claim
from signwright.policy.reading import Learned, Started

_SCHEMA = """
CREATE TABLE policy (version INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE claim (
    leaf_index INTEGER PRIMARY KEY, request TEXT NOT NULL, wave INTEGER NOT NULL, attempt INTEGER NOT NULL,
    UNIQUE (request, wave, attempt)
);
CREATE TABLE used (name TEXT NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (name, hour));
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE halt (sha256 TEXT PRIMARY KEY, policy_version INTEGER NOT NULL, resumed_at INTEGER);
CREATE TABLE quarantine (key TEXT PRIMARY KEY, secret_file TEXT NOT NULL);
"""
#: ``wanted``, ``renewed``: policies and freshness statements that the log was read to have, and when; ``learned``: what
#: this process reads, gone with it.
_OPEN = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS wanted (version INTEGER PRIMARY KEY, due INTEGER NOT NULL, seen INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS renewed (number INTEGER PRIMARY KEY, seen INTEGER NOT NULL);
CREATE TEMP TABLE learned (
    leaf_index INTEGER, kind TEXT, subject TEXT, wave INTEGER, number INTEGER, key TEXT, time INTEGER
);
"""
#: What was learned becomes what is remembered. Each intent that we do not know counts as one operation; times that lie
#: ahead and versions above the one in force are somebody's word and must not hold for ever.
_LEARN = """
INSERT INTO used SELECT key, MIN(time, :now) / 3600, 1 FROM learned
    WHERE kind = 'intent' AND leaf_index NOT IN (SELECT leaf_index FROM claim)
    ON CONFLICT DO UPDATE SET count = count + 1;
INSERT OR IGNORE INTO claim SELECT leaf_index, subject, wave, number FROM learned WHERE kind = 'intent';
INSERT OR IGNORE INTO halt SELECT subject, MIN(number, :version), NULL FROM learned WHERE kind = 'halt';
INSERT INTO wanted SELECT number, MIN(time), :now FROM learned WHERE kind = 'policy' GROUP BY number
    ON CONFLICT DO UPDATE SET due = MIN(due, excluded.due), seen = excluded.seen;
INSERT INTO renewed SELECT number, :now FROM learned WHERE kind = 'freshness' GROUP BY number
    ON CONFLICT DO UPDATE SET seen = excluded.seen;
DELETE FROM learned
"""


class State:
    """One writer: the front process. Every method that writes is durable when it returns. ``genesis``: make the state
    unless a first start that failed later on has made it; what is there is never made again.
    """

    def __init__(self, file: Path, *, genesis: str | None = None) -> None:
        if genesis is None and not file.exists():
            raise ConfigurationError(
                f"the keyholder's state {file} is not there",
                code="state-missing",
                hint="restore it, or start once with --genesis ROOT-DIGEST if this signer has never signed",
            )
        new = not file.exists()
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.executescript(_OPEN)
        self._facts: dict[str, str] = {}
        if genesis is not None and new:
            with self._db:
                self._db.executescript("BEGIN;" + _SCHEMA)
                self._remember("root", genesis)
        try:
            self._facts |= self._db.execute("SELECT name, value FROM fact")
            self.root_sha256 = self._fact("root", "")
        except sqlite3.Error as problem:
            raise ConfigurationError(f"the keyholder's state {file} is not one", code="state-missing") from problem
        if not self.root_sha256:
            raise ConfigurationError(f"the keyholder's state {file} is not complete", code="state-missing")
        if genesis not in (None, self.root_sha256):
            raise ConfigurationError(f"genesis over the state of another root in {file}", code="state-exists")
        self._started: tuple[int, float] | None = None
        self.starts = int(self._fact("starts", "0")) + 1
        self._remember("starts", str(self.starts))

    def _fact(self, name: str, default: str) -> str:
        """As it was read when the state was opened and remembered since: nobody else writes it."""
        return self._facts.get(name, default)

    def _remember(self, name: str, value: str) -> None:
        self._facts[name] = value
        self._db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def clock(self) -> int:
        """The newest time ever accepted, or what it must be by now: the time that witnesses gave to our start and what
        has passed since by a clock that nobody sets. Seconds since the epoch, 0 before the first.
        """
        passed = self._started[1] + time.clock_gettime(time.CLOCK_BOOTTIME) if self._started else 0
        return max(int(self._fact("clock", "0")), int(passed))

    def revoked(self) -> frozenset[str]:
        """What the newest freshness statement ever accepted revokes."""
        return frozenset(json.loads(self._fact("revoked", "[]")))

    def first_leaf(self) -> int:
        """Where the log has the start of this process; raises `DeniedError` before it does."""
        if self._started is None:
            raise DeniedError("the start of this keyholder is not in the log yet", code="not-started")
        return self._started[0]

    def learn(self, rows: Sequence[Learned]) -> None:
        """Kept aside until `started`."""
        self.begin()
        self._db.executemany("INSERT INTO learned VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self.commit()

    def started(self, start: Started) -> None:
        """This process stands in the log, and what it read there is what it knows."""
        self.begin()
        for statement in _LEARN.split(";"):
            self._db.execute(statement, {"now": start.newest, "version": start.policy_version})
        self._remember("read", f"{start.read[0]} {start.read[1].hex()}")
        self._follow(start.checkpoint.size, start.checkpoint.root, start.newest)
        self.commit()
        # Once: the same start with the same cosignatures, shown again and again, would hold the clock.
        self._started = self._started or (start.first_leaf, start.newest - time.clock_gettime(time.CLOCK_BOOTTIME))

    def freshness(self, *, created: int) -> int:
        """The highest number of a freshness statement in the log, as far as it was read since ``created``."""
        query = "SELECT COALESCE(MAX(number), 0) FROM renewed WHERE seen >= ?"
        return int(self._db.execute(query, (created,)).fetchone()[0])

    def wanted(self, *, due: int, created: int) -> int:
        """The highest policy version that was due in the log at ``due``, as far as it was read since ``created``."""
        query = "SELECT COALESCE(MAX(version), 0) FROM wanted WHERE due <= ? AND seen >= ?"
        return int(self._db.execute(query, (due, created)).fetchone()[0])

    def _follow(self, size: int, root: bytes, newest: int) -> None:
        if size >= self.log()[0]:
            self._remember("log", f"{size} {root.hex()}")
        self._remember("clock", str(max(newest, self.clock())))

    def halts(self) -> Sequence[tuple[str, int, int | None]]:
        """(digest, policy version in force when it came, version that its resume names or None)."""
        return self._db.execute("SELECT sha256, policy_version, resumed_at FROM halt").fetchall()

    def halt(self, sha256: str, policy_version: int) -> None:
        self._db.execute("INSERT OR IGNORE INTO halt VALUES (?, ?, NULL)", (sha256, policy_version))

    def resume(self, sha256: str, policy_version: int) -> None:
        """Also for a halt that never came: a copy of it that comes later does not halt again."""
        upsert = "INSERT INTO halt VALUES (?, 0, ?) ON CONFLICT DO UPDATE SET resumed_at = excluded.resumed_at"
        self._db.execute(upsert, (sha256, policy_version))

    def newest_policy(self) -> bytes | None:
        """The frame of the highest version ever accepted."""
        row = self._db.execute("SELECT content FROM policy ORDER BY version DESC LIMIT 1").fetchone()
        return row if row is None else bytes(row[0])

    def accept_policy(self, version: int, sha256: str, message: dict[str, object], parts: Sequence[bytes]) -> None:
        """Raises `DeniedError` for a version that is not higher than every one before."""
        newest = self._db.execute("SELECT COALESCE(MAX(version), 0) FROM policy").fetchone()[0]
        if version <= newest:
            raise DeniedError(f"policy version {version}; version {newest} was accepted before", code="policy-rollback")
        self._db.execute("INSERT INTO policy VALUES (?, ?, ?)", (version, sha256, encode_frame(message, parts)))

    def log(self) -> tuple[int, bytes]:
        """Size and root of the newest checkpoint ever accepted; (0, empty) before the first."""
        return self._tree("log")

    def read(self) -> tuple[int, bytes]:
        """How many leaves were ever read, and the roots of their full subtrees."""
        return self._tree("read")

    def _tree(self, name: str) -> tuple[int, bytes]:
        size, _, roots = self._fact(name, "0 ").partition(" ")
        return int(size), bytes.fromhex(roots)

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
        self._follow(size, root, claim.newest)
        if claim.freshness is not None and claim.freshness[0] > int(self._fact("freshness", "0")):
            self._remember("freshness", str(claim.freshness[0]))
            self._remember("revoked", json.dumps(sorted(claim.freshness[1])))

    def quarantined(self) -> Sequence[tuple[str, str]]:
        """(key name, identity of the secret file that failed)."""
        return self._db.execute("SELECT key, secret_file FROM quarantine").fetchall()

    def quarantine(self, key: str, secret_file: str) -> None:
        """Remember that a secret was refused, so that no restart offers it again (tokens lock after a few)."""
        self._db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?)", (key, secret_file))

    def release(self, key: str) -> None:
        self._db.execute("DELETE FROM quarantine WHERE key = ?", (key,))
