# SPDX-License-Identifier: Apache-2.0
"""What the gate must never forget, in one SQLite file: pinned root, policies, the log's position, intents, results.

Every change is one transaction with ``synchronous=FULL``; the log's writer makes it together with the leaves it belongs
to. A missing file stops the start: a gate that lost it would sign again what it signed before.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from signwright.errors import ConfigurationError, SignwrightError, UnavailableError
from signwright.model import framing
from signwright.model.framing import Frame, encode_frame
from signwright.transparency.merkle import EMPTY_ROOT

_VERSION = 1
_TABLES = """
CREATE TABLE pinned (root_sha256 TEXT NOT NULL, origin TEXT, log_size INTEGER NOT NULL, log_root BLOB NOT NULL) STRICT;
CREATE TABLE policies (
    version INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, leaf_index INTEGER NOT NULL, content BLOB NOT NULL,
    leaf BLOB NOT NULL, proof BLOB NOT NULL DEFAULT x'', in_force INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE words (
    sha256 TEXT PRIMARY KEY, kind TEXT NOT NULL, number INTEGER NOT NULL, resumed_at INTEGER, content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE intents (
    leaf_index INTEGER PRIMARY KEY, request TEXT NOT NULL, wave INTEGER NOT NULL, attempt INTEGER NOT NULL,
    key TEXT NOT NULL, signing_policy TEXT NOT NULL, operations INTEGER NOT NULL, time INTEGER NOT NULL, outcome TEXT,
    UNIQUE (request, wave, attempt)
) STRICT;
CREATE INDEX intents_by_time ON intents (time);
CREATE INDEX intents_open ON intents (leaf_index) WHERE outcome IS NULL;
CREATE TABLE results (
    request TEXT PRIMARY KEY, policy_version INTEGER NOT NULL, content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE denied (request TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE witnesses (name TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

#: Attempts on one request, each with an intent of its own.
MAX_ATTEMPTS = 3

#: One statement and its values.
Write = tuple[str, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Pinned:
    """``root_sha256``: hex, from genesis on; ``origin``: None until the first policy; the log's durable end."""

    root_sha256: str
    origin: str | None
    log_size: int
    log_root: bytes


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """An accepted policy as it came. ``documents``: name to exact bytes; ``leaf``: its policy leaf, at ``leaf_index``;
    ``proof``: tlog-proof text of when it was first cosigned, empty before.
    """

    version: int
    sha256: str
    leaf_index: int
    root: bytes
    policy: bytes
    documents: dict[str, bytes]
    leaf: bytes = b""
    proof: bytes = b""

    def encode(self) -> bytes:
        return encode_frame({"documents": list(self.documents)}, [self.root, self.policy, *self.documents.values()])


@dataclass(frozen=True, slots=True)
class StoredWord:
    """``number``: of a freshness statement; of a halt the policy version in force when it came; of a resume the one it
    wants. ``resumed_at``: of a halt, the version that its resume wants. ``content``: the envelope as it came.
    """

    sha256: str
    kind: str
    number: int
    resumed_at: int | None
    content: bytes


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent in the log whose outcome is not known. ``leaf_index``: its place."""

    leaf_index: int
    request: str
    wave: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Usage:
    """One intent as the counters see it. ``time``: seconds since 1970."""

    key: str
    signing_policy: str
    operations: int
    time: int


def create_state(path: Path, *, root_sha256: str) -> None:
    """Make the file for a policy root; raises `ConfigurationError` when it is there already."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as problem:
        raise ConfigurationError(f"gate state {path}: cannot be made: {problem.strerror}", code="state") from problem
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for table in _TABLES.split(";")[:-1]:
            connection.execute(table)
        connection.execute("INSERT INTO pinned VALUES (?, NULL, 0, ?)", (root_sha256, EMPTY_ROOT))
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")


class State:
    """Opens a file made by `create_state`; may be used from several threads. Methods raise `UnavailableError`."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigurationError(
                f"gate state {path} is missing",
                code="no-state",
                hint="without it the gate would sign again what it signed; --genesis ROOT-DIGEST makes the first",
            )
        self._lock = threading.Lock()
        self._alone = lock_state(path)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as problem:
            self._connection.close()
            raise ConfigurationError(f"gate state {path}: {problem}", code="state") from problem
        if version != _VERSION:
            self._connection.close()
            raise ConfigurationError(f"gate state {path}: version {version}; wanted {_VERSION}", code="state")

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            os.close(self._alone)

    def transaction(self, writes: Iterable[Write]) -> None:
        """All of ``writes`` or none; durable when this returns."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement, values in writes:
                    self._connection.execute(statement, values)
                self._connection.execute("COMMIT")
            except sqlite3.Error as problem:
                raise UnavailableError(f"gate state: {problem}", code="state") from problem
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                return self._connection.execute(query, tuple(values)).fetchall()
            except sqlite3.Error as problem:
                raise UnavailableError(f"gate state: {problem}", code="state") from problem

    def pinned(self) -> Pinned:
        rows = self._rows("SELECT root_sha256, origin, log_size, log_root FROM pinned")
        if len(rows) != 1:
            raise ConfigurationError("gate state: it pins no policy root", code="state")
        return Pinned(*rows[0])  # type: ignore[arg-type]

    def policy(self, version: int | None = None) -> StoredPolicy | None:
        """The accepted policy of ``version``, or the highest that came into force."""
        if version is not None:
            return self._policy("version = ?", (version,))
        return self._policy("in_force = 1", ())

    def waiting_policy(self) -> StoredPolicy | None:
        """The highest that is logged, and higher than any that came into force."""
        return self._policy("version > (SELECT coalesce(max(version), 0) FROM policies WHERE in_force = 1)", ())

    def policies_after(self, version: int) -> list[StoredPolicy]:
        """Every policy above ``version`` that came into force, in order."""
        rows = self._rows(
            "SELECT version FROM policies WHERE in_force = 1 AND version > ? ORDER BY version", (version,)
        )
        return [policy for (number,) in rows if (policy := self.policy(int(str(number)))) is not None]

    def _policy(self, where: str, values: Sequence[object]) -> StoredPolicy | None:
        query = f"SELECT version, sha256, leaf_index, content, leaf, proof FROM policies WHERE {where}"  # noqa: S608
        rows = self._rows(f"{query} ORDER BY version DESC LIMIT 1", values)
        if not rows:
            return None
        number, sha256, leaf_index, content, leaf, proof = rows[0]
        frame = decode_frame(content)
        names = frame.message["documents"]
        assert isinstance(names, list)
        documents = dict(zip(names, frame.parts[2:], strict=True))
        root, policy = frame.parts[:2]
        return StoredPolicy(number, sha256, leaf_index, root, policy, documents, leaf, proof)  # type: ignore[arg-type]

    def words(self, kind: str) -> list[StoredWord]:
        """What keepers said, of one kind (``freshness``, ``halt``, ``resume``), by number."""
        query = "SELECT sha256, kind, number, resumed_at, content FROM words WHERE kind = ? ORDER BY number, sha256"
        return [StoredWord(*row) for row in self._rows(query, (kind,))]  # type: ignore[arg-type]

    def open_intents(self) -> list[OpenIntent]:
        rows = self._rows(
            "SELECT leaf_index, request, wave, attempt FROM intents WHERE outcome IS NULL ORDER BY leaf_index"
        )
        return [OpenIntent(*row) for row in rows]  # type: ignore[arg-type]

    def last_attempt(self, request: str, *, last: int = 0) -> int:
        """Number of the last attempt on ``request``; 0 when there was none. One whose ``last`` wave was signed has no
        attempt left, also where its result was lost.
        """
        used = f"CASE WHEN outcome = 'signed' AND wave >= ? THEN {MAX_ATTEMPTS} ELSE attempt END"
        query = f"SELECT coalesce(max({used}), 0) FROM intents WHERE request = ?"  # noqa: S608
        return int(str(self._rows(query, (last, request))[0][0]))

    def signed_since(self, leaf_index: int) -> list[tuple[int, str, int, int]]:
        """(leaf index, request, wave, attempt) of every intent from ``leaf_index`` on that was signed."""
        query = "SELECT leaf_index, request, wave, attempt FROM intents WHERE leaf_index >= ? AND outcome = 'signed'"
        return self._rows(query, (leaf_index,))  # type: ignore[return-value]

    def usage_since(self, time: int) -> list[Usage]:
        query = "SELECT key, signing_policy, operations, time FROM intents WHERE time >= ? ORDER BY time"
        return [Usage(*row) for row in self._rows(query, (time,))]  # type: ignore[arg-type]

    def result(self, request: str) -> tuple[int, bytes] | None:
        """Policy version and stored content of a finished request."""
        rows = self._rows("SELECT policy_version, content FROM results WHERE request = ?", (request,))
        return rows[0] if rows else None  # type: ignore[return-value]

    def was_denied(self, request: str) -> bool:
        return bool(self._rows("SELECT 1 FROM denied WHERE request = ?", (request,)))

    def witness_sizes(self) -> dict[str, int]:
        return dict(self._rows("SELECT name, size FROM witnesses"))  # type: ignore[arg-type]


def lock_state(path: Path) -> int:
    """A descriptor whose lock says that this process alone writes the log; the kernel drops it with the process."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        os.close(descriptor)
        raise ConfigurationError(f"gate state {path}: another gate is running", code="already-running") from problem
    return descriptor


def decode_frame(content: object) -> Frame:
    """A stored frame back. It is our own writing; a damaged one raises `UnavailableError`."""
    try:
        return framing.decode_frame(content if isinstance(content, bytes) else b"")
    except SignwrightError as problem:
        raise UnavailableError(f"gate state: a stored message is damaged: {problem.message}", code="state") from problem


def log_position(size: int, root: bytes) -> Write:
    return "UPDATE pinned SET log_size = ?, log_root = ?", (size, root)


def set_origin(origin: str) -> Write:
    return "UPDATE pinned SET origin = ?", (origin,)


def add_policy(policy: StoredPolicy) -> Write:
    values = (policy.version, policy.sha256, policy.leaf_index, policy.encode(), policy.leaf)
    return "INSERT INTO policies (version, sha256, leaf_index, content, leaf) VALUES (?, ?, ?, ?, ?)", values


def set_policy_proof(version: int, proof: bytes) -> Write:
    return "UPDATE policies SET proof = ? WHERE version = ?", (proof, version)


def put_in_force(version: int) -> Write:
    return "UPDATE policies SET in_force = 1 WHERE version = ?", (version,)


def add_word(word: StoredWord) -> Write:
    values = (word.sha256, word.kind, word.number, word.resumed_at, word.content)
    return "INSERT OR IGNORE INTO words VALUES (?, ?, ?, ?, ?)", values


def fill_word(sha256: str, content: bytes) -> Write:
    """The wire form of a statement of which only the leaf was known."""
    return "UPDATE words SET content = ? WHERE sha256 = ?", (content, sha256)


def end_halt(sha256: str, policy_version: int) -> Write:
    """Also a halt that has not come yet: when it comes, it has ended."""
    upsert = (
        "INSERT INTO words VALUES (?, 'halt', 0, ?, x'') ON CONFLICT DO UPDATE SET resumed_at = excluded.resumed_at"
    )
    return upsert, (sha256, policy_version)


def add_intent(intent: OpenIntent, usage: Usage) -> Write:
    row = (intent.leaf_index, intent.request, intent.wave, intent.attempt)
    used = (usage.key, usage.signing_policy, usage.operations, usage.time)
    return "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", (*row, *used)


def close_intent(leaf_index: int, outcome: str) -> Write:
    return "UPDATE intents SET outcome = ? WHERE leaf_index = ?", (outcome, leaf_index)


def add_result(request: str, policy_version: int, content: bytes) -> Write:
    return "INSERT INTO results VALUES (?, ?, ?)", (request, policy_version, content)


def add_denied(request: str) -> Write:
    return "INSERT OR IGNORE INTO denied VALUES (?)", (request,)


def set_witness_size(name: str, size: int) -> Write:
    return "INSERT INTO witnesses VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET size = excluded.size", (name, size)
