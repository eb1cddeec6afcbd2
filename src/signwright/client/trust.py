# SPDX-License-Identifier: Apache-2.0
"""The trust file: what a verifier believes before it reads anything. Written by ``init``, carried by hand, never
fetched.

Whoever can change it decides what verifies: keep it where you keep your roots.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from signwright.client.files import read_small
from signwright.errors import ConfigurationError, LimitError, MalformedError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Many, Sha256Text, Strict
from signwright.policy.documents import Base64, LogIdentity, Quorum, TimestampAuthority, Witness
from signwright.policy.log_trust import log_trust_of
from signwright.policy.operators import witness_problems
from signwright.statements.keys import verifying_key
from signwright.statements.models import KeyText, Text
from signwright.statements.parse import MAX_DOCUMENT, parse_model
from signwright.transparency.cosignature import LogTrust


class TrustFile(Strict):
    """``policy_root_sha256``: statement digest of the policy root; roots and anchors: base64 DER certificates.

    With ``trial`` only receipts of trial roots verify, and without it none of them does.
    """

    format: Literal["signwright-trust/1"] = "signwright-trust/1"
    organisation: Text
    trial: bool
    policy_root_sha256: Sha256Text
    log: LogIdentity
    witnesses: Many[Witness] = Field(min_length=1)
    quorum: Quorum
    receipt_keys: Many[KeyText] = Field(min_length=1)
    code_signing_roots: Many[Base64] = ()
    timestamp_authorities: Many[TimestampAuthority] = ()

    @property
    def log_trust(self) -> LogTrust:
        return log_trust_of(self.log, self.witnesses, self.quorum)

    @property
    def roots(self) -> tuple[bytes, ...]:
        return tuple(strict_base64(root) for root in self.code_signing_roots)

    def problems(self) -> Iterator[str]:
        """What makes its witnesses, roots or receipt keys unusable, in words: it obeys what a policy obeys."""
        own = [("a receipt key", text) for text in self.receipt_keys]
        yield from witness_problems(self.organisation, self.log, self.witnesses, quorum=self.quorum, own_keys=own)
        for index, text in enumerate(self.receipt_keys):
            yield from _wrong(f"receipt_keys.{index}", verifying_key, text)
        for index, text in enumerate(self.code_signing_roots):
            yield from _wrong(f"code_signing_roots.{index}", strict_base64, text)
        for number, authority in enumerate(self.timestamp_authorities):
            for index, text in enumerate(authority.anchors):
                yield from _wrong(f"timestamp_authorities.{number}.anchors.{index}", strict_base64, text)

    def encode(self) -> bytes:
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True).encode() + b"\n"


def _wrong(field: str, read: Callable[[str], object], text: str) -> Iterator[str]:
    try:
        read(text)
    except MalformedError as problem:
        yield f"{field}: {problem.message}"


def load_trust(file: Path) -> TrustFile:
    """Raises `ConfigurationError` naming the file."""
    try:
        trust = parse_model(TrustFile, read_small(file, MAX_DOCUMENT), limit=MAX_DOCUMENT)
    except OSError as problem:
        raise ConfigurationError(
            f"trust file {file}: {problem.strerror}", code="no-trust-file", hint="--trust FILE or SIGNWRIGHT_TRUST"
        ) from problem
    except (MalformedError, LimitError) as problem:
        raise ConfigurationError(f"trust file {file}: {problem.message}", code="bad-trust-file") from problem
    problems = list(trust.problems())
    if problems:
        raise ConfigurationError(f"trust file {file}: {'; '.join(problems)}", code="bad-trust-file")
    return trust
