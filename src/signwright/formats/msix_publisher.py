# SPDX-License-Identifier: Apache-2.0
"""A certificate's subject as a package's manifest spells its publisher.

Windows compares the two as text: the relative names in reverse order (the last of the certificate first), with the
labels of [MS-OSCO] and of the manifest's own schema, and quoted as CertNameToStr does (CERT_X500_NAME_STR).
"""

from __future__ import annotations

from signwright.envelopes import der
from signwright.errors import FormatError, MalformedError

_LABELS = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "S",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "T",
    "2.5.4.13": "Description",
    "2.5.4.17": "PostalCode",
    "2.5.4.18": "POBox",
    "2.5.4.20": "Phone",
    "2.5.4.24": "X21Address",
    "2.5.4.42": "G",
    "2.5.4.43": "I",
    "2.5.4.46": "dnQualifier",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "E",
}
#: UTF8String, PrintableString, TeletexString, IA5String, UniversalString, BMPString.
_CODECS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_QUOTED = frozenset(',+="\n\r<>#;')


def publisher_of(certificate: bytes) -> str:
    """From a DER certificate; raises `FormatError` (``bad-certificate``)."""
    try:
        names = der.read_all(_subject(certificate))
        return ", ".join(" + ".join(_pair(one.encoded) for one in _in(name, der.SET)) for name in reversed(names))
    except (MalformedError, UnicodeDecodeError) as problem:
        raise FormatError(
            f"the key's certificate: its subject does not read: {problem}", code="bad-certificate"
        ) from problem


def _in(element: der.Element, tag: int) -> list[der.Element]:
    return der.read_all(der.read_one(element.encoded, tag).content)


def _subject(certificate: bytes) -> bytes:
    der.split_certificate(certificate)
    fields = der.read_all(der.read_all(der.read_one(certificate, der.SEQUENCE).content)[0].content)
    return fields[5 if fields[0].tag == 0xA0 else 4].content


def _pair(encoded: bytes) -> str:
    parts = der.read_all(der.read_one(encoded, der.SEQUENCE).content)
    if len(parts) != 2 or parts[0].tag != der.OID or parts[1].tag not in _CODECS:
        raise MalformedError("a relative name is not a type and a text")
    kind = _dotted(parts[0].content)
    value = parts[1].content.decode(_CODECS[parts[1].tag])
    quotes = not value or value != value.strip() or not _QUOTED.isdisjoint(value)
    text = '"' + value.replace('"', '""') + '"' if quotes else value
    return f"{_LABELS.get(kind, f'OID.{kind}')}={text}"


def _dotted(content: bytes) -> str:
    arcs, value = [], 0
    for octet in content:
        value = value << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(value)
            value = 0
    if not arcs or content[-1] >= 0x80:
        raise MalformedError("an object identifier that is none")
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
