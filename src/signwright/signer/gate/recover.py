# SPDX-License-Identifier: Apache-2.0
"""Rebuilds the gate's log and state from a mirror of the log: ``python -m signwright.signer.start --recover``.

Nothing of the mirror is believed but what leads to a checkpoint that our log's key signed and a quorum of witnesses
cosigned. Every witness's latest checkpoint, and everything that was witnessed of the state that is still here, must
stand in that tree. What was there before is kept beside it.

The folder that is handed in holds ``checkpoint``, ``tile/entries/…`` and ``witnesses.json``: for each witness of the
policy the size of its latest checkpoint, with the checkpoint's note in base64 where it gave one.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from signwright.errors import ConfigurationError, SignwrightError, VerificationError
from signwright.model.operation import Many, Strict
from signwright.policy.policy import open_policy
from signwright.signer.gate.rebuild import KnownPolicy, Rebuild
from signwright.signer.gate.settings import GateSettings, load_settings
from signwright.signer.gate.state import State, StoredPolicy, create_state, lock_state, log_position, set_origin
from signwright.signer.gate.tiles import TileFiles
from signwright.signer.users import demand_own_user, load_users
from signwright.statements.dsse import MAX_ENVELOPE, parse_envelope
from signwright.statements.parse import MAX_DOCUMENT, parse_model
from signwright.transparency.checkpoint import Checkpoint, verify_checkpoint
from signwright.transparency.cosignature import LogTrust
from signwright.transparency.growth import Frontier
from signwright.transparency.note import MAX_NOTE
from signwright.transparency.proof import TlogProof
from signwright.transparency.tiles import ENTRIES, MAX_ENTRY, WIDTH, Tile, TileTree, parse_bundle

#: Bundles of entries that are taken into memory at once.
BUNDLES = 64


class WitnessSaid(Strict):
    """``note``: base64 of its latest checkpoint, None when it only named the size; ``size``: None when it is silent."""

    size: int | None
    note: str | None = None


class WitnessesSaid(Strict):
    """``gone``: witnesses that the operator declares gone for good."""

    witnesses: dict[str, WitnessSaid]
    gone: Many[str] = ()


@dataclass(frozen=True, slots=True)
class Recovered:
    """``size``: leaves; ``added``: those that the state here did not have; ``dropped``: of its own that nobody saw."""

    size: int
    added: int
    dropped: int
    unfinished: int


def recover(settings: GateSettings, folder: Path, *, root_sha256: str, signed: Path, now: datetime) -> Recovered:
    """Raises `SignwrightError`, and then everything is as it was."""
    settings.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_state(settings.database)
    fresh = settings.database.with_name("recovering")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        found = _Recovery(settings, folder, fresh, root_sha256, now).run(signed)
        _take_place(settings, fresh, now)
        return found
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        os.close(lock)


class _Recovery:
    """``fresh``: an empty folder that gets ``gate.sqlite3`` and ``tiles``."""

    def __init__(self, settings: GateSettings, folder: Path, fresh: Path, root_sha256: str, now: datetime) -> None:
        self._settings, self._folder, self._fresh = settings, folder, fresh
        self._root_sha256, self._now = root_sha256, now
        self._files = TileFiles(fresh / "tiles")
        (fresh / "tiles").mkdir(mode=0o700)

    def run(self, signed: Path) -> Recovered:
        database = self._fresh / "gate.sqlite3"
        kept = _copy_state(self._settings.database, database, root_sha256=self._root_sha256)
        if not kept:
            create_state(database, root_sha256=self._root_sha256)
        state = State(database)
        try:
            return self._rebuild(state, self._known_policies(state, signed))
        finally:
            state.close()

    def _known_policies(self, state: State, signed: Path) -> dict[str, KnownPolicy]:
        """Every policy at hand, opened under the pinned root, by its digest."""
        stored = [*state.policies_after(0)]
        waiting = state.waiting_policy()
        rows = [*stored, *([waiting] if waiting else []), *_read_signed(signed)]
        found = {}
        for row in rows:
            envelopes = parse_envelope(row.root), parse_envelope(row.policy)
            policy = open_policy(*envelopes, row.documents, pinned_root_sha256=self._root_sha256)
            found[policy.sha256] = KnownPolicy(policy, row)
        return found

    def _rebuild(self, state: State, policies: Mapping[str, KnownPolicy]) -> Recovered:
        note = _read(self._folder / "checkpoint", MAX_NOTE)
        size = _size_of(note)
        pinned = state.pinned()
        common = self._common(pinned.log_size, pinned.log_root, size)
        reading = Rebuild(common, policies)
        frontier = self._grow(size, reading)
        trust = reading.newest().policy.log_trust
        checkpoint = trust.verify(note).checkpoint
        if (checkpoint.size, checkpoint.root) != (frontier.size, frontier.root()):
            raise VerificationError("the mirror's entries do not make the root of its checkpoint", code="bad-mirror")
        self._check_genesis(reading, checkpoint)
        tree = TileTree(size, self._files.read)
        self._check_witnesses(trust, checkpoint, tree, reading)
        dropped = _check_dropped(state, reading, pinned.log_size)
        proofs = {
            row.index: TlogProof(row.index, tuple(tree.inclusion(row.index)), note).encode() for row in reading.logged
        }
        forget = [
            ("DELETE FROM intents WHERE leaf_index >= ?", (common,)),
            ("DELETE FROM policies WHERE leaf_index >= ?", (common,)),
        ]
        made = [*reading.writes, *reading.policy_writes(proofs, now=self._now)]
        end = [set_origin(checkpoint.origin), log_position(size, checkpoint.root)]
        state.transaction([*forget, *made, *end])
        return Recovered(size, size - common, dropped, len(state.open_intents()))

    def _common(self, old_size: int, old_root: bytes, size: int) -> int:
        """How many leaves of the state here stand in the mirror as well, which is read for it to the same size."""
        if old_size <= size and self._root_of_mirror(old_size, size) == old_root:
            return old_size
        # Leaves were added after an older copy was put back, or the tiles were lost: find where both part.
        ours = TileFiles(self._settings.tiles)
        common = 0
        for number in range(-(-min(old_size, size) // WIDTH)):
            width = min(WIDTH, old_size - number * WIDTH)
            try:
                own = parse_bundle(ours.read(Tile(ENTRIES, number, width).path), width)
            except SignwrightError:
                return common
            theirs = self._bundle(number, size)
            same = next((at for at, pair in enumerate(zip(own, theirs, strict=False)) if pair[0] != pair[1]), None)
            if same is not None:
                return common + same
            common += min(len(own), len(theirs))
        return common

    def _root_of_mirror(self, part: int, size: int) -> bytes:
        """Root of the first ``part`` of its ``size`` leaves."""
        frontier = Frontier()
        for number in range(-(-part // WIDTH)):
            width = min(WIDTH, part - number * WIDTH)
            frontier = frontier.grow(self._bundle(number, size)[:width]).frontier
        return frontier.root()

    def _grow(self, size: int, reading: Rebuild) -> Frontier:
        """The whole tree anew from the entries alone, its tiles written."""
        frontier, count = Frontier(), -(-size // WIDTH)
        for first in range(0, count, BUNDLES):
            leaves = [
                leaf for number in range(first, min(first + BUNDLES, count)) for leaf in self._bundle(number, size)
            ]
            for index, leaf in enumerate(leaves, frontier.size):
                reading.take(index, leaf)
            growth = frontier.grow(leaves)
            self._files.write(growth.tiles)
            for path in growth.tiles:
                if Tile.parse(path).width == WIDTH:
                    self._files.prune(path)
            frontier = growth.frontier
        return frontier

    def _bundle(self, number: int, size: int) -> list[bytes]:
        width = min(WIDTH, size - number * WIDTH)
        content = _read(self._folder / Tile(ENTRIES, number, width).path, WIDTH * (MAX_ENTRY + 2))
        return parse_bundle(content, width)

    def _check_genesis(self, reading: Rebuild, checkpoint: Checkpoint) -> None:
        genesis = reading.genesis
        if genesis is None or (genesis.root_sha256, genesis.origin) != (self._root_sha256, checkpoint.origin):
            raise VerificationError("the mirror's log does not begin with this signer's genesis", code="other-log")

    def _check_witnesses(self, trust: LogTrust, checkpoint: Checkpoint, tree: TileTree, reading: Rebuild) -> None:
        """No witness may know more than the mirror, or something else, and no quorum may have been silent."""
        said = parse_model(WitnessesSaid, _read(self._folder / "witnesses.json", MAX_DOCUMENT), limit=MAX_DOCUMENT)
        names = [witness.name for witness in reading.newest().policy.services.witnesses]
        silent = []
        for name, key in zip(names, trust.quorum.witnesses, strict=True):
            answer = said.witnesses.get(name, WitnessSaid(size=None))
            if answer.size is None:
                silent += [(name, key)] if name not in said.gone else []
                continue
            size, root = answer.size, None
            if answer.note is not None:
                signed = verify_checkpoint(base64.b64decode(answer.note), origin=trust.origin, keys=trust.keys)
                size, root = signed.checkpoint.size, signed.checkpoint.root
            if size > checkpoint.size:
                raise VerificationError(
                    f"the mirror has {checkpoint.size} leaves and witness {name} has cosigned {size}: it is too old",
                    code="mirror-behind-witness",
                    hint="find a newer mirror; below what a witness has seen nothing is ever signed again",
                )
            if root is not None and tree.root(size) != root:
                raise VerificationError(f"witness {name} has cosigned another log than the mirror's", code="log-fork")
        outside = len({key.operator for _, key in silent if key.outside})
        local = len({key.operator for _, key in silent if not key.outside})
        wanted = trust.quorum
        if silent and outside >= wanted.outside and local >= wanted.local:
            raise VerificationError(
                f"{', '.join(name for name, _ in silent)} did not answer, and could have cosigned a longer log alone",
                code="witnesses-silent",
                hint="start it, or --without NAME when it is gone for good",
            )


def _check_dropped(state: State, reading: Rebuild, old_size: int) -> int:
    """How many leaves of the state here nobody else has; raises `VerificationError` when one of them was witnessed."""
    mirrored = {row.index: row.leaf.policy_sha256 for row in reading.logged}
    used = [row for row in state.signed_since(reading.known) if reading.intents.get(row[0]) != row[1:]]
    held = [*state.policies_after(0), state.waiting_policy()]
    policies = [p for p in held if p and p.proof and mirrored.get(p.leaf_index) != p.sha256]
    if used or policies:
        what = f"intent {used[0][0]}, which was signed" if used else f"policy version {policies[0].version}"
        raise VerificationError(
            f"the state here knows {what}, and the mirror has it not: its log is another one, or too old",
            code="mirror-fork",
            hint="nothing was changed; find a mirror that continues this log",
        )
    return max(0, old_size - reading.known)


def _copy_state(source: Path, target: Path, *, root_sha256: str) -> bool:
    """A copy of the state here; False when there is none that can be read. Raises `ConfigurationError` for another
    signer's.
    """
    if not source.is_file():
        return False
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            sound = new.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            pinned = new.execute("SELECT root_sha256 FROM pinned").fetchone()[0] if sound else None
            new.execute("PRAGMA journal_mode = WAL")
    except (sqlite3.DatabaseError, TypeError):
        sound = False
    if not sound:
        for file in target.parent.glob(f"{target.name}*"):
            file.unlink()
        return False
    if pinned != root_sha256:
        raise ConfigurationError(f"{source}: the state of another policy root ({pinned})", code="other-signer")
    return True


def _read_signed(folder: Path) -> Iterator[StoredPolicy]:
    """The signed policy in a folder as ``policy apply`` writes it, or nothing."""
    if not (folder / "policy.json").is_file():
        return
    files = sorted((folder / "documents").rglob("*.json"))
    documents = {
        file.relative_to(folder / "documents").with_suffix("").as_posix(): _read(file, MAX_DOCUMENT) for file in files
    }
    root, policy = _read(folder / "root.json", MAX_ENVELOPE), _read(folder / "policy.json", MAX_ENVELOPE)
    yield StoredPolicy(0, "", 0, root, policy, documents)


def _take_place(settings: GateSettings, fresh: Path, now: datetime) -> None:
    """The new files in, the old ones aside; a crash in between leaves what the next recovery finds again."""
    mark = f"before-{now:%Y%m%dT%H%M%SZ}"
    database, tiles = settings.database, settings.tiles
    if tiles.exists():
        tiles.rename(tiles.with_name(f"tiles.{mark}"))
    for ending in ("-wal", "-shm", ""):
        old = database.with_name(database.name + ending)
        if old.exists():
            old.rename(old.with_name(f"{database.stem}.{mark}.sqlite3{ending}"))
    (fresh / "tiles").rename(tiles)
    for ending in ("-wal", "-shm", ""):
        new = fresh / f"gate.sqlite3{ending}"
        if new.exists():
            new.rename(database.with_name(database.name + ending))
    descriptor = os.open(database.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size_of(note: bytes) -> int:
    from signwright.transparency.note import parse_note

    return Checkpoint.parse(parse_note(note).text).size


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as problem:
        raise ConfigurationError(f"{path}: {problem.strerror}", code="bad-mirror") from problem
    if len(content) > limit:
        raise ConfigurationError(f"{path}: more than {limit} bytes", code="bad-mirror")
    return content


def main(arguments: list[str]) -> int:
    """Prints one line; exit status 1 and a line on stderr when nothing was changed."""
    parser = argparse.ArgumentParser(prog="signwright.signer.gate.recover")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE")
    parser.add_argument("--from", dest="folder", type=Path, required=True, metavar="DIR")
    parser.add_argument("--root", required=True, metavar="ROOT-DIGEST")
    parser.add_argument("--signed", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        settings, users = load_settings(options.settings), load_users(options.settings)
        if users is not None:
            demand_own_user(users.gate, "recovery of the gate")
        os.umask(0o077)
        now = datetime.now(UTC)
        done = recover(settings, options.folder, root_sha256=options.root, signed=options.signed, now=now)
    except SignwrightError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"signer: error: {problem.message}{hint} [{problem.code}]", file=sys.stderr)
        return 1
    print(f"{done.size} {done.added} {done.dropped} {done.unfinished}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
