# SPDX-License-Identifier: Apache-2.0
"""The question to a timestamp authority: ``TimeStampReq`` (RFC 3161 2.4.1). Makes bytes; sends nothing."""

from __future__ import annotations

import re

from asn1crypto import tsp

from signwright.errors import UsageError
from signwright.model.digest import Digest
from signwright.timestamps.algorithms import DIGEST_OIDS

MAX_NONCE = 1 << 64
QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
_DOTTED = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,31}")


def timestamp_query(imprint: Digest, nonce: int, *, policy_oid: str | None = None) -> bytes:
    """The DER of a ``TimeStampReq`` that always asks for the certificate.

    ``imprint``: digest of what is to be stamped (for a signature: of its value); ``nonce``: 64 random bits;
    ``policy_oid``: dotted, or None for the authority's own. Raises `UsageError`.
    """
    if not 0 <= nonce < MAX_NONCE:
        raise UsageError("a timestamp nonce has 64 bits", code="bad-nonce")
    if policy_oid is not None and not _DOTTED.fullmatch(policy_oid):
        raise UsageError(f"not an object identifier: {policy_oid[:80]!r}", code="bad-policy-oid")
    fields: dict[str, object] = {
        "version": "v1",
        "message_imprint": {
            "hash_algorithm": {"algorithm": DIGEST_OIDS[imprint.algorithm]},
            "hashed_message": imprint.value,
        },
        "nonce": nonce,
        "cert_req": True,
    }
    try:
        if policy_oid is not None:
            fields["req_policy"] = policy_oid
        return bytes(tsp.TimeStampReq(fields).dump())
    except ValueError as problem:
        raise UsageError(f"not an object identifier: {policy_oid!r}", code="bad-policy-oid") from problem
