# SPDX-License-Identifier: Apache-2.0
"""A reader's own view of DER: definite, shortest lengths, one-byte tags (ITU-T X.690 section 10). No writer's code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from signwright.errors import FormatError

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x02, 0x03, 0x04, 0x05, 0x06
UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x17, 0x18, 0x30, 0x31

#: More elements than any structure read here has in one place.
MAX_CHILDREN = 1000

_TIMES = {
    UTC_TIME: (re.compile(rb"\d{12}Z"), "%y%m%d%H%M%SZ"),
    GENERALIZED_TIME: (re.compile(rb"\d{14}Z"), "%Y%m%d%H%M%SZ"),
}


@dataclass(frozen=True, slots=True)
class Node:
    """One element; ``encoded`` is complete, ``content`` lacks identifier and length, ``offset`` is from the start."""

    tag: int
    encoded: bytes
    content: bytes
    offset: int

    def expect(self, tag: int, what: str) -> Node:
        """Itself, or `FormatError` when it has another tag."""
        if self.tag != tag:
            raise FormatError(f"{what}: tag 0x{tag:02x} wanted, 0x{self.tag:02x} found", offset=self.offset)
        return self

    def children(self, what: str) -> list[Node]:
        """The elements inside; raises `FormatError` for a primitive element or bytes that are not elements."""
        if not self.tag & 0x20:
            raise FormatError(f"{what}: constructed element wanted, tag 0x{self.tag:02x} found", offset=self.offset)
        return nodes(self.content, what, base=self.offset + len(self.encoded) - len(self.content))


def node_at(encoding: bytes, offset: int, what: str, *, base: int = 0) -> Node:
    """The element at ``offset``; ``base`` is added to reported offsets. Raises `FormatError`."""
    head = encoding[offset : offset + 2]
    if len(head) < 2 or head[0] & 0x1F == 0x1F:
        raise FormatError(f"{what}: no DER element", offset=base + offset)
    start, length = offset + 2, head[1]
    if length > 0x7F:
        octets = encoding[start : start + length - 0x80]
        if not 1 <= len(octets) == length - 0x80 <= 4:
            raise FormatError(f"{what}: length is indefinite, too long or cut short", offset=base + offset)
        start, length = start + len(octets), int.from_bytes(octets, "big")
        if length < 0x80 or octets[0] == 0:
            raise FormatError(f"{what}: length is not in its shortest form", offset=base + offset)
    if length > len(encoding) - start:
        raise FormatError(f"{what}: ends early", offset=base + offset)
    return Node(head[0], encoding[offset : start + length], encoding[start : start + length], base + offset)


def nodes(content: bytes, what: str, *, base: int = 0) -> list[Node]:
    """Every element of ``content``, which must consist of elements only."""
    found: list[Node] = []
    offset = 0
    while offset < len(content):
        if len(found) == MAX_CHILDREN:
            raise FormatError(f"{what}: more than {MAX_CHILDREN} elements", offset=base + offset)
        found.append(node_at(content, offset, what, base=base))
        offset += len(found[-1].encoded)
    return found


def single(encoding: bytes, tag: int, what: str) -> Node:
    """The one element that ``encoding`` is."""
    node = node_at(encoding, 0, what).expect(tag, what)
    if len(node.encoded) != len(encoding):
        raise FormatError(f"{what}: {len(encoding) - len(node.encoded)} bytes behind it", offset=len(node.encoded))
    return node


def oid(node: Node, what: str) -> str:
    """Dotted form of an OBJECT IDENTIFIER."""
    arcs, value, fresh = [], 0, True
    for octet in node.expect(OID, what).content:
        if fresh and octet == 0x80:
            raise FormatError(f"{what}: object identifier with padding", offset=node.offset)
        value, fresh = value << 7 | octet & 0x7F, octet < 0x80
        if fresh:
            arcs.append(value)
            value = 0
    if not arcs or not fresh or len(node.content) > 64:
        raise FormatError(f"{what}: object identifier does not parse", offset=node.offset)
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


def integer(node: Node, what: str) -> int:
    content = node.expect(INTEGER, what).content
    padded = len(content) > 1 and content[0] in (0, 0xFF) and (content[0] ^ content[1]) < 0x80
    if not content or padded:
        raise FormatError(f"{what}: integer is not in its shortest form", offset=node.offset)
    return int.from_bytes(content, "big", signed=True)


def time(node: Node, what: str) -> datetime:
    """UTCTime or GeneralizedTime in the DER form of RFC 5280 4.1.2.5 (whole seconds, Zulu) as aware datetime."""
    form, layout = _TIMES.get(node.tag, (None, ""))
    if form is None or not form.fullmatch(node.content):
        raise FormatError(f"{what}: not a time in DER form", offset=node.offset)
    try:
        moment = datetime.strptime(node.content.decode(), layout).replace(tzinfo=UTC)
    except ValueError as problem:
        raise FormatError(f"{what}: not a time", offset=node.offset) from problem
    # strptime puts two-digit years from 69 into the last century, RFC 5280 those from 50.
    if node.tag == UTC_TIME and moment.year >= 2050:
        moment = moment.replace(year=moment.year - 100)
    return moment


def algorithm(node: Node, what: str) -> str:
    """OID of an AlgorithmIdentifier whose parameters are absent or NULL; others are refused."""
    fields = node.expect(SEQUENCE, what).children(what)
    if not fields or (fields[1:] and (len(fields) > 2 or fields[1].encoded != b"\x05\x00")):
        raise FormatError(f"{what}: algorithm with parameters that are not known", offset=node.offset)
    return oid(fields[0], what)
