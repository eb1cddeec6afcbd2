# SPDX-License-Identifier: Apache-2.0
"""Content that a signature of another purpose would cover. A detached or raw signature of it would *be* that
signature.
"""

from __future__ import annotations

import re

from signwright.errors import FormatError
from signwright.model.view import View

#: Longer DER structures are not signed attributes or an SpcIndirectDataContent.
_HEAD = 64 << 10
_OID_ATTRIBUTE_SETS = (
    bytes.fromhex("06092a864886f70d010903"),  # contentType, first of every set of signed attributes (RFC 5652 11.1)
    bytes.fromhex("06092a864886f70d010904"),  # messageDigest
)
_INDIRECT_DATA = (
    bytes.fromhex("060a2b06010401823702010f"),  # SPC_PE_IMAGE_DATA
    bytes.fromhex("060a2b060104018237020104"),  # SPC_INDIRECT_DATA
    bytes.fromhex("060a2b06010401823702011e"),  # SPC_SIPINFO
)
_TRUST_LIST = bytes.fromhex("06092b060104018237")  # Microsoft arc, as in a CTL's subject usage
_NUGET = re.compile(rb"Version:1\r?\n\r?\n[0-9.]+-Hash:")


def refuse_other_purposes(view: View) -> None:
    """Raise `FormatError` (``other-purpose``) for content that is signed content of another purpose.

    CMS signed attributes (a raw signature of them is a CMS signature), SpcIndirectDataContent and catalog lists
    (Authenticode), ``.SF`` files (JAR), NuGet signature text.
    """
    head = view.read(0, min(view.size, _HEAD))
    if (purpose := _other_purpose(head)) is not None:
        raise FormatError(
            f"the content is {purpose}, which only the format that it belongs to may sign", code="other-purpose"
        )


def _other_purpose(head: bytes) -> str | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:18].lower() == b"signature-version:":
        return "a JAR signature file (.SF)"
    if _NUGET.match(text):
        return "NuGet signature content"
    if head[:1] in (b"\x31", b"\xa0") and any(oid in head for oid in _OID_ATTRIBUTE_SETS):
        return "a set of CMS signed attributes"
    if head[:1] == b"\x30" and any(oid in head[:64] for oid in _INDIRECT_DATA):
        return "Authenticode indirect data"
    if head[:1] == b"\x30" and _TRUST_LIST in head[:64]:
        return "a certificate trust list or catalog"
    return None
