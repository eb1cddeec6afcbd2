# SPDX-License-Identifier: Apache-2.0
"""Distinguished encoding, strictly: what ASN.1 libraries let pass and X.690 sections 8, 10 and 11 forbid.

Knows tags, lengths and the primitive forms; knows nothing of any structure (`signwright.timestamps.structure`).
"""

from __future__ import annotations

import itertools
import re

MAX_DEPTH = 32
MAX_ELEMENTS = 20_000

_BOOLEAN, _INTEGER, _BIT_STRING, _NULL, _OID, _ENUMERATED = 1, 2, 3, 5, 6, 10
_SEQUENCE, _SET, _UTC_TIME, _GENERALIZED_TIME = 16, 17, 23, 24
_CONSTRUCTED = 0x20
#: No ObjectDescriptor, EXTERNAL, REAL, embedded values, relative identifiers: nothing here has them.
_KNOWN = {*range(1, 7), _ENUMERATED, 12, _SEQUENCE, _SET, *range(18, 31)}
_UTC_FORM = re.compile(rb"[0-9]{12}Z")
_GENERALIZED_FORM = re.compile(rb"[0-9]{14}(\.[0-9]*[1-9])?Z")


#: What asn1crypto lets through when a structure is not what it should be.
LIBRARY_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class DerError(ValueError):
    """Bytes that are not DER. Stays inside this package: callers give it the code of what they were reading."""


def check_der(encoded: bytes) -> None:
    """Raise `DerError` unless ``encoded`` is exactly one DER element, all the way down.

    Definite minimal lengths, minimal integers, one form of TRUE, no padding bits, no constructed strings. The order of
    SET OF is left to `require_sorted`, because only the structure knows which implicit tags are sets.
    """
    _, _, end = _header(encoded, 0, len(encoded))
    if end != len(encoded):
        raise DerError(f"{len(encoded) - end} bytes follow the structure")
    pending = [(0, end, 0)]
    seen = 0
    while pending:
        at, limit, depth = pending.pop()
        while at < limit:
            seen += 1
            if seen > MAX_ELEMENTS or depth > MAX_DEPTH:
                raise DerError(f"more than {MAX_ELEMENTS} elements or {MAX_DEPTH} levels")
            tag, start, end = _header(encoded, at, limit)
            if tag & _CONSTRUCTED:
                pending.append((start, end, depth + 1))
            _check_form(tag, encoded[start:end] if not tag & _CONSTRUCTED else b"", at)
            at = end


def split(contents: bytes) -> list[bytes]:
    """The elements that lie one after another in the contents of a constructed element, each with its header."""
    found, at = [], 0
    while at < len(contents):
        _, _, end = _header(contents, at, len(contents))
        found.append(contents[at:end])
        at = end
    return found


def contents_of(element: bytes) -> bytes:
    """The contents octets of one element; `DerError` when bytes follow it."""
    _, start, end = _header(element, 0, len(element))
    if end != len(element):
        raise DerError(f"{len(element) - end} bytes follow the element")
    return element[start:]


def wrap(tag: int, contents: bytes) -> bytes:
    """``contents`` under the identifier octet ``tag`` with a minimal length."""
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + contents


def integer(value: int) -> bytes:
    """A minimal INTEGER."""
    return wrap(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def is_sorted(elements: list[bytes]) -> bool:
    """Whether the encodings stand in the order that DER asks of a SET OF (X.690 11.6)."""
    return all(a <= b for a, b in itertools.pairwise(elements))


def _header(encoded: bytes, at: int, limit: int) -> tuple[int, int, int]:
    """Identifier octet, start and end of the contents of the element at ``at``."""
    if at + 2 > limit:
        raise DerError(f"the element at offset {at} is cut off")
    tag, length, start = encoded[at], encoded[at + 1], at + 2
    if tag & 0x1F == 0x1F or tag == 0:
        raise DerError(f"identifier octet {tag:#04x} at offset {at}")
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or start + size > limit:
            raise DerError(f"indefinite, over-long or cut off length at offset {at}")
        length = int.from_bytes(encoded[start : start + size], "big")
        if length < 0x80 or length >> (8 * (size - 1)) == 0:
            raise DerError(f"length at offset {at} is not minimal")
        start += size
    if start + length > limit:
        raise DerError(f"the element at offset {at} ends beyond its container")
    return tag, start, start + length


def _check_form(tag: int, contents: bytes, at: int) -> None:
    if tag & 0xC0:  # context-specific and the like: the type is not known here
        return
    number, constructed = tag & 0x1F, bool(tag & _CONSTRUCTED)
    if number not in _KNOWN or constructed != (number in (_SEQUENCE, _SET)):
        raise DerError(f"identifier octet {tag:#04x} at offset {at}: unknown type or wrong form for it")
    if not constructed and not _sound(number, contents):
        raise DerError(f"the value at offset {at} (universal tag {number}) is not in its distinguished form")


def _sound(number: int, contents: bytes) -> bool:
    if number == _BOOLEAN:
        return contents in (b"\x00", b"\xff")
    if number in (_INTEGER, _ENUMERATED):
        redundant = len(contents) > 1 and contents[0] in (0, 0xFF) and (contents[0] ^ contents[1]) < 0x80
        return bool(contents) and not redundant
    if number == _BIT_STRING:
        if not contents or contents[0] > 7 or (len(contents) == 1 and contents[0]):
            return False
        return len(contents) == 1 or contents[-1] & ((1 << contents[0]) - 1) == 0
    if number == _NULL:
        return not contents
    if number == _OID:
        starts = (contents[i] for i in range(len(contents)) if i == 0 or contents[i - 1] < 0x80)
        return bool(contents) and contents[-1] < 0x80 and 0x80 not in starts
    if number == _UTC_TIME:
        return _UTC_FORM.fullmatch(contents) is not None
    if number == _GENERALIZED_TIME:
        return _GENERALIZED_FORM.fullmatch(contents) is not None
    return True
