# SPDX-License-Identifier: Apache-2.0
"""What signing changes in a file: ordered, non-overlapping replacements, bound to the bytes before and after.

Wire form (``application/vnd.signwright.patch``): the magic line, a big-endian 4-byte header length, a JSON header
``{"source":{"sha256","size"},"result":{"sha256","size"},"splices":[[offset,remove,length],...]}``, then the inserted
bytes of each splice in order.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from signwright.errors import MalformedError
from signwright.model.one_pass import one_pass
from signwright.model.view import BLOCK, View, blocks, check_range

MAGIC = b"signwright-patch/1\n"
MAX_SPLICES = 100_000
MAX_HEADER = 8 << 20


@dataclass(frozen=True, slots=True)
class Splice:
    """Replace ``remove`` bytes at ``offset`` of the source by ``insert``."""

    offset: int
    remove: int
    insert: bytes


@dataclass(frozen=True, slots=True)
class Patch:
    """``splices`` in order of offset. Digests are lower-case hex SHA-256, sizes bytes.

    ``result_sha256`` is empty until somebody has read the result (see `sealed`): a patch on the wire always has it.
    """

    source_sha256: str
    source_size: int
    result_sha256: str
    result_size: int
    splices: tuple[Splice, ...]

    def __post_init__(self) -> None:
        end = 0
        for splice in self.splices:
            if splice.offset < end or splice.remove < 0:
                raise MalformedError("patch: replacements overlap or are out of order", code="bad-patch")
            end = splice.offset + splice.remove
        grown = sum(len(s.insert) - s.remove for s in self.splices)
        if end > self.source_size or self.source_size + grown != self.result_size:
            raise MalformedError("patch: does not fit the sizes it names", code="bad-patch")

    @property
    def inserted(self) -> int:
        """Number of bytes that the patch carries."""
        return sum(len(s.insert) for s in self.splices)

    def encode(self) -> bytes:
        """The wire form above; raises `MalformedError` while the result digest is not known."""
        if not self.result_sha256:
            raise MalformedError("patch: the result digest is not known yet", code="bad-patch")
        header = json.dumps(
            {
                "source": {"sha256": self.source_sha256, "size": self.source_size},
                "result": {"sha256": self.result_sha256, "size": self.result_size},
                "splices": [[s.offset, s.remove, len(s.insert)] for s in self.splices],
            },
            separators=(",", ":"),
        ).encode()
        return b"".join((MAGIC, len(header).to_bytes(4, "big"), header, *(s.insert for s in self.splices)))

    @classmethod
    def decode(cls, wire: bytes) -> Patch:
        """Read the wire form; raises `MalformedError` for anything that `encode` would not have written."""
        start = len(MAGIC) + 4
        if not wire.startswith(MAGIC) or len(wire) < start:
            raise MalformedError("patch: not a patch", code="bad-patch")
        length = int.from_bytes(wire[len(MAGIC) : start], "big")
        if length > MAX_HEADER or start + length > len(wire):
            raise MalformedError("patch: header longer than the patch", code="bad-patch")
        try:
            header = json.loads(wire[start : start + length])
            patch = cls._from_header(header, wire[start + length :])
        except (ValueError, KeyError, TypeError, RecursionError) as problem:
            raise MalformedError("patch: the header does not parse", code="bad-patch") from problem
        if patch.encode() != wire:
            raise MalformedError("patch: not in its one written form", code="bad-patch")
        return patch

    @classmethod
    def _from_header(cls, header: dict[str, dict[str, object]], body: bytes) -> Patch:
        rows = header["splices"]
        if not isinstance(rows, list) or len(rows) > MAX_SPLICES:
            raise MalformedError("patch: too many replacements", code="bad-patch")
        splices, at = [], 0
        for offset, remove, size in rows:
            if not all(type(n) is int and n >= 0 for n in (offset, remove, size)) or at + size > len(body):
                raise MalformedError("patch: a replacement is out of range", code="bad-patch")
            splices.append(Splice(offset, remove, body[at : at + size]))
            at += size
        source, result = header["source"], header["result"]
        for side in (source, result):
            if type(side["size"]) is not int or not isinstance(side["sha256"], str):
                raise MalformedError("patch: sizes and digests have the wrong type", code="bad-patch")
        return cls(source["sha256"], source["size"], result["sha256"], result["size"], tuple(splices))


class Patched:
    """Read-only overlay: the source view with a patch applied, nothing copied."""

    def __init__(self, source: View, patch: Patch) -> None:
        if source.size != patch.source_size:
            raise MalformedError(
                f"patch: made for {patch.source_size} bytes, applied to {source.size}", code="patch-mismatch"
            )
        self.size = patch.result_size
        self._source = source
        # Runs of (start in the result, length, offset in the source or None, inserted bytes).
        self._runs: list[tuple[int, int, int | None, bytes]] = []
        at = position = 0
        for splice in patch.splices:
            self._add(at, splice.offset - position, position, b"")
            at += splice.offset - position
            self._add(at, len(splice.insert), None, splice.insert)
            at += len(splice.insert)
            position = splice.offset + splice.remove
        self._add(at, source.size - position, position, b"")
        self._starts = [run[0] for run in self._runs]

    def _add(self, start: int, length: int, offset: int | None, insert: bytes) -> None:
        if length > 0:
            self._runs.append((start, length, offset, insert))

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size)
        parts = list(self._parts(offset, length))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _parts(self, offset: int, length: int) -> Iterator[bytes]:
        at = max(bisect_right(self._starts, offset) - 1, 0)
        while length > 0:
            start, run, source, insert = self._runs[at]
            skip = offset - start
            step = min(run - skip, length)
            yield insert[skip : skip + step] if source is None else self._source.read(source + skip, step)
            offset, length, at = offset + step, length - step, at + 1


def sealed(source: View, patch: Patch) -> Patch:
    """The same patch with the digest of its result, for which the whole result is read once."""
    digest = hashlib.sha256()
    for block in blocks(Patched(source, patch), 0, patch.result_size, BLOCK):
        digest.update(block)
    return replace(patch, result_sha256=digest.hexdigest())


def apply_patch(source: View, patch: Patch, write: Callable[[memoryview], object]) -> str:
    """Give the result to ``write`` in consecutive blocks and return its hex SHA-256, in one pass over ``source``.

    Whoever applies a patch from elsewhere compares the answer with ``patch.result_sha256``. The digest is taken in a
    thread of its own while the blocks are written.
    """
    digest = hashlib.sha256()
    one_pass(Patched(source, patch), [lambda block, _: digest.update(block)], lambda block, _: _write_all(write, block))
    return digest.hexdigest()


def _write_all(write: Callable[[memoryview], object], block: memoryview) -> None:
    """Unbuffered files may take less than they are given, and say how much."""
    while block:
        taken = write(block)
        block = block[taken if isinstance(taken, int) else len(block) :]


def compose(first: Patch, second: Patch) -> Patch:
    """One patch that does ``first`` and then ``second``; ``second`` was made for the result of ``first``."""
    if first.result_size != second.source_size or (first.result_sha256 and first.result_sha256 != second.source_sha256):
        raise MalformedError("patch: the second was not made for the result of the first", code="patch-mismatch")
    splices = _composed(first, second)
    return Patch(first.source_sha256, first.source_size, second.result_sha256, second.result_size, tuple(splices))


def _composed(first: Patch, second: Patch) -> list[Splice]:
    """Walk the runs of ``first``'s result; whatever ``second`` replaces becomes inserted bytes over the source."""
    pieces = list(_pieces(first))
    boundaries = [(s.offset, s.offset + s.remove, s.insert) for s in second.splices]
    out: list[tuple[int | None, int, bytes]] = []  # (source offset or None, length, inserted bytes)
    queue = iter(pieces)
    current = next(queue, None)
    at = 0
    for start, stop, insert in [*boundaries, (first.result_size, first.result_size, b"")]:
        while current is not None and at < stop:
            source, length, data = current
            keep_to = start if at < start else stop
            step = min(length, keep_to - at)
            if at < start:
                out.append((source, step, data[:step]))
            at += step
            rest = length - step
            current = (None if source is None else source + step, rest, data[step:]) if rest else next(queue, None)
        out.append((None, len(insert), insert))
    return _merged(out, first.source_size)


def _pieces(patch: Patch) -> Iterator[tuple[int | None, int, bytes]]:
    position = 0
    for splice in patch.splices:
        if splice.offset > position:
            yield position, splice.offset - position, b""
        if splice.insert:
            yield None, len(splice.insert), splice.insert
        position = splice.offset + splice.remove
    if patch.source_size > position:
        yield position, patch.source_size - position, b""


def _merged(pieces: list[tuple[int | None, int, bytes]], source_size: int) -> list[Splice]:
    splices: list[Splice] = []
    position, pending = 0, b""
    for source, length, data in pieces:
        if source is None:
            pending += data
            continue
        if source != position or pending:
            splices.append(Splice(position, source - position, pending))
        position, pending = source + length, b""
    if pending or position != source_size:
        splices.append(Splice(position, source_size - position, pending))
    return splices
