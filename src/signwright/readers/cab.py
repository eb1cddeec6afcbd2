# SPDX-License-Identifier: Apache-2.0
"""Reader of signed cabinets, written from the specification and sharing nothing with the writer.

Sources: "Microsoft Cabinet Format" ([MS-CAB]) for the structure; for the signature, which no specification describes,
what cabinets signed by others have in common: a reserve of 20 bytes in the header names offset and size of a CMS
structure behind the cabinet. Every byte of the cabinet is covered by the digest or has one value that it may have.
What is *not* covered by a signature that is found to hold: unsigned attributes (timestamp tokens and nested signatures,
which are checked on their own), and of the certificates in the structure all but the signer's key and identifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.model.one_pass import one_pass
from signwright.model.view import View
from signwright.readers import authenticode, cms
from signwright.readers.base import Reading

_CAB_DATA = "1.3.6.1.4.1.311.2.1.25"
_HEADER = 36
_HAS_PREVIOUS, _HAS_NEXT, _HAS_RESERVE = 1, 2, 4
_SIGNATURE_RESERVE = bytes.fromhex("1400 00 00 0000 1000")


@dataclass(frozen=True, slots=True)
class _Cabinet:
    """``fixed``: the 36 bytes at the start; ``names`` and ``folders``: as they stand; ``content_start``: of the file
    records; ``content_end``: where the cabinet ends; ``signature_end``: the same without a signature.
    """

    fixed: bytes
    names: bytes
    folders: bytes
    content_start: int
    content_end: int
    signature_end: int

    def covered_head(self) -> bytes:
        """Without reserved1 and everything about the reserve but the length of the part that is no signature: 0."""
        return self.fixed[:4] + self.fixed[8:] + b"\0\0" + self.names + self.folders

    def stripped_head(self) -> bytes:
        """The head of the same cabinet without a reserve: sizes, offsets and flags as they are then."""
        shift = self.content_start - _HEADER - len(self.names) - len(self.folders)
        numbers = [(self.fixed[:8], 0), (self.fixed[8:12], shift), (self.fixed[12:16], 0), (self.fixed[16:20], shift)]
        head = b"".join(_less(field, by) for field, by in numbers) + self.fixed[20:30]
        flags = int.from_bytes(self.fixed[30:32], "little") & ~_HAS_RESERVE
        head += flags.to_bytes(2, "little") + self.fixed[32:] + self.names
        rows = (self.folders[at : at + 8] for at in range(0, len(self.folders), 8))
        return head + b"".join(_less(row[:4], shift) + row[4:] for row in rows)


def _less(field: bytes, by: int) -> bytes:
    return (int.from_bytes(field, "little") - by).to_bytes(len(field), "little")


class CabReader:
    """Implements `signwright.readers.base.Reader` and `signwright.readers.base.Stripper`."""

    name = "cab"

    def recognizes(self, view: View) -> bool:
        return view.size >= _HEADER and view.read(0, 4) == b"MSCF"

    def stripped(self, view: View) -> str:
        """See `signwright.readers.base.Stripper`."""
        return _digests(view, _read_cabinet(view), ())[1]

    def read(self, view: View, content: View | None = None) -> Reading:
        """The signature of the cabinet and those nested in it; none in an unsigned one.

        A signature whose digest is SHA-1 or MD5 is not counted: it is a warning beside another one, and
        `VerificationError` alone. Any other signature that does not hold is `VerificationError`.
        """
        if content is not None:
            raise FormatError("a cabinet carries its signature inside, there is no content beside it")
        cabinet = _read_cabinet(view)
        claims, warnings = authenticode.accepted(list(_claims(view, cabinet)))
        digests, stripped = _digests(view, cabinet, sorted({claim.algorithm for claim in claims}))
        found = tuple(authenticode.checked(claim, digests, self.name) for claim in claims)
        return Reading(self.name, found, stripped, tuple(warnings))


def _number(fixed: bytes, offset: int, length: int) -> int:
    return int.from_bytes(fixed[offset : offset + length], "little")


def _read_cabinet(view: View) -> _Cabinet:
    if view.size < _HEADER or view.read(0, 4) != b"MSCF":
        raise FormatError("not a cabinet: no MSCF at its start", code="not-a-cab")
    fixed = view.read(0, _HEADER)
    size, files_at, flags = _number(fixed, 8, 4), _number(fixed, 16, 4), _number(fixed, 30, 2)
    if fixed[4:8] != bytes(4) or fixed[24:26] != b"\3\1" or flags > 7:
        raise FormatError("cabinet: reserved1, version or flags are not what this reader knows", offset=4)
    at, end = _HEADER, size
    if flags & _HAS_RESERVE:
        at, end = _read_reserve(view, size)
    names = _names(view, at, flags)
    folders_at = at + len(names)
    folders = view.read(folders_at, 8 * _number(fixed, 26, 2))
    if (
        not folders
        or not _number(fixed, 28, 2)
        or folders_at + len(folders) != files_at
        or not files_at < size <= view.size
    ):
        raise FormatError("cabinet: sizes and offsets of its header do not fit together", offset=8)
    for row in range(0, len(folders), 8):
        if not files_at < _number(folders, row, 4) <= size:
            raise FormatError("cabinet: a folder begins where no data can be", offset=folders_at + row)
    if end != view.size:
        raise FormatError(
            f"cabinet: {view.size - end} bytes behind it that nothing names", offset=end, code="data-after-cabinet"
        )
    return _Cabinet(fixed, names, folders, files_at, size, end)


def _read_reserve(view: View, size: int) -> tuple[int, int]:
    """Where the reserve ends, and where the signature ends that it names or, without one, the cabinet."""
    sizes = view.read(_HEADER, 4)
    length = int.from_bytes(sizes[:2], "little")
    reserve = view.read(_HEADER + 4, length)
    after = _HEADER + 4 + length
    is_empty = reserve == _SIGNATURE_RESERVE[4:] + bytes(16) or not any(reserve)
    if sizes[2:] == b"\0\0" and is_empty:
        return after, size
    if sizes + reserve[:4] != _SIGNATURE_RESERVE or any(reserve[12:]):
        raise FormatError("cabinet: a reserve that is not made for a signature", offset=_HEADER, code="foreign-reserve")
    start, count = int.from_bytes(reserve[4:8], "little"), int.from_bytes(reserve[8:12], "little")
    if start != size or not count:
        raise FormatError("cabinet: the signature is not where the cabinet ends", offset=44, code="bad-reserve")
    return after, start + count


def _names(view: View, at: int, flags: int) -> bytes:
    """Names of the cabinets before and behind and of their disks, each with its zero."""
    start = at
    for _ in range(2 * bool(flags & _HAS_PREVIOUS) + 2 * bool(flags & _HAS_NEXT)):
        text = view.read(at, min(256, max(view.size - at, 0)))
        if b"\0" not in text:
            raise FormatError("cabinet: a name without an end", offset=at)
        at += text.index(b"\0") + 1
    return view.read(start, at - start)


def _claims(view: View, cabinet: _Cabinet) -> Iterator[authenticode.Claim]:
    size = cabinet.signature_end - cabinet.content_end
    if size > cms.MAX_ENVELOPE:
        raise FormatError("the signature is larger than any that is read", offset=cabinet.content_end, code="too-large")
    entries = [("1", view.read(cabinet.content_end, size))] if size else []
    return authenticode.claims_in(entries, lambda indirect, _: indirect.kind == _CAB_DATA, padding=True)


def _digests(view: View, cabinet: _Cabinet, algorithms: Sequence[str]) -> tuple[dict[str, bytes], str]:
    """The cabinet's digests, and hex SHA-256 of what it is without signature and reserve, in one pass."""
    running = {name: hashlib.new(name, cabinet.covered_head()) for name in algorithms}
    stripped = hashlib.sha256(cabinet.stripped_head())

    def content(block: memoryview, offset: int) -> memoryview:
        return block[max(cabinet.content_start - offset, 0) : max(cabinet.content_end - offset, 0)]

    consumers = [lambda block, at, one=one: one.update(content(block, at)) for one in running.values()]
    one_pass(view, consumers, lambda block, at: stripped.update(content(block, at)))
    return {name: one.digest() for name, one in running.items()}, stripped.hexdigest()
