# SPDX-License-Identifier: Apache-2.0
"""The receipt statement. Gates write it and clients read it; nobody who decides about a signature does either."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from signwright.model.operation import Many, Name, Sha256Text, Strict, Time
from signwright.statements.models import PREDICATES, Mode, Text


class Receipt(Strict):
    """What became of one artifact of a request, said by the gate. Subject: the signed result (or the envelope file).

    Hashes are hex SHA-256; ``key`` is of the SubjectPublicKeyInfo, ``certificate`` of the leaf certificate.
    """

    request: Sha256Text
    artifact: int = Field(ge=0)
    source_sha256: Sha256Text
    content_sha256: Sha256Text | None
    envelopes_sha256: Many[Sha256Text]
    patch_sha256: Sha256Text | None
    format: Name
    mode: Mode
    project: Name
    signing_policy: Name
    kind: Literal["test", "release"]
    trial: bool
    grade: Literal["test", "release", "automated"]
    key: Sha256Text
    certificate: Sha256Text | None
    key_protection: Literal["attested", "claimed", "software"]
    policy_sha256: Sha256Text
    policy_version: int
    people: Many[Name]
    exceptions: Many[Name]
    intents: Many[int]
    log_origin: Text
    profile: int
    sandbox: Text
    witnesses_outside: int
    witnesses_local: int
    timestamp: Literal["outside", "local", "none"]
    content_seen: bool
    derived: bool
    created: Time


PREDICATES["receipt"] = Receipt
