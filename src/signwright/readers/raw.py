# SPDX-License-Identifier: Apache-2.0
"""Reader of raw signature values. The file names no key and no digest: both come from the caller."""

from __future__ import annotations

from dataclasses import dataclass, field

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import ALGORITHMS
from signwright.model.view import View
from signwright.readers.base import FoundSignature, Reading
from signwright.readers.detached import content_digests
from signwright.readers.values import check_digest_value

#: RSA of 16,384 bits; ECDSA is far below.
MAX_VALUE = 2048


@dataclass(frozen=True, slots=True)
class RawReader:
    """Implements `signwright.readers.base.Reader` for one key. ``public_key``: DER SubjectPublicKeyInfo."""

    public_key: bytes = b""
    name: str = field(default="raw", init=False)

    def recognizes(self, view: View) -> bool:
        """A bare number cannot be recognised."""
        del view
        return False

    def read(self, view: View, content: View | None = None) -> Reading:
        """Tries each accepted digest; ``stripped_sha256`` is the digest of the content."""
        if content is None or not self.public_key:
            raise FormatError("a raw signature is read together with its content and the public key")
        if not 0 < view.size <= MAX_VALUE:
            raise FormatError(f"signature value of {view.size} bytes, 1 to {MAX_VALUE} wanted", code="too-large")
        value = view.read(0, view.size)
        digests = content_digests(content, set(ALGORITHMS))
        for digest in digests.values():
            try:
                check_digest_value(self.public_key, value, digest.value, digest=digest.algorithm)
            except VerificationError as problem:
                if problem.code != "bad-signature":
                    raise
                continue
            found = FoundSignature(
                format=self.name,
                family="raw",
                purpose="raw",
                content_digest=digest,
                signature_value=value,
                envelope=value,
                public_key=self.public_key,
            )
            return Reading(self.name, (found,), digests["sha256"].hex)
        raise VerificationError("the signature value does not belong to the content and the key", code="bad-signature")
