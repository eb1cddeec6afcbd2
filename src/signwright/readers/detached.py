# SPDX-License-Identifier: Apache-2.0
"""Reader of detached CMS signatures (``.p7s``): content type id-data, the content beside it (RFC 5652 5.2)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest
from signwright.model.view import View, blocks
from signwright.readers import cms
from signwright.readers.base import Reading

#: Identifier and length of a ContentInfo, then this OID: id-signedData.
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
#: Signatures of packages and of JARs are over id-data too: cut out, they are detached ones of such text, which is no
#: file's.
_OTHER_TEXTS = {
    "the signed text of a NuGet package": re.compile(rb"\s*Version:1\r?\n\r?\n[0-9.]+-Hash:"),
    "the signature file of a JAR": re.compile(rb"\s*Signature-Version:", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class CmsReader:
    """Implements `signwright.readers.base.Reader`. Every signer in the structure must hold."""

    name: str = field(default="cms", init=False)

    def recognizes(self, view: View) -> bool:
        """Whether it is a DER ContentInfo with SignedData and without content inside."""
        if not 32 <= view.size <= cms.MAX_ENVELOPE or _SIGNED_DATA not in view.read(0, 20):
            return False
        try:
            return cms.parse(view.read(0, view.size)).encapsulated is None
        except FormatError:
            return False

    def read(self, view: View, content: View | None = None) -> Reading:
        """``stripped_sha256`` is the digest of the content."""
        if content is None:
            raise FormatError("a detached signature is read together with its content")
        if view.size > cms.MAX_ENVELOPE:
            raise FormatError(f"signature of {view.size} bytes, at most {cms.MAX_ENVELOPE} are read", code="too-large")
        signed = cms.parse(view.read(0, view.size))
        if signed.encapsulated is not None or signed.content_type != cms.DATA:
            raise FormatError(f"detached id-data wanted, content type {signed.content_type} found")
        head = content.read(0, min(content.size, 256))
        for what, text in _OTHER_TEXTS.items():
            if text.match(head):
                raise VerificationError(f"the content is {what}, not a file", code="wrong-kind")
        digests = content_digests(content, {signer.digest_algorithm for signer in signed.signers})
        found = []
        for signer in signed.signers:
            digest = digests.get(signer.digest_algorithm)
            if digest is None:
                raise VerificationError(f"digest {signer.digest_algorithm} is not accepted", code="weak-digest")
            cms.check_signer(signed, signer, digest.value)
            finding = cms.found_signature(signed, signer, format_name=self.name, purpose="file", content_digest=digest)
            found.append(finding)
        return Reading(self.name, tuple(found), digests["sha256"].hex)


def content_digests(content: View, algorithms: set[str]) -> dict[str, Digest]:
    """Digests of the whole content in one pass: those of ``algorithms`` that are accepted, and SHA-256 always."""
    running = {name: hashlib.new(name) for name in ALGORITHMS if name in algorithms or name == "sha256"}
    for block in blocks(content, 0, content.size):
        for digest in running.values():
            digest.update(block)
    return {name: Digest(name, digest.digest()) for name, digest in running.items()}
