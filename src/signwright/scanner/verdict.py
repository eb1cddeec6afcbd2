# SPDX-License-Identifier: Apache-2.0
"""The verdict of a scan, and its form as a signed ``evidence`` statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.model.times import format_time
from signwright.scanner.engines.base import EngineInfo
from signwright.statements.dsse import Envelope
from signwright.statements.models import ScanEvidence
from signwright.statements.parse import validate_model
from signwright.statements.writing import sign_ed25519, statement_payload

#: A statement holds 64 KiB; whoever wants more than these fixes these first.
MAX_FINDINGS = 40


@dataclass(frozen=True, slots=True)
class FindingRow:
    """``path``: from the artifact's name inwards, ``a.zip/b.zip/file``; ``rule``: as the engine names it, or
    ``unscannable: <code>``; ``engine``: its name, or ``unpack``.
    """

    path: str
    rule: str
    engine: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """``verdict``: clean, infected or unscannable; ``members``: how many came out of archives; ``sandbox``: what
    held them.
    """

    verdict: str
    engines: tuple[EngineInfo, ...]
    findings: tuple[FindingRow, ...]
    members: int
    sandbox: str

    def evidence(self, created: datetime) -> ScanEvidence:
        """The predicate of the statement; raises `MalformedError` for text that must not be signed."""
        return validate_model(
            ScanEvidence,
            {
                "verdict": self.verdict,
                "engines": [{"name": e.name, "version": e.version, "definitions": e.definitions} for e in self.engines],
                "findings": [{"path": f.path, "rule": f.rule, "engine": f.engine} for f in self.findings],
                "members": self.members,
                "sandbox": self.sandbox,
                "created": format_time(created),
            },
        )

    def signed(self, name: str, sha256: str, *, key: Ed25519PrivateKey, created: datetime) -> Envelope:
        """The ``evidence`` statement about the artifact ``name`` with hex digest ``sha256``, signed by the scanner's
        key.
        """
        return sign_ed25519(statement_payload(self.evidence(created), [(name, sha256)]), key)
