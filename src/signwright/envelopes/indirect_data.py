# SPDX-License-Identifier: Apache-2.0
"""SpcIndirectDataContent: what binds a digest to its kind of file.

Sources: "Windows Authenticode Portable Executable Signature Format" (Microsoft, 2008); for the kinds that Windows reads
through a subject interface package (SIP) the identifiers under which Windows registers those packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signwright.envelopes import der
from signwright.envelopes.cms import digest_algorithm
from signwright.model.digest import Digest

INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
_PE_IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15"
_CAB_DATA = "1.3.6.1.4.1.311.2.1.25"
_SIP_INFO = "1.3.6.1.4.1.311.2.1.30"
_PAGE_HASHES_V2 = "1.3.6.1.4.1.311.2.3.2"
#: File offset (4 bytes, little-endian) and SHA-256 of a page.
PAGE_ROW = 4 + 32
_PAGE_HASHES_CLASS = bytes.fromhex("a6b586d5b4a12466ae05a217da8e60d6")

#: SpcLink, the choice ``file``: the specification fixes its text.
_OBSOLETE = der.tlv(0xA2, der.implicit(0, der.bmp_content("<<<Obsolete>>>")))


def _sip(version: int, package: str) -> bytes:
    """SpcSipInfo: a version, the package's GUID as Windows lays it out in memory (its first three numbers are
    little-endian), and five reserved numbers.
    """
    first, second, third, *rest = (bytes.fromhex(part) for part in package.split("-"))
    guid = first[::-1] + second[::-1] + third[::-1] + b"".join(rest)
    info = der.sequence(der.integer(version), der.octet_string(guid), *(der.integer(0) for _ in range(5)))
    return der.sequence(der.oid(_SIP_INFO), info)


def _image(link: bytes) -> bytes:
    """SpcPeImageData without flags."""
    return der.sequence(der.oid(_PE_IMAGE_DATA), der.sequence(der.tlv(der.BIT_STRING, b"\x00"), der.explicit(0, link)))


#: DER SpcAttributeTypeAndOptionalValue for each kind of file.
KINDS: Mapping[str, bytes] = MappingProxyType(
    {
        "pe": _image(_OBSOLETE),
        "cab": der.sequence(der.oid(_CAB_DATA), _OBSOLETE),
        "msi": _sip(1, "000C10F1-0000-0000-C000-000000000046"),
        "powershell": _sip(0x10000, "603BCC1F-4B59-4E08-B724-D2C6297EF351"),
        "vbscript": _sip(1, "1629F04E-2799-4DB5-8FE5-ACE10F17EBAB"),
        "jscript": _sip(1, "06C9E010-38CE-11D4-A2A3-00104BD35090"),
        "wsf": _sip(1, "1A610570-38CE-11D4-A2A3-00104BD35090"),
    }
)

#: The same of packages, in whose DigestInfo stand several digests instead of one.
PACKAGE_KINDS: Mapping[str, bytes] = MappingProxyType(
    {
        "appx": _sip(0x01010000, "0AC5DF4B-CE07-4DE2-B76E-23C839A09FD1"),
        "appx-bundle": _sip(0x01010000, "0F5F58B3-AADE-4B9A-A434-95742D92ECEB"),
    }
)


def indirect_data(kind: str, digest: Digest) -> bytes:
    """DER SpcIndirectDataContent over ``digest``, for one of `KINDS`."""
    return der.sequence(KINDS[kind], _digest_info(digest.algorithm, digest.value))


def indirect_data_of_package(kind: str, algorithm: str, digests: bytes) -> bytes:
    """The same for one of `PACKAGE_KINDS`; ``digests``: several of ``algorithm``, each behind its mark."""
    return der.sequence(PACKAGE_KINDS[kind], _digest_info(algorithm, digests))


def indirect_data_with_pages(digest: Digest, table: bytes) -> bytes:
    """The same for a PE whose page hashes (SHA-256) stand in SpcPeImageData as a moniker, SpcSerializedObject."""
    attribute = der.sequence(der.oid(_PAGE_HASHES_V2), der.set_of([der.octet_string(table)]))
    serialized = der.octet_string(_PAGE_HASHES_CLASS) + der.octet_string(der.set_of([attribute]))
    return der.sequence(_image(der.tlv(0xA1, serialized)), _digest_info(digest.algorithm, digest.value))


def _digest_info(algorithm: str, value: bytes) -> bytes:
    return der.sequence(digest_algorithm(algorithm, null=True), der.octet_string(value))
