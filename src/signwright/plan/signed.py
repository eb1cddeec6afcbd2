# SPDX-License-Identifier: Apache-2.0
"""Members that are signed already: whether their signatures hold, and whether one is by a signer who is listed.

A signer is listed by the certificate itself, so nothing has to be decided here about chains and times.
"""

from __future__ import annotations

from enum import Enum

from signwright.errors import FormatError, VerificationError
from signwright.formats.zip import ZipFormat
from signwright.model.digest import sha256_hex
from signwright.model.view import View
from signwright.policy.documents import MemberRule
from signwright.readers.base import Reader
from signwright.readers.registry import READERS

_DETACHED = ("cms", "raw")


class Standing(Enum):
    """What is known of a member's signatures."""

    NONE = "not signed"
    LISTED = "signed by a listed signer"
    OTHER = "signed, not by a listed signer"
    BROKEN = "a signature that does not hold"


def standing(view: View, rule: MemberRule) -> tuple[Standing, str]:
    """``view``: the member; with the reader of the rule's format, or of what it looks like. The text says who, or why.

    Every signature that the file carries has to hold.
    """
    reader = _reader(view, rule.format)
    if reader is None:
        return Standing.NONE, "of no format that is read"
    if reader.name == ZipFormat.name:
        return Standing.NONE, "a zip has no signature of its own, its members have"
    try:
        signatures = reader.read(view).signatures
    except VerificationError as problem:
        return Standing.BROKEN, problem.message
    except FormatError as problem:
        return (Standing.NONE if problem.code == "not-signed" else Standing.BROKEN), problem.message
    signers = [sha256_hex(found.signer_certificate) for found in signatures if found.signer_certificate]
    if not signatures:
        return Standing.NONE, "not signed"
    found = Standing.LISTED if set(signers) & set(rule.signers) else Standing.OTHER
    return found, f"signed by certificate {', '.join(signers)}"


def _reader(view: View, format_name: str | None) -> Reader | None:
    if format_name is not None:
        return READERS.get(format_name)
    readers = (reader for name, reader in READERS.items() if name not in _DETACHED)
    return next((reader for reader in readers if reader.recognizes(view)), None)
