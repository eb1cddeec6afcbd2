# SPDX-License-Identifier: Apache-2.0
"""The names that a signer's two files in ``META-INF`` get, from its certificate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from signwright.envelopes import der
from signwright.envelopes.keys import KeyKind, load_public_key
from signwright.errors import FormatError, MalformedError

DEFAULT_NAME = "SIGNWRIG"
_COMMON_NAME = "2.5.4.3"
_SUBJECT = 4
_MAX_NAME = 8
_BMP_STRING = 0x1E


@dataclass(frozen=True, slots=True)
class Signer:
    """``name``: 1 to 8 of ``A-Z 0-9 _ -``; ``block``: the suffix of the CMS file, which goes with the kind of key."""

    name: str
    block: Literal["RSA", "EC"]


def signer_of(chain: Sequence[bytes], digest: str, name: str) -> Signer:
    """``name``: as wanted, or "" for one from the certificate. `FormatError` without a certificate, or with a key that
    cannot sign over ``digest``: before a key is used, not after.
    """
    if not chain:
        raise FormatError("the signature of a JAR needs the key's certificate, the chain is empty", code="bad-key")
    try:
        kind, _ = load_public_key(der.split_certificate(chain[0]).public_key)
        name = name or _name_in(chain[0])
    except (MalformedError, IndexError) as problem:
        raise FormatError(f"the key's certificate: {problem}", code="bad-certificate") from problem
    if kind is KeyKind.ED25519 and digest != "sha512":
        raise FormatError("an Ed25519 key signs JARs over sha512", code="bad-key", hint="option digest: sha512")
    return Signer(name, "RSA" if kind is KeyKind.RSA else "EC")


def _name_in(certificate: bytes) -> str:
    """The first characters of the subject's last common name, as jarsigner writes the name of an alias."""
    outer = der.read_all(der.read_one(certificate, der.SEQUENCE).content)
    fields = der.read_all(der.read_one(outer[0].encoded, der.SEQUENCE).content)
    fields = fields[1:] if fields[0].tag == 0xA0 else fields
    found = ""
    for relative in der.read_all(fields[_SUBJECT].content):
        for attribute in der.read_all(relative.content):
            kind, value = der.read_all(attribute.content)[:2]
            if kind.encoded == der.oid(_COMMON_NAME):
                found = value.content.decode("utf-16-be" if value.tag == _BMP_STRING else "utf-8", "replace")
    return re.sub(r"[^A-Z0-9_-]", "_", found[:_MAX_NAME].upper())[:_MAX_NAME] or DEFAULT_NAME
