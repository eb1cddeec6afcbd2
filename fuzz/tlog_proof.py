# SPDX-License-Identifier: Apache-2.0
"""tlog-proof files."""

from __future__ import annotations

from fuzz.note import TRUST
from signwright.errors import LimitError, MalformedError, VerificationError
from signwright.transparency.proof import TlogProof


def one_input(data: bytes) -> None:
    """What is read is written back byte for byte, and never verifies: the fuzzer has no key."""
    try:
        proof = TlogProof.parse(data)
        if proof.encode() != data:
            raise AssertionError(f"{data!r} was read, {proof.encode()!r} was written")
        proof.verify(data, TRUST)
    except (MalformedError, LimitError, VerificationError):
        return
    raise AssertionError(f"a proof without signatures verified: {data!r}")
