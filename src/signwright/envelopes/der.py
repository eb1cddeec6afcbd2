# SPDX-License-Identifier: Apache-2.0
"""DER, written strictly and read only as far as a certificate must be split (ITU-T X.690 sections 8, 10 and 11).

Writing: each function returns one complete encoding. Reading: definite, shortest lengths and one-byte tags only; what
lies deeper than needed is copied as opaque bytes, so that an old certificate stays exactly what its issuer signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice

from signwright.errors import MalformedError

INTEGER, BIT_STRING, OCTET_STRING, OID = 0x02, 0x03, 0x04, 0x06
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
#: Elements side by side that are read at once; `each` takes longer lists.
MAX_ELEMENTS = 4096
SEQUENCE, SET = 0x30, 0x31

NULL = b"\x05\x00"


def tlv(tag: int, content: bytes) -> bytes:
    """Identifier octet ``tag``, shortest definite length, ``content``."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    return tlv(SEQUENCE, b"".join(parts))


def set_of(parts: Iterable[bytes], tag: int = SET) -> bytes:
    """SET OF with its elements in the order of DER (X.690 11.6: as octet strings, the shorter one padded with zeros).

    A complete encoding is never the beginning of another one, so plain byte order is that order.
    """
    return tlv(tag, b"".join(sorted(parts)))


def explicit(number: int, content: bytes) -> bytes:
    """``[number] EXPLICIT`` around a complete encoding; also the constructed form of an IMPLICIT one."""
    return tlv(0xA0 | number, content)


def implicit(number: int, content: bytes) -> bytes:
    """``[number] IMPLICIT`` of a primitive type; ``content`` are its content octets."""
    return tlv(0x80 | number, content)


def integer(value: int) -> bytes:
    """INTEGER, two's complement in the fewest octets."""
    size = ((value if value >= 0 else ~value).bit_length() // 8) + 1
    return tlv(INTEGER, value.to_bytes(size, "big", signed=True))


def octet_string(content: bytes) -> bytes:
    return tlv(OCTET_STRING, content)


def bmp_content(text: str) -> bytes:
    """Content octets of a BMPString; raises `MalformedError` for a character outside the basic plane."""
    if any(ord(character) > 0xFFFF for character in text):
        raise MalformedError("text for a BMPString has a character above U+FFFF")
    return text.encode("utf-16-be")


@lru_cache(maxsize=256)
def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER from its dotted form."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return tlv(OID, b"".join(_base128(arc) for arc in (40 * first + second, *rest)))


def _base128(arc: int) -> bytes:
    out = [arc & 0x7F]
    while arc := arc >> 7:
        out.append(0x80 | arc & 0x7F)
    return bytes(reversed(out))


def time(moment: datetime) -> bytes:
    """Time as RFC 5652 11.3 wants it: UTCTime from 1950 to 2049, else GeneralizedTime; whole seconds, Zulu."""
    if moment.tzinfo is None:
        raise MalformedError("a time without a zone cannot be signed")
    moment = moment.astimezone(UTC)
    if 1950 <= moment.year <= 2049:
        return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(GENERALIZED_TIME, f"{moment.year:04d}{moment:%m%d%H%M%S}Z".encode())


@dataclass(frozen=True, slots=True)
class Element:
    """One complete encoding: ``encoded`` with its header, ``content`` without."""

    tag: int
    encoded: bytes
    content: bytes


def read_element(encoding: bytes, offset: int = 0) -> Element:
    """The element that starts at ``offset``; raises `MalformedError` when it is not DER or ends beyond ``encoding``."""
    head = encoding[offset : offset + 2]
    if len(head) < 2 or head[0] & 0x1F == 0x1F:
        raise MalformedError("encoding is not DER: cut short, or a tag of several octets", code="bad-der")
    start, length = offset + 2, head[1]
    if length >= 0x80:
        octets = encoding[start : start + (length & 0x7F)]
        start, length = start + (length & 0x7F), int.from_bytes(octets, "big")
        if not octets or len(octets) > 4 or octets[0] == 0 or length < 0x80:
            raise MalformedError("encoding is not DER: a length in the wrong form", code="bad-der")
    if start + length > len(encoding):
        raise MalformedError("encoding is not DER: it ends early", code="bad-der")
    return Element(head[0], encoding[offset : start + length], encoding[start : start + length])


def read_one(encoding: bytes, tag: int) -> Element:
    """The single element that ``encoding`` consists of; raises `MalformedError` for another tag or bytes behind it."""
    element = read_element(encoding)
    if element.tag != tag or len(element.encoded) != len(encoding):
        raise MalformedError(f"encoding is not one DER element with tag 0x{tag:02x}", code="bad-der")
    return element


def read_all(content: bytes) -> list[Element]:
    """The elements in the content octets of a constructed element; raises `MalformedError`, also for too many."""
    elements = list(islice(each(content), MAX_ELEMENTS + 1))
    if len(elements) > MAX_ELEMENTS:
        raise MalformedError(f"encoding: more than {MAX_ELEMENTS} elements side by side", code="too-large")
    return elements


def each(content: bytes) -> Iterator[Element]:
    """The same one by one, of as many as there are."""
    offset = 0
    while offset < len(content):
        element = read_element(content, offset)
        yield element
        offset += len(element.encoded)


@dataclass(frozen=True, slots=True)
class CertificateParts:
    """Complete encodings of the fields of an X.509 certificate that CMS speaks about (RFC 5280 4.1)."""

    serial: bytes
    issuer: bytes
    public_key: bytes


@lru_cache(maxsize=64)
def split_certificate(certificate: bytes) -> CertificateParts:
    """Serial, issuer and SubjectPublicKeyInfo of a DER certificate; nothing else in it is judged."""
    outer = read_all(read_one(certificate, SEQUENCE).content)
    fields = read_all(read_one(outer[0].encoded, SEQUENCE).content) if len(outer) == 3 else []
    if fields and fields[0].tag == 0xA0:
        fields = fields[1:]
    wanted = (INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE)
    if tuple(field.tag for field in fields[:6]) != wanted:
        raise MalformedError("not an X.509 certificate", code="bad-certificate")
    return CertificateParts(serial=fields[0].encoded, issuer=fields[2].encoded, public_key=fields[5].encoded)
