# SPDX-License-Identifier: Apache-2.0
"""One scan: copy and hash the bytes, have every engine look at them and at every member of every archive inside.

Whatever was not fully looked at, for whatever reason, makes the verdict ``unscannable``. What is looked at is the
scanner's own unlinked copy, so that nobody can change the bytes between the digest and the scan.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from signwright.containers.base import ArchiveLimits, Budget, Place, Run, Tally
from signwright.containers.registry import (
    MAX_COVERED,
    MAX_EMBEDDED,
    MAX_RUNS,
    Coverage,
    claimed,
    container_of,
    embedded,
)
from signwright.errors import (
    ConflictError,
    FormatError,
    LimitError,
    MalformedError,
    SignwrightError,
    UnavailableError,
)
from signwright.model.framing import Frame
from signwright.scanner.engines.base import Engine, EngineInfo, Session
from signwright.scanner.verdict import MAX_FINDINGS, FindingRow, Verdict
from signwright.signer.worker.pool import JobLimits, RunningJob, WorkerPool
from signwright.signer.worker.task import DescriptorView
from signwright.signer.worker.wire import printable

_BLOCK = 1 << 20
#: In bytes, so that `MAX_FINDINGS` of them fit a statement even when every character is escaped. The inner end is kept.
_MAX_PATH = 600


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """``artifact``: largest artifact in bytes; ``archive``: what comes out of it; ``worker``: of the unpacking
    children.
    """

    artifact: int = 20 << 30
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    worker: JobLimits = field(default_factory=JobLimits)


@dataclass(slots=True)
class Progress:
    """Read by the heartbeat while a scan runs: bytes looked at so far and members that came out."""

    scanned: int = 0
    members: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """``name``: for people; ``sha256`` (hex) and ``size``: what the asker says, checked against the bytes."""

    name: str
    sha256: str
    size: int


class Scanner:
    """``pool``: workers with `signwright.scanner.jobs`; ``spool``: a folder for unlinked copies."""

    def __init__(self, pool: WorkerPool, engines: Sequence[Engine], *, spool: Path, limits: ScanLimits) -> None:
        self._pool = pool
        self._engines = tuple(engines)
        self._spool = spool
        self._limits = limits
        self._last: dict[str, EngineInfo] = {}
        self._sandbox = "none"

    def prove(self) -> list[EngineInfo]:
        """Have every engine show that it finds what it should and admits what it does not read."""
        self._sandbox = self._pool.start()
        for engine in self._engines:
            engine.prove()
            self._last[engine.name] = engine.info()
        return [self._last[engine.name] for engine in self._engines]

    def scan(self, artifact: int, subject: Subject, progress: Progress) -> Verdict:
        """The verdict on the bytes behind the descriptor ``artifact``.

        Raises `ConflictError` (``digest-mismatch``) when they are not ``subject``'s, `LimitError` (``too-large``),
        `MalformedError` when it is not a plain file, `UnavailableError` when the copy cannot be made.
        """
        if subject.size > self._limits.artifact:
            raise LimitError(f"{subject.size} bytes, at most {self._limits.artifact} are scanned")
        with contextlib.ExitStack() as stack:
            spools = [stack.enter_context(_Spool(self._spool)) for _ in range(self._limits.archive.depth + 1)]
            _copy(artifact, subject, spools[0])
            run = _Run(subject, progress, spools, self._pool, self._limits)
            for engine in self._engines:
                self._begin(engine, run, stack)
            run.look(0, subject.name)
            infos = tuple(self._last.get(e.name, EngineInfo(e.name, "unknown", "unknown")) for e in self._engines)
            return Verdict(run.verdict, infos, tuple(run.findings), progress.members, self._sandbox)

    def _begin(self, engine: Engine, run: _Run, stack: contextlib.ExitStack) -> None:
        try:
            self._last[engine.name] = engine.info()
            run.sessions.append((engine.name, stack.enter_context(engine.session([s.read_only for s in run.spools]))))
        except SignwrightError as problem:
            run.failed(run.subject.name, problem, engine.name)


class _Spool:
    """An unlinked file of our own, filled from the start again and again, with a read-only descriptor for others."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by __exit__
        self.read_only = os.open(f"/proc/self/fd/{self._file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.read_only)
        self._file.close()

    def clear(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def write(self, block: bytes) -> None:
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as problem:
            raise UnavailableError(f"the spool is full or broken: {problem}", code="spool-failed") from problem


def _copy(artifact: int, subject: Subject, spool: _Spool) -> None:
    if not stat.S_ISREG(os.fstat(artifact).st_mode):
        raise MalformedError("the descriptor is not of a plain file", code="bad-descriptor")
    digest, offset = hashlib.sha256(), 0
    while block := os.pread(artifact, _BLOCK, offset):
        offset += len(block)
        if offset > subject.size:
            break
        digest.update(block)
        spool.write(block)
    if offset != subject.size or digest.hexdigest() != subject.sha256:
        raise ConflictError(f"the bytes are not {subject.sha256} of {subject.size} bytes", code="digest-mismatch")


class _Run:
    """The state of one scan. File 0 is the artifact; file n the member that is open at nesting depth n."""

    def __init__(
        self, subject: Subject, progress: Progress, spools: Sequence[_Spool], pool: WorkerPool, limits: ScanLimits
    ) -> None:
        self.subject = subject
        self.spools = spools
        self.sessions: list[tuple[str, Session]] = []
        self.findings: list[FindingRow] = []
        self._progress = progress
        self._pool = pool
        self._limits = limits
        self._budget = Budget(limits.archive, packed=subject.size)
        self._infected = False
        self._incomplete = False

    @property
    def verdict(self) -> str:
        if self._infected:
            return "infected"
        return "unscannable" if self._incomplete or not self.sessions else "clean"

    def failed(self, path: str, problem: SignwrightError, engine: str) -> None:
        """Something was not looked at."""
        self._incomplete = True
        self._add(path, f"unscannable: {problem.code}", engine)

    def look(self, depth: int, path: str) -> None:
        """Scan file ``depth`` and everything in the archives that it is, or that stand anywhere in it."""
        for engine, session in list(self.sessions):
            try:
                for rule in session.scan(depth):
                    self._infected = True
                    self._add(path, rule, engine)
            except SignwrightError as problem:
                self.failed(path, problem, engine)
        view = DescriptorView(self.spools[depth].read_only)
        self._progress.scanned += view.size
        try:
            self._look_inside(depth, path, view)
        except SignwrightError as problem:
            self.failed(path, problem, "unpack")

    def _look_inside(self, depth: int, path: str, view: DescriptorView) -> None:
        """Open what the file is, then what stands in the parts that no opened archive explains, and what stands in the
        others and is not within one member: programs that look for archives anywhere find that, and no member has it.
        """
        covered, tally = Coverage(view.size), Tally.of(view.size)
        done, opened = set(), 0
        for place in claimed(view):
            done.add(place)
            self._open(depth, path, place, covered, tally)
        for first, last in [*covered.rest(), *covered.explained()]:
            for place in embedded(view, first, last):
                if place in done or (place.mark in covered and _is_within(view, place, covered, tally, packed=True)):
                    continue
                opened += 1
                if opened > MAX_EMBEDDED:
                    raise LimitError(f"more than {MAX_EMBEDDED} archives in a file", code="archive-members")
                self._open(depth, path, place, covered, tally)

    def _open(self, depth: int, path: str, place: Place, covered: Coverage, tally: Tally) -> None:
        """Look at the members of the archive at ``place`` and add what it explains. One that does not open makes the
        verdict unscannable and does not keep the search from the others; where another archive stands it was none when
        it leads nowhere, and when one member's own search meets it.
        """
        within = place.mark in covered
        try:
            covered.add(*self._unpack(depth, path, place))
        except SignwrightError as problem:
            view = DescriptorView(self.spools[depth].read_only)
            is_none = within and isinstance(problem, FormatError) and not problem.code.startswith("worker-")
            try:
                is_none = is_none and _is_within(view, place, covered, tally, packed=False)
            except SignwrightError as another:
                is_none = False
                self.failed(path, another, "unpack")
            if not is_none:
                self.failed(path, problem, "unpack")

    def _unpack(self, depth: int, path: str, place: Place) -> tuple[list[tuple[int, int]], list[Run]]:
        """Look at the members of the archive at ``place`` of file ``depth``; which ranges of the file it explains, and
        where in them its members stand.
        """
        archive = self._limits.archive
        if depth >= archive.depth:
            raise LimitError("nested too deep", code="archive-depth")
        message: dict[str, object] = {"kind": place.kind, "mark": place.mark, "end": place.end}
        message |= {name: getattr(archive, name) for name in ("members", "total", "ratio", "depth")}
        covered: list[tuple[int, int]] | None = None
        runs: list[Run] = []
        views = [self.spools[depth].read_only]
        size = DescriptorView(views[0]).size
        with self._pool.job("unpack", message, views=views, limits=self._limits.worker) as running:
            for frame in _parts(running):
                if covered is None:
                    covered = _ranges(frame.message.get("covered"), size)
                elif "runs" in frame.message:
                    runs += _runs(frame.message["runs"], size)
                    if len(runs) > MAX_RUNS:
                        raise _lost()
                else:
                    self._look_at_member(running, frame, depth, path)
        if covered is None:
            raise _lost()
        return covered, runs

    def _look_at_member(self, running: RunningJob, frame: Frame, depth: int, path: str) -> None:
        name = frame.message.get("member")
        if not isinstance(name, str) or not name:
            raise _lost()
        inner = f"{path}/{printable(name)}"
        problem = self._receive(running, depth + 1)
        self._progress.members += 1
        if problem is None:
            self.look(depth + 1, inner)
        else:
            self.failed(inner, problem, "unpack")

    def _receive(self, running: RunningJob, depth: int) -> SignwrightError | None:
        """Write one member to its spool file. Returns why it cannot be looked at; raises when nothing more can be."""
        spool = self.spools[depth]
        spool.clear()
        for frame in _parts(running):
            match frame.message:
                case {"end": True}:
                    return None
                case {"failed": str(code)}:
                    return LimitError("a member does not unpack", code=printable(code)[:64])
            for block in frame.parts:
                self._budget.take(len(block))
                spool.write(block)
        raise MalformedError("the unpacking worker stopped within a member", code="worker-answer")

    def _add(self, path: str, rule: str, engine: str) -> None:
        raw = path.encode()
        if len(raw) > _MAX_PATH:
            path = "…" + raw[-_MAX_PATH:].decode("utf-8", "ignore")
        row = FindingRow(path, rule[:200], engine)
        if row not in self.findings and len(self.findings) < MAX_FINDINGS:
            self.findings.append(row)


def _lost() -> MalformedError:
    return MalformedError("the unpacking worker lost its place", code="worker-answer")


def _ranges(told: object, size: int) -> list[tuple[int, int]]:
    """What a worker said that an archive explains, which must lie within the file."""
    if not isinstance(told, list) or len(told) > MAX_COVERED:
        raise _lost()
    ranges = []
    for row in told:
        match row:
            case [int(start), int(end)] if 0 <= start <= end <= size:
                ranges.append((start, end))
            case _:
                raise _lost()
    return ranges


def _runs(told: object, size: int) -> list[Run]:
    """Where a worker said that members stand."""
    runs = []
    for row in told if isinstance(told, list) else [None]:
        match row:
            case [int(start), int(end), int(behind), bool(packed)] if 0 <= start <= end <= size and behind >= 0:
                runs.append(Run(start, end, behind, packed))
            case _:
                raise _lost()
    return runs


def _is_within(view: DescriptorView, place: Place, covered: Coverage, tally: Tally, *, packed: bool) -> bool:
    """Whether what stands at ``place``, in an archive, leads nowhere or lies within one member of that archive."""
    reach = container_of(place.kind).reach(view, place, tally)
    return reach is None or covered.shows(reach, packed=packed)


def _parts(running: RunningJob) -> Iterator[Frame]:
    while True:
        kind, frame = running.answer()
        if kind == "done":
            return
        yield frame
