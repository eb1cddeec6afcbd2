# SPDX-License-Identifier: Apache-2.0
"""Reader of detached CMS signatures (``.p7s``): content type id-data, the content beside it (RFC 5652 5.2)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
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
_SECTION_END = re.compile(rb"\n\r?\n|\r\r")
_JAR = re.compile(rb"[\r\n][\xef\xbb\xbf\t\v\f ]*signature-version\s*:")
_PACKAGE = re.compile(rb"[\r\n][\xef\xbb\xbf\t\v\f ]*version\s*:")


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
        text = _OtherText()
        digests = content_digests(content, {signer.digest_algorithm for signer in signed.signers}, text.take)
        if text.found is not None:
            raise VerificationError(f"the content is {text.found}, not a file", code="wrong-kind")
        found = []
        for signer in signed.signers:
            digest = digests.get(signer.digest_algorithm)
            if digest is None:
                raise VerificationError(f"digest {signer.digest_algorithm} is not accepted", code="weak-digest")
            cms.check_signer(signed, signer, digest.value)
            finding = cms.found_signature(signed, signer, format_name=self.name, purpose="file", content_digest=digest)
            found.append(finding)
        return Reading(self.name, tuple(found), digests["sha256"].hex)


class _OtherText:
    """What the first two sections of lines make of the content, if it is no file's: a name in them may stand behind any
    others, and no section has a greatest length.
    """

    def __init__(self) -> None:
        self.found: str | None = None
        self._kept, self._section, self._is_package = b"\n", 1, False

    def take(self, block: bytes) -> None:
        """Every block of the content, in order."""
        if self.found is not None or self._section == 3:
            return
        text = self._kept + block.lower()
        while self._section < 3:
            end = _SECTION_END.search(text)
            part = text[: end.start() + 1] if end else text
            self._look(part)
            if end is None:
                break
            self._section += bool(part.strip())  # empty lines before the first section are none of it
            text = b"\n" + text[end.end() :]
        self._kept = text[-300:]

    def _look(self, part: bytes) -> None:
        if self._section == 1 and _JAR.search(part):
            self.found = "the signature file of a JAR"
        if self._section == 2 and self._is_package and b"-hash" in part:
            self.found = "the signed text of a NuGet package"
        self._is_package = self._is_package or _PACKAGE.search(part) is not None


def content_digests(
    content: View, algorithms: set[str], look: Callable[[bytes], None] | None = None
) -> dict[str, Digest]:
    """Digests of the whole content in one pass: those of ``algorithms`` that are accepted, and SHA-256 always. ``look``
    gets every block as well.
    """
    running = {name: hashlib.new(name) for name in ALGORITHMS if name in algorithms or name == "sha256"}
    takers = [digest.update for digest in running.values()] + ([look] if look else [])
    for block in blocks(content, 0, content.size):
        for take in takers:
            take(block)
    return {name: Digest(name, digest.digest()) for name, digest in running.items()}
