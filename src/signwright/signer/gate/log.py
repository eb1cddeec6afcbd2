# SPDX-License-Identifier: Apache-2.0
"""The transparency log: leaves in, durable indexes and cosigned checkpoints out.

Two loops. The *writer* takes all leaves that wait, writes their tiles (fsync, rename), then commits size and root with
whatever belongs to the leaves in one transaction: one group, one fsync, however many requests. The *cosigner* signs the
newest durable checkpoint and has the witnesses cosign it, while the writer goes on. The database names the tree: tiles
beyond it are leftovers of a crash and are overwritten, tiles that do not lead to its root stop the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from signwright.errors import ConfigurationError, MalformedError, SignwrightError, UnavailableError, VerificationError
from signwright.signer.gate.state import State, Write, log_position
from signwright.signer.gate.tiles import TileFiles
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import Cosigned
from signwright.transparency.growth import Frontier
from signwright.transparency.merkle import leaf_hash
from signwright.transparency.proof import TlogProof
from signwright.transparency.signing import SignerKey, sign_checkpoint
from signwright.transparency.tiles import (
    ENTRIES,
    HEIGHT,
    LEVELS,
    WIDTH,
    Tile,
    TileTree,
    full_root,
    parse_bundle,
    split_tile,
)

#: Rounds that are open at once where people carry cosignatures.
MOST_ROUNDS = 256
#: How long a group waits for company when it is not full, and how often again while company comes.
GATHER_SECONDS, GATHERINGS = 0.003, 4
#: Leaves that nobody waits for (results, denials) are cosigned after so long.
LAZY_SECONDS = 1.0

#: After a failed write: time for the answers that say so, before the gate ends and a restart looks at the disk.
BROKEN_SECONDS = 2.0

#: Roots of subtrees that are kept for proofs.
_MOST_NODES = 8192

#: From the index that a leaf got to what is written with it.
Writes = Callable[[int], Sequence[Write]]


@dataclass(slots=True)
class _Entry:
    leaf: bytes
    writes: Writes
    done: asyncio.Future[int]


@dataclass(frozen=True, slots=True)
class WitnessedCheckpoint:
    """A checkpoint with a quorum: ``note`` as it travels, ``cosigned`` who did."""

    checkpoint: Checkpoint
    note: bytes
    cosigned: Cosigned
    tree: TileTree

    def proof(self, index: int) -> TlogProof:
        """That the leaf at ``index`` stands under this checkpoint."""
        return TlogProof(index, tuple(self.tree.inclusion(index)), self.note)


#: Has a signed note cosigned: (checkpoint, note, tree) to the note with a quorum. Raises `SignwrightError`.
Collect = Callable[[Checkpoint, bytes, TileTree], Awaitable[tuple[bytes, Cosigned]]]


def _nothing(_index: int) -> Sequence[Write]:
    return ()


@dataclass(slots=True)
class _Waiter:
    index: int
    done: asyncio.Future[WitnessedCheckpoint]


@dataclass(slots=True)
class Log:
    """``frontier`` comes from `load_frontier`; `run` is its life. ``changed``: called after each commit and each
    quorum; ``carried``: people carry questions and cosignatures, so that a round may take days.
    """

    state: State
    files: TileFiles
    signer: SignerKey | None
    frontier: Frontier
    collect: Collect
    group: int = 512
    carried: bool = False
    changed: Callable[[], None] = lambda: None
    witnessed: WitnessedCheckpoint | None = None
    _queue: asyncio.Queue[_Entry] = field(default_factory=asyncio.Queue)
    _waiters: list[_Waiter] = field(default_factory=list)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _broken: SignwrightError | None = None
    _nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """The log's name, known from the first policy on; raises `UnavailableError` before."""
        if self.signer is None:
            raise UnavailableError("the log has no name before the first policy", code="no-policy")
        return self.signer.name

    @property
    def size(self) -> int:
        """Number of durable leaves."""
        return self.frontier.size

    def tree(self) -> TileTree:
        """Of the durable leaves."""
        if len(self._nodes) > _MOST_NODES:
            self._nodes = {}
        return TileTree(self.frontier.size, self.files.read, nodes=self._nodes)

    def leaves(self, first: int, end: int) -> list[bytes]:
        """Contents of durable leaves, without the one at ``end``."""
        size, found = self.frontier.size, list[bytes]()
        for index in range(first // WIDTH, -(-end // WIDTH)):
            width = min(WIDTH, size - index * WIDTH)
            found += parse_bundle(self.files.read(Tile(ENTRIES, index, width).path), width)
        start = first // WIDTH * WIDTH
        return found[first - start : end - start]

    async def append(self, leaf: bytes, writes: Writes = _nothing) -> int:
        """The leaf's index, once leaf and ``writes`` are durable. Raises `UnavailableError` when the disk fails."""
        if self._broken is not None:
            raise self._broken
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Entry(leaf, writes, done))
        return await done

    async def record(self, writes: Sequence[Write]) -> None:
        """Make ``writes`` durable without a leaf: what is known about leaves that stand already."""
        await asyncio.to_thread(self.state.transaction, writes)

    async def cosigned(self, index: int) -> WitnessedCheckpoint:
        """A checkpoint over the leaf at ``index`` with a quorum of cosignatures; raises what the witnesses' round
        raises.
        """
        if self.witnessed is not None and self.witnessed.checkpoint.size > index:
            return self.witnessed
        waiter = _Waiter(index, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._wanted.set()
        return await waiter.done

    async def run(self) -> None:
        """Write and have cosigned until cancelled, or until the disk fails, which raises `UnavailableError`."""
        # A thread of its own: workers that take their time must not keep the log from being written.
        with ThreadPoolExecutor(1, "log") as writer:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._write_groups(writer))
                    tasks.create_task(self._carried_rounds() if self.carried else self._cosign_rounds())
            except ExceptionGroup as group:
                raise group.exceptions[0] from group

    async def _write_groups(self, writer: ThreadPoolExecutor) -> None:
        while True:
            entries = [await self._queue.get()]
            await self._gather(entries)
            try:
                await asyncio.get_running_loop().run_in_executor(writer, self._commit, entries)
            except SignwrightError as problem:
                await self._break(problem, entries)
                raise
            first = self.frontier.size - len(entries)
            for index, entry in enumerate(entries, first):
                if not entry.done.done():
                    entry.done.set_result(index)
            self.changed()

    async def _gather(self, entries: list[_Entry]) -> None:
        """Add the leaves that come, as long as one comes in each pause and the group is not full."""
        for _ in range(GATHERINGS):
            await asyncio.sleep(GATHER_SECONDS)
            before = len(entries)
            while len(entries) < self.group and not self._queue.empty():
                entries.append(self._queue.get_nowait())
            if len(entries) in {before, self.group}:
                return

    async def _break(self, problem: SignwrightError, entries: Sequence[_Entry]) -> None:
        """What is on disk is no longer known for sure: nothing more is written until a restart has looked."""
        self._broken = problem
        while not self._queue.empty():
            entries = [*entries, self._queue.get_nowait()]
        for entry in entries:
            if not entry.done.done():
                entry.done.set_exception(problem)
        await asyncio.sleep(BROKEN_SECONDS)

    def _commit(self, entries: Sequence[_Entry]) -> None:
        if self._broken is not None:
            raise self._broken
        old = self.frontier.size
        growth = self.frontier.grow([entry.leaf for entry in entries])
        self.files.write(growth.tiles)
        writes = [write for index, entry in enumerate(entries, old) for write in entry.writes(index)]
        self.state.transaction([*writes, log_position(growth.size, growth.root)])
        self.frontier = growth.frontier
        for path in growth.tiles:
            if Tile.parse(path).width == WIDTH:
                self.files.prune(path)

    async def _cosign_rounds(self) -> None:
        while True:
            await self._pause()
            await self._cosign_round()

    async def _pause(self) -> None:
        """Until cosignatures are wanted, or a moment has passed."""
        try:
            async with asyncio.timeout(LAZY_SECONDS):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()

    async def _carried_rounds(self) -> None:
        """A round for each size that the tree has had, side by side: nobody knows which question will be carried out,
        and none waits for the answer to another.
        """
        rounds: dict[int, asyncio.Task[None]] = {}
        reached = 0
        try:
            while True:
                await self._pause()
                before, reached = reached, self.witnessed.checkpoint.size if self.witnessed is not None else 0
                if reached > before:
                    # Witnesses are further now: smaller trees are settled, larger ones need another proof.
                    await _ended(rounds.values())
                rounds = {size: task for size, task in rounds.items() if not task.done()}
                size = self.frontier.size
                if self.signer is not None and size > reached and size not in rounds:
                    if len(rounds) >= MOST_ROUNDS:
                        await _ended([rounds.pop(min(rounds))])
                    rounds[size] = asyncio.create_task(self._carried_round())
        finally:
            await _ended(rounds.values())

    async def _carried_round(self) -> None:
        """Have the tree of now cosigned, however long that takes."""
        tree = self.tree()
        checkpoint = Checkpoint(self.origin, self.frontier.size, self.frontier.root())
        assert self.signer is not None
        try:
            note, cosigned = await self.collect(checkpoint, sign_checkpoint(checkpoint, self.signer), tree)
        except SignwrightError as problem:
            self._settle([w for w in self._waiters if w.index < checkpoint.size], problem)
            return
        if self.witnessed is None or checkpoint.size > self.witnessed.checkpoint.size:
            self.witnessed = WitnessedCheckpoint(checkpoint, note, cosigned, tree)
        self._settle([w for w in self._waiters if w.index < self.witnessed.checkpoint.size], self.witnessed)
        self._wanted.set()
        self.changed()

    async def _cosign_round(self) -> None:
        size = self.frontier.size
        if not size or self.signer is None:
            return
        if self.witnessed is not None and self.witnessed.checkpoint.size >= size:
            # Whoever began to wait while the last round was under way is answered by it.
            self._settle([w for w in self._waiters if w.index < self.witnessed.checkpoint.size], self.witnessed)
            return
        tree = self.tree()
        checkpoint = Checkpoint(self.origin, size, self.frontier.root())
        waiting = [waiter for waiter in self._waiters if waiter.index < size]
        try:
            note, cosigned = await self.collect(checkpoint, sign_checkpoint(checkpoint, self.signer), tree)
        except SignwrightError as problem:
            self._settle(waiting, problem)
            return
        self.witnessed = WitnessedCheckpoint(checkpoint, note, cosigned, tree)
        self._settle(waiting, self.witnessed)
        self.changed()

    def _settle(self, waiters: Sequence[_Waiter], outcome: WitnessedCheckpoint | SignwrightError) -> None:
        for waiter in waiters:
            self._waiters.remove(waiter)
            if waiter.done.done():
                continue
            if isinstance(outcome, SignwrightError):
                waiter.done.set_exception(outcome)
            else:
                waiter.done.set_result(outcome)
        if self._waiters:
            self._wanted.set()

    def check_seen(self, size: int, root: bytes) -> None:
        """Somebody outside saw a tree of ``size`` leaves; raises `VerificationError` unless ours continues it."""
        if size > self.frontier.size:
            raise VerificationError(
                f"log: {self.frontier.size} leaves here, and {size} were seen outside: this is an older copy",
                code="log-rollback",
            )
        if self.tree().root(size) != root:
            raise VerificationError(f"log: another tree of {size} leaves was seen outside", code="log-fork")


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel them, and wait until they are gone."""
    waited = list(tasks)
    for task in waited:
        task.cancel()
    await asyncio.gather(*waited, return_exceptions=True)


def load_frontier(state: State, files: TileFiles) -> Frontier:
    """The log's end as database and tiles agree on it, every tile read; raises `ConfigurationError` when they do
    not.
    """
    pinned = state.pinned()
    try:
        frontier = Frontier.load(pinned.log_size, files.read)
        _check_tiles(pinned.log_size, files)
    except SignwrightError as problem:
        raise ConfigurationError(
            f"log: tiles and database disagree: {problem.message}", code="log-damaged"
        ) from problem
    if frontier.root() != pinned.log_root:
        raise ConfigurationError(
            f"log: the tiles of {pinned.log_size} leaves do not lead to the root that the database has",
            code="log-damaged",
            hint="restore the folder of tiles from a mirror; never the database from an older copy",
        )
    return frontier


def _check_tiles(size: int, files: TileFiles) -> None:
    """Each entry hashes into its tile and each full tile into the level above; raises `MalformedError`."""
    for level in range(LEVELS):
        count = size >> (HEIGHT * level)
        above = size >> (HEIGHT * (level + 1))
        for index in range(-(-count // WIDTH)):
            width = min(WIDTH, count - index * WIDTH)
            hashes = split_tile(files.read(Tile(level, index, width).path), width)
            if level == 0:
                entries = parse_bundle(files.read(Tile(ENTRIES, index, width).path), width)
                if [leaf_hash(entry) for entry in entries] != hashes:
                    raise MalformedError(f"the entries of bundle {index} are not those of its tile", code="bad-bundle")
            if width == WIDTH:
                place, at = divmod(index, WIDTH)
                parent = Tile(level + 1, place, min(WIDTH, above - place * WIDTH))
                if split_tile(files.read(parent.path), parent.width)[at] != full_root(hashes):
                    raise MalformedError(f"tile {index} of level {level} was changed", code="bad-tile")
